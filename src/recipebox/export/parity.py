"""How far the exported file's raw output is from PyTorch's, on real images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.evaluate.detector import Detector
from recipebox.evaluate.postprocess import is_end_to_end

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
    count = compared = 0
    max_score, box_differences = 0.0, []
    for image in images:
        a, b = reference(image[None])[0], exported(image[None])[0]
        if a.shape != b.shape:
            raise ValueError(f"outputs of different shapes: {a.shape} and {b.shape}")
        compare = _compare_rows if is_end_to_end(a[None]) else _compare_anchors
        score, boxes = compare(a.astype(np.float64), b.astype(np.float64))
        count, compared = count + 1, compared + len(boxes)
        max_score = max(max_score, score)
        box_differences += [float(boxes.max())] if len(boxes) else []
    return Parity(count, max(box_differences) if box_differences else None, max_score, compared)


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
