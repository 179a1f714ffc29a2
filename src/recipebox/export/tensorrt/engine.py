"""Engines: built from an ONNX file on the GPU that they are for, and loaded where they fit."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.places import cache_root, make_folder
from recipebox.errors import CheckFailed, WeightsError
from recipebox.export.detector import OnnxDetector
from recipebox.export.tensorrt.api import built, import_tensorrt, layers_text, log_of
from recipebox.export.tensorrt.driver import Gpu, require_gpu
from recipebox.export.tensorrt.precision import ReadBack, read_back, wanted_precisions
from recipebox.export.tensorrt.sidecar import Sidecar, check_fits, check_whole, read_sidecar
from recipebox.run_dir import atomic_writer

_JETPACK = (Path("/etc/nv_tegra_release"), Path("/var/lib/nvpmodel/status"))
"""On a Jetson: the release of its system, and the power mode, which decides what is fast."""


class Engine:
    """An engine ready to run; see docs/shipping.md for who owns memory and stream."""

    def __init__(self, engine: Any, sidecar: Sidecar, log: Any) -> None:
        self._engine, self._log = engine, log
        self._context = engine.create_execution_context()
        if self._context is None:
            raise WeightsError(f"the engine cannot be run: {' '.join(log.lines[-1:]) or 'not enough GPU memory'}")
        self._input, self._output = engine.get_tensor_name(0), engine.get_tensor_name(1)
        # Buffers are made by the sidecar's shapes: one that is too small would be written over its end.
        for name, said in ((self._input, sidecar.input_shape), (self._output, sidecar.output_shape)):
            found = tuple(engine.get_tensor_shape(name))
            if found != said:
                raise WeightsError(
                    f"the engine's {name} has shape {found}, its JSON file says {said}. Build the engine again: "
                    "`recipebox export RUN --format engine`."
                )
        self.names, self.imgsz, self.precision = sidecar.names, sidecar.imgsz, sidecar.precision
        self.sha256, self.weights_sha256 = sidecar.engine_sha256, sidecar.weights_sha256
        self.batch = sidecar.input_shape[0] if sidecar.input_shape[0] > 0 else None
        self.input_shape = (self.batch or 1, *sidecar.input_shape[1:])
        self.output_shape = (self.batch or 1, *sidecar.output_shape[1:])
        if self.batch is None:
            self._context.set_input_shape(self._input, self.input_shape)

    def enqueue(self, input_address: int, output_address: int, stream: int) -> None:
        """Queue one inference between two contiguous float32 buffers on the device.

        Raises:
            WeightsError: the engine refuses to run.
        """
        self._context.set_tensor_address(self._input, input_address)
        self._context.set_tensor_address(self._output, output_address)
        if not self._context.execute_async_v3(stream):
            raise WeightsError(f"the engine does not run: {' '.join(self._log.lines[-1:]) or 'it gives no reason'}")


class EngineDetector:
    """An engine as a detector: what the gate measures. Runs as many images a call as the engine takes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.names, self.imgsz = engine.names, engine.imgsz
        self.sha256, self.precision = engine.sha256, engine.precision
        self.weights_sha256 = engine.weights_sha256
        self.batch = engine.input_shape[0]

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw output of a batch; see `Detector`."""
        import torch

        outputs = []
        stream = torch.cuda.current_stream()
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            fed = torch.zeros(self.engine.input_shape, device="cuda")
            fed[: len(part)] = torch.from_numpy(part)
            given = torch.empty(self.engine.output_shape, device="cuda")
            self.engine.enqueue(fed.data_ptr(), given.data_ptr(), stream.cuda_stream)
            stream.synchronize()
            outputs.append(given[: len(part)].cpu().numpy())
        raw: NDArray[np.float32] = np.concatenate(outputs)
        return raw


def load_engine(path: Path) -> Engine:
    """Open an engine that recipebox built, if it fits this machine. The driver is asked before TensorRT is touched.

    Raises:
        WeightsError: no engine, cut short, or built for another GPU, version or file; the message says what to do.
        BadInput: no driver or no TensorRT here.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: {error.strerror or 'cannot be read'}. `recipebox export RUN --format engine` builds it."
        ) from None
    sidecar = read_sidecar(path)
    check_whole(path, content, sidecar)
    require_gpu()
    trt, gpu = import_tensorrt()
    check_fits(path, content, sidecar, gpu, str(trt.__version__))
    return _opened(trt, path, content, sidecar)


def _opened(trt: Any, path: Path, content: bytes, sidecar: Sidecar) -> Engine:
    log = log_of(trt)
    engine = trt.Runtime(log).deserialize_cuda_engine(content)
    if engine is None:
        raise WeightsError(f"{path}: TensorRT cannot load it: {' '.join(log.lines[-1:]) or 'it gives no reason'}")
    return Engine(engine, sidecar, log)


def engine_from_onnx(onnx_file: Path, out: Path, *, calibration_sha256: str | None = None) -> Sidecar:
    """Build an engine from an ONNX file that `export_onnx` wrote, and check which precision came out.

    Writes `out` and `out`.json; neither where the precision is not the file's.

    Raises:
        BadInput: no driver or no TensorRT here.
        WeightsError: the ONNX file is none of ours, or TensorRT refuses it.
        CheckFailed: layers run in another precision than the ONNX file gives them.
        StorageError: disk full, no permission.
    """
    trt, gpu = import_tensorrt()
    about = OnnxDetector(onnx_file)
    content = onnx_file.read_bytes()
    cache = timing_cache_path(str(trt.__version__), gpu)
    plan, timings = built(trt, content, timing=_read(cache))
    if timings is not None:
        make_folder(cache.parent)
        with atomic_writer(cache) as file:
            file.write(timings)
    log = log_of(trt)
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise WeightsError(f"{onnx_file}: TensorRT cannot load what it built: {' '.join(log.lines[-1:])}")
    precision = _check_precision(trt, engine, onnx_file, content)
    shapes = [tuple(engine.get_tensor_shape(engine.get_tensor_name(index))) for index in (0, 1)]
    sidecar = Sidecar(
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        onnx_sha256=about.sha256,
        weights_sha256=about.weights_sha256 or "",
        tensorrt=str(trt.__version__),
        cuda=gpu.cuda,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=about.precision,
        imgsz=about.imgsz,
        names=about.names,
        input_shape=shapes[0],
        output_shape=shapes[1],
        calibration_sha256=calibration_sha256,
        precision_read_back=precision.to_json(),
    )
    with atomic_writer(out) as file:
        file.write(plan)
    sidecar.write(out)
    return sidecar


def _check_precision(trt: Any, engine: Any, onnx_file: Path, content: bytes) -> ReadBack:
    import onnx

    found = read_back(wanted_precisions(onnx.load_from_string(content)), layers_text(trt, engine))
    if found.problems:
        raise CheckFailed(
            f"{onnx_file}: the engine built from it is not what was asked for: {'; '.join(found.problems)}. "
            "It was not kept. Another version of TensorRT may build it as the file says."
        )
    return found


def timing_cache_path(tensorrt: str, gpu: Gpu) -> Path:
    """Timings hold for one TensorRT on one GPU, and on a Jetson for one system and power mode."""
    board = "".join((_read(path) or b"").decode(errors="replace") for path in _JETPACK)
    key = "\n".join((tensorrt, gpu.name, gpu.compute_capability, gpu.cuda, board))
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{gpu.name}-{tensorrt}").strip("-").lower()
    return cache_root() / "timing" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.cache"


def _read(path: Path) -> bytes:
    """A file's content; nothing where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
