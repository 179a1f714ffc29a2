"""An exported file as a detector, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import WeightsError

if TYPE_CHECKING:
    import onnxruntime


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
        self._session = open_session(path, content, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.names: tuple[str, ...] = _names(path, metadata)
        self.imgsz: int = _imgsz(path, self._session)
        self.batch = _batch(self._session)
        self.precision: str = metadata.get("precision", "fp32")
        self.nms = metadata.get("nms") == "True"
        self.weights_sha256: str | None = metadata.get("weights_sha256")
        self._check_output()

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw output of a batch, in the portions that the file takes. See `Detector`.

        Raises:
            WeightsError: the images are not float32 (B, 3, imgsz, imgsz).
        """
        if images.ndim != 4 or images.shape[1:] != (3, self.imgsz, self.imgsz) or images.dtype != np.float32:
            raise WeightsError(
                f"{self.path}: takes float32 images of (3, {self.imgsz}, {self.imgsz}), not {images.dtype} of "
                f"{images.shape[1:]}. Prepare them with the size it was exported for."
            )
        step = self.batch or len(images)
        outputs = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """At most `batch` images; where there are fewer, black ones fill up."""
        count = len(images)
        if self.batch and count < self.batch:
            missing = np.zeros((self.batch - count, *images.shape[1:]), np.float32)
            images = np.concatenate([images, missing])
        try:
            raw: NDArray[np.float32] = self._session.run([self._output], {self._input: images})[0]
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise WeightsError(f"{self.path}: cannot be run: {_first_line(error)}. Export again.") from None
        return raw[:count]

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
                f"{self.path}: names {nc} classes, but its output is {shape} instead of (B, {4 + nc}, anchors). "
                "The file was put together from different models: export again."
            )


def open_session(path: Path, content: bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A graph, ready to run on the CPU; `path` is what an error names.

    Raises:
        WeightsError: ONNX Runtime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        # Awake only while it computes: after a run its threads would wait awake through what is timed next, which is
        # the other file of a comparison, or the steps around the network.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        # Only what is timed may wait awake: beside other work that costs many times what it gives (recipebox/__init__).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise WeightsError(
            f"{path}: not an ONNX file that ONNX Runtime can run: {_first_line(error)}. Export again."
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _names(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        names: Any = ast.literal_eval(metadata["names"])
        return tuple(str(names[index]) for index in range(len(names)))
    except (KeyError, ValueError, SyntaxError, TypeError, IndexError, RecursionError, MemoryError):
        raise WeightsError(
            f"{path}: has no class names in its metadata, so its scores cannot be read. "
            "Use a file that `recipebox export` wrote."
        ) from None


def _imgsz(path: Path, session: onnxruntime.InferenceSession) -> int:
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] and isinstance(shape[2], int)
    if len(inputs) != 1 or not square or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs) or "none"
        raise WeightsError(
            f"{path}: takes ({found}) instead of float images of (B, 3, S, S). "
            "Use a file that `recipebox export` wrote."
        )
    return int(shape[2])


def _batch(session: onnxruntime.InferenceSession) -> int | None:
    """How many images the file takes at once; None for any number."""
    side = session.get_inputs()[0].shape[0]
    return side if isinstance(side, int) else None
