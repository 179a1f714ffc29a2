"""From a .pt file to an ONNX file that carries all a deployment must know, and that file as a detector."""

from __future__ import annotations

import ast
import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox import __version__
from recipebox.errors import WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import MAX_DETECTIONS
from recipebox.run_dir import atomic_writer

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
"""TensorRT 8.6 to 11 parse it; from 19 on ONNX Runtime's CUDA provider runs Resize on the CPU."""
INPUT, OUTPUT = "images", "output0"


def export_onnx(weights: Path, out: Path, imgsz: int, *, sha256: str) -> None:
    """Write an ONNX file: one image of (1, 3, imgsz, imgsz) in, the raw output of `Detector` out.

    The metadata has Ultralytics' keys (names, imgsz, stride, task, batch, end2end), so tools that read its exports read
    this one, and weights_sha256 and recipebox_version besides. The same weights give the same bytes.

    Args:
        weights: the .pt file.
        out: the ONNX file; whole or not written at all, and nothing is left beside it.
        imgsz: side of the square input, pixels.
        sha256: the hash of `weights`, as whoever made them recorded it.

    Raises:
        WeightsError: see `TorchDetector`; or the network has parts that ONNX cannot express.
        StorageError: disk full, no permission.
    """
    detector = TorchDetector(weights, sha256=sha256, imgsz=imgsz, device="cpu")
    content = _with_metadata(_traced(detector), detector)
    with atomic_writer(out) as file:
        file.write(content)


def _traced(detector: TorchDetector) -> bytes:
    import torch

    model = detector.model
    head = model.model[-1]
    head.export, head.format, head.dynamic, head.shape = True, "onnx", False, None
    image = torch.zeros(1, 3, detector.imgsz, detector.imgsz)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns about every Python number it makes constant; with a fixed input all of them are.
            warnings.simplefilter("ignore")
            anchors = sum((detector.imgsz // int(stride)) ** 2 for stride in head.stride)
            head.max_det = min(MAX_DETECTIONS, anchors)
            model(image)
            buffer: Any = io.BytesIO()
            # The tracing exporter: the newer one needs onnxscript, and its graphs change with every torch release.
            torch.onnx.export(
                model, (image,), buffer, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], dynamo=False
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{detector.path}: PyTorch cannot write this network as ONNX: {first}") from error
    finally:
        head.export = False
    return bytes(buffer.getvalue())


def _with_metadata(content: bytes, detector: TorchDetector) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    metadata = {
        "task": "detect",
        "names": dict(enumerate(detector.names)),
        "imgsz": [detector.imgsz, detector.imgsz],
        "stride": detector.stride,
        "batch": 1,
        "end2end": bool(getattr(detector.model, "end2end", False)),
        "precision": detector.precision,
        "weights_sha256": detector.sha256,
        "recipebox_version": __version__,
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def opset(path: Path) -> int:
    """The version of ONNX's standard operators that a file was written in."""
    import onnx

    imports = onnx.load(path, load_external_data=False).opset_import
    return next(int(entry.version) for entry in imports if entry.domain in {"", "ai.onnx"})


class OnnxDetector:
    """An ONNX file that `export_onnx` wrote, run by ONNX Runtime on the CPU.

    Args:
        path: the file.
        threads: threads of one inference; None leaves it to ONNX Runtime.

    Raises:
        WeightsError: not there, not ONNX, without our metadata, or with an input or output that does not fit it.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror or 'cannot be read'}. Export the run again.") from None
        self.path = path
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = _session(path, content, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.names: tuple[str, ...] = _names(path, metadata)
        self.imgsz: int = _imgsz(path, self._session)
        self.precision: str = metadata.get("precision", "fp32")
        self.weights_sha256: str | None = metadata.get("weights_sha256")
        self._check_output()

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw output of a batch, one image at a time: the file takes one. See `Detector`.

        Raises:
            WeightsError: the images are not float32 (B, 3, imgsz, imgsz).
        """
        if images.ndim != 4 or images.shape[1:] != (3, self.imgsz, self.imgsz) or images.dtype != np.float32:
            raise WeightsError(
                f"{self.path}: takes float32 images of (3, {self.imgsz}, {self.imgsz}), not {images.dtype} of "
                f"{images.shape[1:]}. Prepare them with the size it was exported for."
            )
        outputs = [self._session.run([self._output], {self._input: image[None]})[0] for image in images]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    @property
    def _input(self) -> str:
        return str(self._session.get_inputs()[0].name)

    @property
    def _output(self) -> str:
        return str(self._session.get_outputs()[0].name)

    def _check_output(self) -> None:
        shape = self._session.get_outputs()[0].shape
        nc = len(self.names)
        fits = len(shape) == 3 and (shape[1] == 4 + nc or shape[2] == 6)
        if not fits:
            raise WeightsError(
                f"{self.path}: names {nc} classes, but its output is {shape} instead of (1, {4 + nc}, anchors). "
                "The file was put together from different models: export again."
            )


def _session(path: Path, content: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path}: not an ONNX file that ONNX Runtime can run: {first}. Export again.") from None


def _names(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        names: Any = ast.literal_eval(metadata["names"])
        return tuple(str(names[index]) for index in range(len(names)))
    except (KeyError, ValueError, SyntaxError, TypeError, IndexError):
        raise WeightsError(
            f"{path}: has no class names in its metadata, so its scores cannot be read. "
            "Use a file that `recipebox export` wrote."
        ) from None


def _imgsz(path: Path, session: onnxruntime.InferenceSession) -> int:
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    square = len(shape) == 4 and shape[:2] == [1, 3] and shape[2] == shape[3] and isinstance(shape[2], int)
    if len(inputs) != 1 or not square or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs) or "none"
        raise WeightsError(
            f"{path}: takes ({found}) instead of one float image of (1, 3, S, S). "
            "Use a file that `recipebox export` wrote."
        )
    return int(shape[2])
