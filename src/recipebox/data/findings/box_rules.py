"""The rules for boxes of many images at once, on arrays. Rows are (n, 5): class, centre x, y, width, height."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FINEST_STRIDE = 8
"""Pixels of the network's input that its finest grid takes together."""
THINNEST = 2.0
"""Pixels of the input: less leaves no edge to see."""
LARGE = 0.95
"""Width and height as fractions of the image."""
SAME = 0.95
"""IoU above which two boxes of one class mark one object twice."""

Rows = NDArray[np.float64]


def too_large(rows: Rows) -> NDArray[np.bool_]:
    """Boxes that fill the whole image, (n,)."""
    mask: NDArray[np.bool_] = (rows[:, 3] >= LARGE) & (rows[:, 4] >= LARGE)
    return mask


def input_sizes(rows: Rows, sizes: NDArray[np.int64], imgsz: int) -> Rows:
    """Width and height of the boxes in pixels of the network's input, (n, 2).

    Args:
        sizes: (n, 2), width and height of the image of each row; 0 where unknown, which counts as square.
    """
    longest = np.maximum(sizes.max(axis=1), 1)
    share = np.where(sizes.min(axis=1, keepdims=True) > 0, sizes / longest[:, None], 1.0)
    pixels: Rows = rows[:, 3:5] * share * imgsz
    return pixels


def too_small(pixels: Rows) -> NDArray[np.bool_]:
    """Boxes of (n, 2) input pixels that lie within a single cell of the finest grid, or are a hair wide."""
    mask: NDArray[np.bool_] = (pixels.max(axis=1) < FINEST_STRIDE) | (pixels.min(axis=1) < THINNEST)
    return mask


def drawn_twice(rows: Rows, image: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows that repeat an earlier one of their image and class: (m, 2), the row and one it repeats; each row once.

    Boxes are compared along x only as far as an overlap of SAME is possible: the centres of such boxes are at most
    (1 - SAME) / (1 + SAME) of their mean width apart.
    """
    if not len(rows):
        return np.zeros((0, 2), np.intp)
    order = np.lexsort((rows[:, 4], rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0], image))
    ordered, where = rows[order], image[order]
    fresh = np.ones(len(rows), bool)  # not the same as the row before in this order, which is stable
    fresh[1:] = (where[1:] != where[:-1]) | (ordered[1:] != ordered[:-1]).any(axis=1)
    before = order[np.maximum.accumulate(np.where(fresh, np.arange(len(rows)), 0))]
    pairs = [np.stack([order[~fresh], before[~fresh]], axis=1)]
    order = order[fresh]
    ordered, where = rows[order], image[order]
    told = np.zeros(len(rows), bool)
    reach, step = (1 - SAME) / (1 + SAME), 1
    while step < len(order):
        one, other = ordered[:-step], ordered[step:]
        apart = other[:, 1] - one[:, 1]
        possible = (where[:-step] == where[step:]) & (one[:, 0] == other[:, 0]) & (apart <= reach)
        if not possible.any():
            break
        untold = ~told[np.maximum(order[:-step], order[step:])]  # a crowd of equals is told at its first step
        near = np.flatnonzero(possible & untold & (apart <= reach * (one[:, 3] + other[:, 3]) / 2 + 1e-12))
        near = near[iou(ordered[near], ordered[near + step]) >= SAME]
        found = np.sort(np.stack([order[near], order[near + step]], axis=1), axis=1)[:, ::-1]
        told[found[:, 0]] = True
        pairs.append(found[np.unique(found[:, 0], return_index=True)[1]])
        step += 1
    return np.concatenate(pairs)


def iou(first: Rows, second: Rows) -> NDArray[np.float64]:
    """Overlap of rows in pairs, (n,)."""
    low = np.maximum(first[:, 1:3] - first[:, 3:5] / 2, second[:, 1:3] - second[:, 3:5] / 2)
    high = np.minimum(first[:, 1:3] + first[:, 3:5] / 2, second[:, 1:3] + second[:, 3:5] / 2)
    common = np.clip(high - low, 0, None).prod(axis=1)
    both = first[:, 3:5].prod(axis=1) + second[:, 3:5].prod(axis=1) - common
    ratio: NDArray[np.float64] = common / np.maximum(both, 1e-12)
    return ratio
