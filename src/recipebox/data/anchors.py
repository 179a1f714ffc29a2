"""Anchors fitted to boxes: k-means in logarithms, then genetic refinement. The method: docs/anchors.md.

Recall and fitness are those of YOLOv5's autoanchor (its `utils/autoanchor.py`, as described in its documentation); the
search is our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.box_sizes import Array, with_size
from recipebox.errors import DataError

THRESHOLD = 4.0
"""A box and an anchor fit when no side is more than this many times the other's; YOLOv5's `anchor_t`."""

COCO: tuple[tuple[float, float], ...] = (
    *((10, 13), (16, 30), (33, 23)),
    *((30, 61), (62, 45), (59, 119)),
    *((116, 90), (156, 198), (373, 326)),
)
"""YOLOv5's anchors for COCO at 640 px, three for each of the strides 8, 16 and 32."""

_FINEST, _MOST_CELLS = 96.0, 1000
_STARTS, _ROUNDS = 2, 10
_GENERATIONS, _CHILDREN, _STEP, _SMALLEST_STEP = 100, 8, 0.25, 0.005
_CHUNK = 200_000

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """How well anchors fit boxes.

    Attributes:
        recall: share of the boxes that some anchor fits (YOLOv5's best possible recall).
        fitness: mean over boxes of the best ratio, 0 where none fits.
        matches: mean number of anchors that fit a box.
        shares: of the boxes those that each anchor fits best, (anchors,).
    """

    recall: float
    fitness: float
    matches: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Fit:
    """Anchors (pixels, sorted by area), and how well they fit the boxes they were fitted to."""

    anchors: tuple[tuple[float, float], ...]
    judgement: Judgement

    def levels(self, count: int) -> list[tuple[tuple[float, float], ...]]:
        """`count` anchors a level, fine to coarse."""
        return [self.anchors[at : at + count] for at in range(0, len(self.anchors), count)]


def judge(pixels: Array, anchors: Any, *, threshold: float = THRESHOLD) -> Judgement:
    """Recall and fitness of anchors on boxes.

    Args:
        pixels: (n, 2) widths and heights above 0.
        anchors: (k, 2), the same unit.
        threshold: the largest ratio of two sides that fit.
    """
    logs, goals = np.log(pixels), np.log(np.asarray(anchors, np.float64).reshape(-1, 2))
    limit, count = math.log(threshold), len(pixels)
    fits, fitness, matches = 0, 0.0, 0
    best = np.zeros(len(goals), np.int64)
    for at in range(0, count, _CHUNK):
        apart = np.abs(logs[at : at + _CHUNK, None, :] - goals[None]).max(axis=2)
        nearest = apart.min(axis=1)
        within = nearest < limit
        fits += int(within.sum())
        fitness += float(np.exp(-nearest[within]).sum())
        matches += int((apart < limit).sum())
        best += np.bincount(apart.argmin(axis=1), minlength=len(goals))
    return Judgement(fits / count, fitness / count, matches / count, tuple((best / count).tolist()))


def fit_anchors(pixels: Array, count: int, *, seed: int = 0, threshold: float = THRESHOLD) -> Fit:
    """Fit `count` anchors to boxes.

    Args:
        pixels: (n, 2) widths and heights, pixels; rows without a size are left out.
        count: of all anchors, over all levels.
        seed: of everything that is drawn.
        threshold: the largest ratio of two sides that fit.

    Raises:
        DataError: fewer different sizes than anchors.
    """
    pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
    pixels = pixels[with_size(pixels)]
    points, weights = condensed(pixels)
    if len(points) < count:
        boxes = "1 box" if len(pixels) == 1 else f"{len(pixels)} boxes"
        sizes = "1 size" if len(points) == 1 else f"{len(points)} sizes"
        raise DataError(
            f"{boxes} of {sizes} cannot say where {count} anchors belong: that takes at least {count} different sizes. "
            "Label more objects, or take fewer anchors (--count), or name anchors yourself."
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_STARTS):
        found.append(_refined(_k_means(points, weights, count, rng), points, weights, math.log(threshold), rng))
    best = max(found, key=lambda one: one[1])[0]
    order = np.argsort(best.sum(axis=1), kind="stable")
    anchors = np.maximum(np.round(np.exp(best[order].astype(np.float64)), 2), 0.01)
    return Fit(tuple((float(w), float(h)) for w, h in anchors), judge(pixels, anchors, threshold=threshold))


def condensed(pixels: Array) -> tuple[Points, Points]:
    """Boxes of nearly the same size put together: (logarithm of mean width and height (m, 2), share of the boxes (m,)).

    At most 1000 points (of a huge spread a few more), in cells of 1 % where that is enough, else as coarse as it takes.
    """
    if not len(pixels):
        return np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    logs = np.log(pixels)
    low = np.floor(logs.min())
    cells = _FINEST
    while True:
        row, column = ((logs[:, side] - low) * cells for side in (0, 1))
        width = int(column.max()) + 1
        keys = row.astype(np.int64) * width + column.astype(np.int64)
        found, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
        if len(found) <= _MOST_CELLS or cells < 1:
            break
        cells *= 0.75
    means = [np.bincount(where, weights=logs[:, side]) / counts for side in (0, 1)]
    return np.stack(means, axis=1).astype(np.float32), (counts / len(pixels)).astype(np.float32)


def _k_means(points: Points, weights: Points, count: int, rng: np.random.Generator) -> Points:
    """Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii 2007), weighted; (count, 2)."""
    chosen = [int(rng.choice(len(points), p=_shares(weights)))]
    apart = np.full(len(points), np.inf, np.float32)
    while len(chosen) < count:
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(rng.choice(len(points), p=_shares(weights * apart))))
    centres = points[chosen].copy()
    for _ in range(_ROUNDS):
        nearest = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        mass = np.bincount(nearest, weights, count)
        sums = np.stack([np.bincount(nearest, weights * points[:, side], count) for side in (0, 1)], axis=1)
        moved = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-12)[:, None], centres).astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _shares(values: Points) -> Array:
    wide = values.astype(np.float64)
    total = wide.sum()
    return wide / total if total > 0 else np.full(len(wide), 1 / len(wide))


def _refined(
    centres: Points, points: Points, weights: Points, limit: float, rng: np.random.Generator
) -> tuple[Points, float]:
    """(anchors, fitness): an anchor at a time is replaced by its best child where the whole set gains by it."""
    centres = centres.copy()
    apart = np.abs(points[:, None] - centres[None]).max(axis=2)
    fitness = float(_gain(apart.min(axis=1), limit) @ weights)
    step = np.full(len(centres), _STEP, np.float32)
    for _ in range(_GENERATIONS):
        if (step < _SMALLEST_STEP).all():
            break
        for index in range(len(centres)):
            if step[index] < _SMALLEST_STEP:
                continue
            others = np.delete(apart, index, axis=1).min(axis=1, initial=np.inf)
            children = centres[index] + step[index] * rng.standard_normal((_CHILDREN, 2)).astype(np.float32)
            served = _gain(np.minimum(others, apart[:, index]), limit)
            children[-1] = points[rng.choice(len(points), p=_shares(weights * (1 - served)))]
            theirs = np.maximum(
                np.abs(points[:, :1] - children[None, :, 0]), np.abs(points[:, 1:] - children[None, :, 1])
            )
            gains = weights @ _gain(np.minimum(theirs, others[:, None]), limit)
            best = int(gains.argmax())
            if gains[best] > fitness + 1e-7:
                centres[index], apart[:, index], fitness = children[best], theirs[:, best], float(gains[best])
            else:
                step[index] *= 0.7
    return centres, fitness


def _gain(apart: Points, limit: float) -> Points:
    """The ratio e^-d of each distance of logarithms, 0 from `limit` on."""
    return np.where(apart < limit, np.exp(-apart), np.float32(0))
