"""What runs an exported file: one small interface, and which implementation a file and a machine get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import BadInput, WeightsError
from recipebox.evaluate.detector import Described

Name = Literal["pytorch-cpu", "pytorch-cuda", "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"]
NAMES: tuple[Name, ...] = get_args(Name)

Raw = NDArray[np.float32]


class Backend(Described, Protocol):
    """An opened file that takes one prepared image at a time, in three steps that can be timed apart.

    Each step is complete when it returns: a GPU has been waited for.
    """

    @property
    def name(self) -> Name: ...
    @property
    def device(self) -> str: ...
    @property
    def batch(self) -> int:
        """Images that the network computes for the one that is given; black ones fill up."""

    def copy_in(self, inputs: NDArray[np.float32]) -> None:
        """Give it an image, float32 (1, 3, imgsz, imgsz), RGB in 0..1; the array must stay as it is until `infer`."""

    def infer(self) -> None:
        """Run the network on what was copied in."""

    def copy_out(self) -> Raw:
        """The raw output, (1, 4 + nc, anchors) or (1, n, 6)."""


@dataclass(frozen=True)
class ModelFile:
    """A file to time. `sha256`, where it was recorded, is what the file must be; `imgsz` is asked of a .pt only."""

    path: Path
    sha256: str | None = None
    imgsz: int | None = None

    @property
    def kind(self) -> str:
        """onnx, engine, or pt.

        Raises:
            BadInput: none of these.
        """
        kind = {".onnx": "onnx", ".engine": "engine", ".plan": "engine", ".pt": "pt"}.get(self.path.suffix.lower())
        if kind is None:
            raise BadInput(f"{self.path}: not a file that the bench can run. Give an .onnx, an .engine or a .pt file.")
        return kind


_KINDS: dict[Name, str] = {
    "pytorch-cpu": "pt",
    "pytorch-cuda": "pt",
    "onnxruntime-cpu": "onnx",
    "onnxruntime-cuda": "onnx",
    "onnxruntime-tensorrt": "onnx",
    "tensorrt": "engine",
}
_PROVIDERS: dict[Name, str] = {
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/dxg")
"""What an NVIDIA driver shows: on a workstation, on two kinds of Jetson, under WSL."""


def kind_of(name: Name) -> str:
    """The kind of file that a backend runs."""
    return _KINDS[name]


def choose_backend(file: ModelFile) -> Name:
    """The fastest backend that this machine has for a file; the TensorRT provider, which builds for minutes, is never
    chosen by itself."""
    if file.kind == "engine":
        return "tensorrt"
    if file.kind == "pt":
        return "pytorch-cuda" if has_gpu() else "pytorch-cpu"
    return "onnxruntime-cuda" if has_gpu() and _has_provider("onnxruntime-cuda") else "onnxruntime-cpu"


def open_backend(name: Name, file: ModelFile, *, threads: int) -> Backend:
    """Open a file.

    Args:
        name: which backend.
        file: what to open.
        threads: threads of one inference on a CPU.

    Raises:
        BadInput: the backend does not run this kind of file, or the machine does not have what it needs.
        WeightsError: the file is missing, spoiled, another than was recorded, or does not fit the GPU.
    """
    if kind_of(name) != file.kind:
        raise BadInput(
            f"{file.path}: backend {name} runs .{kind_of(name)} files. Give one, or leave --backend out to let the "
            "file decide."
        )
    if name in _PROVIDERS or name == "pytorch-cuda":
        _check_gpu(name)
    if name == "onnxruntime-cpu":
        from recipebox.bench.cpu_backends import OnnxCpu

        backend: Backend = OnnxCpu(file.path, threads=threads)
    elif name == "pytorch-cpu":
        from recipebox.bench.cpu_backends import TorchCpu

        backend = TorchCpu(file.path, *_recorded(file), threads=threads)
    else:
        backend = _open_on_gpu(name, file)
    if file.sha256 is not None and backend.sha256 != file.sha256:
        raise WeightsError(
            f"{file.path}: is not the file whose accuracy was checked (SHA-256 {backend.sha256[:12]}..., expected "
            f"{file.sha256[:12]}...). Export it again."
        )
    return backend


def _open_on_gpu(name: Name, file: ModelFile) -> Backend:
    from recipebox.bench import cuda_backends

    if name == "tensorrt":
        return cuda_backends.open_engine(file.path)
    if name == "pytorch-cuda":
        return cuda_backends.open_torch(file.path, *_recorded(file))
    return cuda_backends.open_onnx(file.path, name, _PROVIDERS[name])


def _recorded(file: ModelFile) -> tuple[str, int]:
    if file.sha256 is None or file.imgsz is None:
        raise BadInput(
            f"{file.path}: a .pt file can run code, so only one whose hash a run recorded is opened. Name the run."
        )
    return file.sha256, file.imgsz


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU that it can use. Without a driver's device PyTorch is not even asked."""
    if not any(Path(device).exists() for device in _DEVICES):
        return False
    import torch

    return torch.cuda.is_available()


def _has_provider(name: Name) -> bool:
    import onnxruntime

    return _PROVIDERS[name] in onnxruntime.get_available_providers()


def _check_gpu(name: Name) -> None:
    if not has_gpu():
        raise BadInput(
            f"backend {name} needs an NVIDIA GPU, and PyTorch sees none here. `recipebox doctor` says what is missing; "
            "--backend onnxruntime-cpu goes without."
        )
    if name in _PROVIDERS and not _has_provider(name):
        raise BadInput(
            f"backend {name} needs ONNX Runtime with its {_PROVIDERS[name]}, and the one installed has none. Install "
            "onnxruntime-gpu in place of onnxruntime (on a Jetson, the wheel for its JetPack)."
        )
