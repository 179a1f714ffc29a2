"""How far the exported file's raw output is from PyTorch's, on real images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.evaluate.detector import Detector
from recipebox.evaluate.postprocess import MAX_DETECTIONS, detections, is_end_to_end
from recipebox.export.nms import CANDIDATES, LOWEST_SCORE

COMPARED_SCORE = 0.05
"""Boxes that score less are never shown and may differ by pixels for no reason."""


@dataclass(frozen=True)
class Parity:
    """Largest differences over all images.

    `max_box_px` is over the corners of boxes that score above COMPARED_SCORE in either output, None when there is
    none; `max_score` is over all scores.
    """

    images: int
    max_box_px: float | None
    max_score: float
    detections_compared: int

    def to_json(self) -> dict[str, float | int]:
        """The `parity` entry of export.json."""
        document: dict[str, float | int] = {"images": self.images, "max_score": self.max_score}
        if self.max_box_px is not None:
            document["max_box_px"] = self.max_box_px
        return document | {"detections_compared": self.detections_compared}


def parity(reference: Detector, exported: Detector, images: Iterable[NDArray[np.float32]]) -> Parity:
    """Compare two detectors on prepared images (3, imgsz, imgsz), one at a time."""
    differences = Differences()
    for image in images:
        differences.add(reference(image[None])[0], exported(image[None])[0])
    return differences.result()


class Differences:
    """Largest differences so far, image by image."""

    def __init__(self) -> None:
        self._count = self._compared = 0
        self._score = 0.0
        self._boxes: list[float] = []

    def add(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
        """One image's raw output: PyTorch's, and the file's. With NMS inside it is compared with PyTorch after NMS."""
        if is_end_to_end(b[None]) and not is_end_to_end(a[None]):
            a = _after_nms(a, len(b))
        if a.shape != b.shape:
            raise ValueError(f"outputs of different shapes: {a.shape} and {b.shape}")
        compare = _compare_rows if is_end_to_end(a[None]) else _compare_anchors
        score, boxes = compare(a.astype(np.float64), b.astype(np.float64))
        self._count, self._compared = self._count + 1, self._compared + len(boxes)
        self._score = max(self._score, score)
        self._boxes += [float(boxes.max())] if len(boxes) else []

    def result(self) -> Parity:
        return Parity(self._count, max(self._boxes) if self._boxes else None, self._score, self._compared)


class Compared:
    """An exported detector that is measured, and on some of its images compared with PyTorch by the way.

    So the gate decodes each image once. `chosen` are places in the order in which the images come;
    `final_boxes` says, once it ran, whether the file picks final boxes itself.
    """

    def __init__(self, exported: Detector, reference: Detector, chosen: Iterable[int]) -> None:
        self.exported, self.reference, self.chosen = exported, reference, frozenset(chosen)
        self.names, self.imgsz = exported.names, exported.imgsz
        self.sha256, self.precision = exported.sha256, exported.precision
        self.differences = Differences()
        self.final_boxes = False
        self._seen = 0

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the exported detector."""
        raw = self.exported(images)
        self.final_boxes = is_end_to_end(raw)
        for image, found in zip(images, raw, strict=True):
            if self._seen in self.chosen:
                self.differences.add(self.reference(image[None])[0], found)
            self._seen += 1
        return raw


class AfterNms:
    """A detector whose answers go through the NMS that a file with NMS inside has: what such a file has to equal.

    It has one label a box and looks at few candidates, so its mAP is not that of the raw output, however exact it is.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.names, self.imgsz = detector.names, detector.imgsz
        self.sha256, self.precision = detector.sha256, detector.precision

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of six (B, MAX_DETECTIONS, 6); see `Detector`."""
        return np.stack([_after_nms(raw, MAX_DETECTIONS) for raw in self.detector(images)])


def _after_nms(raw: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """PyTorch's raw output of one image as rows of six, filled up with zeros."""
    found = detections(raw[None], conf=LOWEST_SCORE, max_det=rows, candidates=CANDIDATES)[0]
    return np.concatenate([found, np.zeros((rows - len(found), 6), np.float32)])


def _compare_anchors(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """(4 + nc, anchors) each: anchor by anchor."""
    shown = np.maximum(a[4:].max(axis=0), b[4:].max(axis=0)) > COMPARED_SCORE
    score = float(np.abs(a[4:] - b[4:]).max())
    return score, np.abs(_corners(a[:4, shown]) - _corners(b[:4, shown])).max(axis=0)


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, n) centre x, centre y, width, height -> x1, y1, x2, y2."""
    return np.concatenate([boxes[:2] - boxes[2:] / 2, boxes[:2] + boxes[2:] / 2])


def _compare_rows(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """(n, 6) each, best first: nearly equal scores may change places, so rows are paired within a class by nearness.

    A row without a partner counts with its whole score. Scores too low to be shown are compared rank by rank.
    """
    score = float(np.abs(np.sort(a[:, 4]) - np.sort(b[:, 4])).max(initial=0.0))
    rest = b[b[:, 4] > COMPARED_SCORE / 2]
    free = np.ones(len(rest), dtype=bool)
    differences = []
    for row in a[a[:, 4] > COMPARED_SCORE]:
        partners = np.flatnonzero(free & (rest[:, 5] == row[5]))
        if not len(partners):
            score = max(score, float(row[4]))
            continue
        apart = np.abs(rest[partners, :4] - row[:4]).max(axis=1)
        # Two anchors may give the same box with different scores; the score decides between equally near ones.
        nearest = partners[np.lexsort((np.abs(rest[partners, 4] - row[4]), apart.round(3)))[0]]
        free[nearest] = False
        score = max(score, abs(float(rest[nearest, 4] - row[4])))
        differences.append(float(np.abs(rest[nearest, :4] - row[:4]).max()))
    unmatched = rest[free & (rest[:, 4] > COMPARED_SCORE)]
    return max(score, float(unmatched[:, 4].max(initial=0.0))), np.array(differences)
