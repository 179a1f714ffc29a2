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
    """Pairs of rows (m, 2), later first, of one image and class that overlap by more than SAME.

    Boxes are compared along x only as far as such an overlap is possible: the centres of boxes with IoU >= SAME are at
    most (1 - SAME) / (1 + SAME) of their mean width apart.
    """
    order = np.lexsort((rows[:, 1], rows[:, 0], image))
    ordered, where = rows[order], image[order]
    reach = (1 - SAME) / (1 + SAME)
    found, step = [], 1
    while step < len(order):
        first, second = ordered[:-step], ordered[step:]
        together = (where[:-step] == where[step:]) & (first[:, 0] == second[:, 0])
        apart = second[:, 1] - first[:, 1]
        if not (together & (apart <= reach)).any():
            break
        near = np.flatnonzero(together & (apart <= reach * (first[:, 3] + second[:, 3]) / 2 + 1e-12))
        near = near[iou(ordered[near], ordered[near + step]) >= SAME]
        found.append(np.stack([order[near], order[near + step]], axis=1))
        step += 1
    pairs = np.concatenate([*found, np.zeros((0, 2), np.intp)])
    return np.sort(pairs, axis=1)[:, ::-1]


def iou(first: Rows, second: Rows) -> NDArray[np.float64]:
    """Overlap of rows in pairs, (n,)."""
    low = np.maximum(first[:, 1:3] - first[:, 3:5] / 2, second[:, 1:3] - second[:, 3:5] / 2)
    high = np.minimum(first[:, 1:3] + first[:, 3:5] / 2, second[:, 1:3] + second[:, 3:5] / 2)
    common = np.clip(high - low, 0, None).prod(axis=1)
    both = first[:, 3:5].prod(axis=1) + second[:, 3:5].prod(axis=1) - common
    ratio: NDArray[np.float64] = common / np.maximum(both, 1e-12)
    return ratio
