"""What a detector is to evaluation, the export gate and the bench: normalised images in, raw output out."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import WeightsError
from recipebox.progress import say

if TYPE_CHECKING:
    import torch


class Named(Protocol):
    """Whatever knows its classes."""

    @property
    def names(self) -> tuple[str, ...]: ...


class Described(Named, Protocol):
    """Whatever knows its file, the side of its square input in pixels, and the precision it computes in."""

    @property
    def imgsz(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def precision(self) -> str: ...


class Detector(Described, Protocol):
    """A detector whose file, classes and input size are known.

    Calling it with float32 images (B, 3, imgsz, imgsz), RGB in 0..1, returns float32 output in pixels of that square:
    (B, 4 + nc, anchors) with centre x, centre y, width, height and a score for each class; or, where the network
    needs no NMS, (B, up to 300, 6) with x1, y1, x2, y2, score, class, best first.
    """

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]: ...


def device_here(planned: str) -> str:
    """The device of a plan where torch sees it; else what this machine has, and a line that says so."""
    import torch

    gpus = torch.cuda.device_count()
    if planned == "cpu" or planned in {f"cuda:{index}" for index in range(gpus)}:
        return planned
    found = "cuda:0" if gpus else "cpu"
    say(f"{planned} is not on this machine: measured on {found}")
    return found


class TorchDetector:
    """A .pt file in float32, fused, in evaluation mode; a network with a one-to-one head runs NMS-free.

    A .pt file is a pickle and can run code, so it is opened only when it is the very file that was expected.

    Args:
        path: the weights.
        sha256: their hash as whoever made them recorded it (train.json).
        imgsz: side of the square input, pixels.
        device: `cpu`, `cuda:0`; None takes a GPU where there is one.

    Raises:
        WeightsError: missing, another file than expected, not a detector, or with values that are not finite.
    """

    precision = "fp32"

    def __init__(self, path: Path, *, sha256: str, imgsz: int, device: str | None = None) -> None:
        import torch

        model = load_trusted(path, sha256)
        head = model.model[-1]
        if getattr(head, "one2one_cv2", None) is not None:
            model.end2end = True
        stride = int(max(head.stride))
        if imgsz % stride:
            raise WeightsError(f"{path}: its input size must be a multiple of {stride}, not {imgsz} (train.imgsz).")
        self.device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        self.model = model.fuse(verbose=False).eval().requires_grad_(False).to(self.device)
        self.path, self.sha256, self.imgsz = path, sha256, imgsz
        self.stride = stride
        self.names: tuple[str, ...] = _names(model)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw output on the CPU; see `Detector`."""
        import torch

        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            raw = self.model(torch.from_numpy(images).to(self.device))
            output: torch.Tensor = raw[0] if isinstance(raw, tuple) else raw
            array: NDArray[np.float32] = output.float().cpu().numpy()
            return array


def load_trusted(path: Path, sha256: str) -> Any:
    """Load the float32 detection model of a checkpoint whose hash is known.

    Returns:
        An `ultralytics.nn.tasks.DetectionModel` in evaluation mode: the checkpoint's EMA, else its model.

    Raises:
        WeightsError: see `TorchDetector`.
    """
    content = _read_expected(path, sha256)
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling foreign bytes raises whatever they stumble over
        raise WeightsError(
            f"{path}: not a PyTorch checkpoint ({type(error).__name__}). Train again, or restore the file."
        ) from None
    model = None
    if isinstance(checkpoint, dict):
        model = checkpoint["ema"] if checkpoint.get("ema") is not None else checkpoint.get("model")
    if not isinstance(model, DetectionModel):
        raise WeightsError(f"{path}: holds no detection model of Ultralytics. Give the best.pt or last.pt of a run.")
    model = model.float().eval()
    spoiled = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if spoiled:
        raise WeightsError(
            f"{path}: {len(spoiled)} tensors hold NaN or infinity (first: {spoiled[0]}): training diverged. "
            "Lower train.lr0 or lengthen train.warmup_epochs, and train again."
        )
    return model


def _read_expected(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or 'cannot be read'}. Train the recipe again.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path}: not the file that was recorded (SHA-256 {found[:12]}..., expected {sha256[:12]}...). "
            "It was changed or cut short: restore it, or train again."
        )
    return content


def _names(model: Any) -> tuple[str, ...]:
    names = model.names
    return tuple(str(names[index]) for index in range(len(names)))


def check_names(detector: Named, names: tuple[str, ...], what: str) -> None:
    """Raises WeightsError when a detector's classes are not those of the data it is about to be measured on."""
    if detector.names == names:
        return
    difference = f"{len(detector.names)} classes, {what} has {len(names)}"
    if len(detector.names) == len(names):
        pairs = zip(detector.names, names, strict=True)
        index, (mine, theirs) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        difference = f"class {index} is {mine!r}, in {what} it is {theirs!r}"
    raise WeightsError(f"The detector does not fit the data: {difference}. Use the data set it was trained on.")
