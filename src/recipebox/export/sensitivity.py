"""Which convolutions INT8 hurts, measured one by one on images that are not the test split's, and what to keep."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.errors import CheckFailed, DataError, storage_errors
from recipebox.evaluate.detection import Measurement, measure
from recipebox.evaluate.run import trained_sha256
from recipebox.export.calibration import calibration_images
from recipebox.export.detector import OnnxDetector
from recipebox.export.keeping import Checked, Search, shortest_keep
from recipebox.export.one_by_one import Scan
from recipebox.export.onnx import Network
from recipebox.export.quantize import activation_clips, check_keep, quantized, with_quantized_decode
from recipebox.export.variant import Variant
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json

CHECKED_IMAGES = 300
"""Images that mAP of a whole file is measured on."""
GROUPS = 10
"""Of images: each is left out once to see how much a difference in mAP depends on them."""
LIKELY_CHECKS = 8
"""Whole files that a search measures, for the estimate of its time; it ends by itself (`keeping`)."""


def result_path(run: RunDir) -> Path:
    """Where a run's scan stands."""
    return run.root / "sensitivity.json"


def sensitivity(run: RunDir, settings: Settings, detection_set: DetectionSet, *, variant: Variant) -> dict[str, Any]:
    """Measure what INT8 costs in each convolution alone, search the shortest list to keep, and write sensitivity.json.

    Every whole file that is measured is the very file that `export` writes with that list, to the byte.

    Args:
        run: a trained run.
        settings: its settings; `export` and `train.imgsz` are used.
        detection_set: the data it was trained on; its test split is not looked at.
        variant: an INT8 variant; what it keeps already stays kept.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        DataError: no images beside the test split, or none with boxes.
        CheckFailed: the float32 network finds so little on them that there is nothing to lose.
        RecipeboxError: what `export.onnx.export_onnx` raises.
    """
    started = time.monotonic()
    imgsz, seed = settings.train.imgsz, settings.export.calibration.seed
    split_name, split = drawn(detection_set, CHECKED_IMAGES, seed)
    calibration = calibration_images(detection_set, settings.export.calibration, imgsz)
    network = Network(run.best, imgsz, sha256=trained_sha256(run), variant=variant)
    check_keep(network.model, variant.keep)
    scan = Scan(network.model, split, imgsz)
    scan.announce(calibrating=len(calibration.canvases), files=2 + LIKELY_CHECKS, checked=len(split))
    clips = activation_clips(network.model, calibration)
    document = {
        "schema": 1,
        "variant": variant.name,
        "weights_sha256": network.detector.sha256,
        "imgsz": imgsz,
        "calibration": calibration.to_json(),
        "split": split_name,
        "seed": seed,
        "images": {"ranked": len(scan.inputs), "checked": len(split)},
        "max_map_drop": settings.export.max_map_drop,
    }
    with storage_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="recipebox-scan-") as folder:
        files = _Files(network, variant, clips, split, detection_set.names, Path(folder))
        _something_to_lose(_map(files.reference()), settings.export.max_map_drop, len(split), split_name)
        plain = files.check(variant.keep)
        layers = sorted(scan.layers(quantized(network.model, clips)), key=lambda one: (-one.cost, one.name))
        decode = scan.of("decode", with_quantized_decode(network.model, calibration))
        names = [one.name for one in layers if one.name not in variant.keep]
        allowed = settings.export.max_map_drop
        found = shortest_keep(names, plain, files.check, allowed=allowed, always=variant.keep)
        document |= {"fp32": {"mAP50-95": _map(files.reference())}, "layers": [one.to_json() for one in layers]}
        document |= {"decode": decode.to_json(), **_searched(files, found, plain)}
    document["seconds"] = round(time.monotonic() - started, 1)
    write_json(result_path(run), document)
    return document


def _something_to_lose(reference: float, allowed: float, images: int, split: str) -> None:
    if reference <= allowed:
        raise CheckFailed(
            f"mAP50-95 of the .pt on {images} images of {split} is {reference:.4f}: nothing can lose more than "
            f"{allowed:g} there, so nothing says what INT8 costs. Train longer, or lower export.max_map_drop."
        )


def _searched(files: _Files, found: Search, plain: Checked) -> dict[str, Any]:
    """The parts of the document about whole files."""
    parts: dict[str, Any] = {"plain": files.to_json(plain, noise=True)}
    parts["tried"] = [files.to_json(one) for one in found.tried]
    if found.best is not None:
        parts["suggested"] = files.to_json(found.best, noise=True)
    return parts


def drawn(detection_set: DetectionSet, count: int, seed: int) -> tuple[str, Split]:
    """Images to measure on, by the seed, in the split's order: of validation, else of training; none of test's.

    Raises:
        DataError: there are none, or none of them has a box.
    """
    test = frozenset(detection_set.test.images)
    for name in ("val", "train"):
        split = detection_set.split(name).without(test)
        chosen = sorted(np.random.default_rng(seed).permutation(len(split))[:count].tolist())
        made = Split(tuple(split.images[i] for i in chosen), tuple(split.boxes[i] for i in chosen))
        if any(len(boxes) for boxes in made.boxes):
            return name, made
    raise DataError(
        f"{detection_set.name}: it has no images with boxes beside those of its test split, which must not choose what "
        "is kept. Give the data set validation images."
    )


def _map(measured: Measurement) -> float:
    value = measured.map50_95
    if value is None:
        raise DataError("The images that were drawn have no boxes: there is no mAP to compare.")
    return value


class _Files:
    """Whole files of a network, each measured once on the same images."""

    def __init__(
        self,
        network: Network,
        variant: Variant,
        clips: Mapping[str, float],
        split: Split,
        names: tuple[str, ...],
        folder: Path,
    ) -> None:
        self.network, self.variant, self.clips = network, variant, clips
        self.split, self.names, self.folder = split, names, folder
        self.measured: dict[tuple[str, ...], Measurement] = {}
        self.sha256: dict[tuple[str, ...], str] = {}
        self._reference: Measurement | None = None

    def reference(self) -> Measurement:
        """Of the float32 network."""
        if self._reference is None:
            float32 = Variant("fp32", self.variant.batch, self.variant.nms)
            self._reference = self._measure(self.network.file(float32), "fp32")[0]
        return self._reference

    def check(self, keep: tuple[str, ...]) -> Checked:
        """The file that keeps these."""
        if keep not in self.measured:
            variant = Variant("int8", self.variant.batch, self.variant.nms, keep)
            content = self.network.file(variant, self.clips)
            what = f"INT8, {len(keep)} kept" if keep else "INT8"
            self.measured[keep], self.sha256[keep] = self._measure(content, what)
        return Checked(keep, _map(self.reference()) - _map(self.measured[keep]))

    def _measure(self, content: bytes, what: str) -> tuple[Measurement, str]:
        path = self.folder / "best.onnx"
        path.write_bytes(content)
        detector = OnnxDetector(path)
        batch = detector.batch or 8
        found = measure(detector, self.split, names=self.names, batch=batch, progress=f"measuring {what}")
        return found, detector.sha256

    def to_json(self, checked: Checked, *, noise: bool = False) -> dict[str, Any]:
        measured = self.measured[checked.keep]
        document: dict[str, Any] = {
            "keep": list(checked.keep),
            "sha256": self.sha256[checked.keep],
            "mAP50-95": _map(measured),
            "map_drop": checked.drop,
        }
        return document | ({"noise": drop_noise(self.reference(), measured)} if noise else {})


def drop_noise(before: Measurement, after: Measurement) -> float:
    """Standard error of the difference in mAP50-95 over images: a jackknife that leaves out one of GROUPS at a time."""
    groups = [frozenset(range(first, before.images, GROUPS)) for first in range(min(GROUPS, before.images))]
    pairs = [(before.without(group), after.without(group)) for group in groups if len(groups) > 1]
    drops = [_map(a) - _map(b) for a, b in pairs if a.map50_95 is not None]
    return float(np.sqrt((len(drops) - 1) * np.var(drops))) if len(drops) > 1 else 0.0
