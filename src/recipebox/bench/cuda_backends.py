"""Backends on an NVIDIA GPU: one memory and one stream for all of them, so that only the network differs.

Written without a GPU at hand: nothing here has run on one. The tests run it with memory of the CPU in a GPU's place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recipebox.bench.backend import Name, Raw
from recipebox.errors import WeightsError
from recipebox.evaluate.detector import Described

if TYPE_CHECKING:
    import torch


class Engine(Described, Protocol):
    """A TensorRT engine, ready to run; `export.tensorrt` makes it. See docs/shipping.md."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...

    def enqueue(self, input_address: int, output_address: int, stream: int) -> None:
        """Queue one inference between two contiguous float32 buffers on the device, on a CUDA stream's handle."""


class Runner(Protocol):
    """A network that queues its work on the current stream."""

    @property
    def output_shape(self) -> tuple[int, ...]: ...

    def enqueue(self, inputs: torch.Tensor, outputs: torch.Tensor, stream: int) -> None:
        """Queue one inference from `inputs` to `outputs`, both contiguous float32 on the device."""


class DeviceBackend:
    """A runner with its memory: pinned on the host, and the network's input and output on the device.

    Args:
        runner: the network.
        about: what the file says of itself: names, imgsz, sha256, precision.
        name: of the backend.
        device: `cuda:0`; `cpu` only in tests, where a stream is nothing.
    """

    batch = 1

    def __init__(self, runner: Runner, about: Any, name: Name, device: str = "cuda:0") -> None:
        import torch

        self.name, self.device = name, device
        self.names: tuple[str, ...] = about.names
        self.imgsz: int = about.imgsz
        self.sha256: str = about.sha256
        self.precision: str = about.precision
        self.runner = runner
        self.stream = new_stream(device)
        shape = (1, 3, self.imgsz, self.imgsz)
        pinned = self.stream is not None
        self._host_inputs = torch.empty(shape, dtype=torch.float32, pin_memory=pinned)
        self._host_outputs = torch.empty(runner.output_shape, dtype=torch.float32, pin_memory=pinned)
        self._inputs, self._outputs = self.new_inputs(), self.new_outputs()

    def new_inputs(self) -> torch.Tensor:
        """A further input on the device, float32 (1, 3, imgsz, imgsz)."""
        import torch

        return torch.empty((1, 3, self.imgsz, self.imgsz), dtype=torch.float32, device=self.device)

    def new_outputs(self) -> torch.Tensor:
        """A further output on the device, float32."""
        import torch

        return torch.empty(self.runner.output_shape, dtype=torch.float32, device=self.device)

    def enqueue(self, inputs: torch.Tensor, outputs: torch.Tensor, stream: torch.cuda.Stream | None) -> None:
        """Queue one inference on a stream; on the CPU it is done when this returns."""
        import torch

        with torch.inference_mode(), torch.cuda.stream(stream):
            self.runner.enqueue(inputs, outputs, 0 if stream is None else stream.cuda_stream)

    def copy_in(self, inputs: NDArray[np.float32]) -> None:
        import torch

        # Into pinned memory first: from there the device fetches by itself, and twice as fast.
        self._host_inputs.numpy()[...] = inputs
        with torch.cuda.stream(self.stream):
            self._inputs.copy_(self._host_inputs, non_blocking=True)
        self._wait()

    def infer(self) -> None:
        self.enqueue(self._inputs, self._outputs, self.stream)
        self._wait()

    def copy_out(self) -> Raw:
        import torch

        with torch.cuda.stream(self.stream):
            self._host_outputs.copy_(self._outputs, non_blocking=True)
        self._wait()
        return self._host_outputs.numpy().copy()  # the next image overwrites it

    def _wait(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()


class EngineRunner:
    """A TensorRT engine."""

    def __init__(self, engine: Engine) -> None:
        if engine.input_shape != (1, 3, engine.imgsz, engine.imgsz):
            raise WeightsError(
                f"the engine takes {engine.input_shape} instead of one image of (1, 3, {engine.imgsz}, "
                f"{engine.imgsz}). Build it for one image."
            )
        self.engine, self.output_shape = engine, engine.output_shape

    def enqueue(self, inputs: torch.Tensor, outputs: torch.Tensor, stream: int) -> None:
        self.engine.enqueue(inputs.data_ptr(), outputs.data_ptr(), stream)


class TorchRunner:
    """A PyTorch network; its output is copied to where it is wanted."""

    def __init__(self, model: Any, imgsz: int) -> None:
        import torch

        self._model = model
        device = next(model.parameters()).device
        with torch.inference_mode():
            raw = self._raw(torch.zeros(1, 3, imgsz, imgsz, device=device))
        self.output_shape = tuple(raw.shape)

    def enqueue(self, inputs: torch.Tensor, outputs: torch.Tensor, stream: int) -> None:
        import torch

        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            outputs.copy_(self._raw(inputs))

    def _raw(self, inputs: torch.Tensor) -> torch.Tensor:
        raw = self._model(inputs)
        output: torch.Tensor = raw[0] if isinstance(raw, tuple) else raw
        return output


class OnnxRunner:
    """ONNX Runtime with its memory bound to the device.

    Args:
        session: on a GPU made with `user_compute_stream`, which its work is then queued on.
        device: `cuda` or `cpu`.
    """

    def __init__(self, session: Any, output_shape: tuple[int, ...], device: str) -> None:
        self._session, self._device = session, device
        self._input, self._output = session.get_inputs()[0].name, session.get_outputs()[0].name
        self.output_shape = output_shape

    def enqueue(self, inputs: torch.Tensor, outputs: torch.Tensor, stream: int) -> None:
        import onnxruntime

        options = onnxruntime.RunOptions()
        # Left alone it waits for the device at the end of every run, and nothing can overlap.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        binding = self._session.io_binding()
        place = (self._device, 0, np.float32)
        binding.bind_input(self._input, *place, tuple(inputs.shape), inputs.data_ptr())
        binding.bind_output(self._output, *place, tuple(outputs.shape), outputs.data_ptr())
        self._session.run_with_iobinding(binding, options)


def new_stream(device: str) -> torch.cuda.Stream | None:
    """A CUDA stream; None on the CPU, where everything is done when it returns."""
    import torch

    return None if device == "cpu" else torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def open_engine(path: Path) -> DeviceBackend:
    """A TensorRT engine. Raises as `export.tensorrt.load_engine` does, and BadInput where PyTorch sees no GPU."""
    from recipebox.export.tensorrt import load_engine
    from recipebox.export.tensorrt.driver import require_torch_gpu

    engine: Engine = load_engine(path)
    require_torch_gpu()
    return DeviceBackend(EngineRunner(engine), engine, "tensorrt")


def open_torch(path: Path, sha256: str, imgsz: int) -> DeviceBackend:
    """A .pt file, float32. Raises as `TorchDetector`."""
    from recipebox.evaluate.detector import TorchDetector

    detector = TorchDetector(path, sha256=sha256, imgsz=imgsz, device="cuda:0")
    return DeviceBackend(TorchRunner(detector.model, imgsz), detector, "pytorch-cuda")


def open_onnx(path: Path, name: Name, provider: str) -> DeviceBackend:
    """An ONNX file in ONNX Runtime's CUDA or TensorRT provider.

    Raises:
        WeightsError: the file is spoiled, or the provider cannot take it. It would run on the CPU in silence.
    """
    import onnxruntime

    about, shape = checked_onnx(path)
    # The network runs on the stream that the bench waits for; ONNX Runtime's own would have to be synchronised.
    stream = new_stream("cuda:0")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    placed = [(provider, provider_options(provider, 0 if stream is None else stream.cuda_stream))]
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=placed)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path}: {provider} cannot run it: {first}") from None
    if provider not in session.get_providers():
        raise WeightsError(
            f"{path}: ONNX Runtime could not start its {provider} and would run on the CPU. Its CUDA and cuDNN must be "
            "those that it was built for; `recipebox doctor` lists what is here."
        )
    backend = DeviceBackend(OnnxRunner(session, shape, "cuda"), about, name)
    backend.stream = stream
    return backend


def provider_options(provider: str, stream: int) -> dict[str, str]:
    """What a provider is told, so that it computes what the gate measured: the graph's own types, FP32 without TF32.

    Args:
        provider: ONNX Runtime's name of it.
        stream: handle of the CUDA stream that it works on.
    """
    options = {"device_id": "0", "user_compute_stream": str(stream)}
    if provider == "CUDAExecutionProvider":
        return options | {"use_tf32": "0"}
    # No trt_fp16_enable: with it the network is weakly typed and the builder chooses. The provider has no option
    # against TF32; NVIDIA's libraries read this once, before the first network is built.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    return options


def checked_onnx(path: Path) -> tuple[Any, tuple[int, ...]]:
    """The file as a detector that was checked on the CPU, and the shape of its output for one image."""
    from recipebox.export.detector import OnnxDetector

    detector = OnnxDetector(path)
    if detector.batch not in (1, None):
        raise WeightsError(
            f"{path}: takes {detector.batch} images at once, and on a GPU the bench gives one. Export it with "
            "`--batch 1` or `--batch dynamic`."
        )
    raw = detector(np.zeros((1, 3, detector.imgsz, detector.imgsz), np.float32))
    return detector, raw.shape
