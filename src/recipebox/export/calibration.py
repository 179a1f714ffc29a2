"""How large activations are, measured on training images: what INT8 needs to know, and where it knows it from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.detection_set import DetectionSet
from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import DataError, WeightsError
from recipebox.progress import Progress, track
from recipebox.recipe.schema import Calibration

if TYPE_CHECKING:
    import onnx

BINS = 4096
BELOW = 0.99999
"""Part of an activation's values that INT8 does not clip."""


@dataclass(frozen=True)
class CalibrationImages:
    """Training images as the network sees them, each decoded once: uint8 (imgsz, imgsz, 3) BGR.

    `sha256` covers their pixels and their order, and with them the letterbox and the image size.
    """

    canvases: tuple[NDArray[np.uint8], ...]
    seed: int
    sha256: str

    def batches(self, count: int) -> Iterator[NDArray[np.float32]]:
        """(count, 3, imgsz, imgsz) each. Where the last one is not full, it begins again with the first image."""
        for start in range(0, len(self.canvases), count):
            places = (number % len(self.canvases) for number in range(start, start + count))
            yield np.stack([to_input(self.canvases[place]) for place in places])

    def to_json(self) -> dict[str, Any]:
        """The `calibration` entry of export.json."""
        return {"split": "train", "images": len(self.canvases), "seed": self.seed, "sha256": self.sha256}


def calibration_images(detection_set: DetectionSet, settings: Calibration, imgsz: int) -> CalibrationImages:
    """Draw images from the training split, without return; all of them where there are fewer than asked for.

    Raises:
        DataError: the training split is empty, or an image cannot be read.
    """
    paths = detection_set.train.images
    if not paths:
        raise DataError(
            f"{detection_set.name}: its train split has no images, so nothing says how large activations are. "
            "INT8 needs some: give the data set training images, or export with precision fp16."
        )
    drawn = np.random.default_rng(settings.seed).permutation(len(paths))[: settings.images]
    canvases = []
    digest = hashlib.sha256()
    for index in track(sorted(drawn.tolist()), "reading images for calibration"):
        canvas = letterbox(read_image(paths[index]), imgsz)[0]
        digest.update(canvas.tobytes())
        canvases.append(canvas)
    return CalibrationImages(tuple(canvases), settings.seed, digest.hexdigest())


def clipping_points(model: onnx.ModelProto, tensors: Sequence[str], images: CalibrationImages) -> dict[str, float]:
    """For each tensor the value beyond which INT8 clips it; see `clipping_point`.

    Two passes over the network: one for the largest values, one for the histograms.

    Args:
        model: a folded float32 graph.
        tensors: names of activations; the graph's input may be among them.

    Raises:
        WeightsError: an activation is not finite.
    """
    watched = _Watched(model, tensors)
    passes = 2 * -(-len(images.canvases) // watched.batch)
    peaks = dict.fromkeys(tensors, 0.0)
    counts = {name: np.zeros(BINS, np.int64) for name in tensors}
    with Progress("calibrating", passes) as bar:
        for image in images.batches(watched.batch):
            for name, values in watched(image):
                peaks[name] = max(peaks[name], _peak(name, values))
            bar.update()
        for image in images.batches(watched.batch):
            for name, values in watched(image):
                if peaks[name] > 0:
                    counts[name] += _histogram(values, peaks[name])
            bar.update()
    return {name: clipping_point(counts[name], peaks[name]) for name in tensors}


def clipping_point(counts: NDArray[np.int64], peak: float) -> float:
    """The magnitude that all but one in 100,000 values stay below, from their histogram over 0..peak.

    On docs/results/precision.md's detectors it loses less than the largest value, the least squared error or the
    entropy. A tensor that is always 0 gets 1.
    """
    total = int(counts.sum())
    if peak <= 0 or total == 0:
        return 1.0
    last = int(np.searchsorted(np.cumsum(counts), BELOW * total))
    return min(last + 1, len(counts)) * peak / len(counts)


def _peak(name: str, values: NDArray[np.float32]) -> float:
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise WeightsError(
            f"{name}: an activation is NaN or infinite on a training image. Train again, or export again."
        )
    return largest


def _histogram(values: NDArray[np.float32], peak: float) -> NDArray[np.int64]:
    bins = np.minimum(np.abs(values.ravel()) * (BINS / peak), BINS - 1).astype(np.int32)
    return np.bincount(bins, minlength=BINS)


class _Watched:
    """The network with its activations as outputs."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        import onnx
        import onnxruntime

        made = onnx.ModelProto()
        made.CopyFrom(model)
        self.input = str(made.graph.input[0].name)
        self.batch = made.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        self.inner = [name for name in tensors if name != self.input]
        self.with_input = self.input in tensors
        del made.graph.output[:]
        made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.inner)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            made.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, image: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        if self.with_input:
            yield self.input, image
        yield from zip(self.inner, self.session.run(self.inner, {self.input: image}), strict=True)
