"""How much two detectors say the same of an image: finer than mAP, and needs no labels. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recipebox.evaluate.inspection import box_iou

Rows = NDArray[np.float32]


def agreement(a: Rows, b: Rows) -> float:
    """1 where two lists of detections are the same, 0 where they have nothing in common.

    Dice's coefficient with parts of a box: each box of `a`, best first, takes the free box of its class in `b` that it
    overlaps most; a pair adds twice its overlap (IoU) times the lower of its scores, and the sum is divided by all
    scores of both lists. Boxes that moved, scores that changed, boxes that are new or gone all lower it, and one that
    crosses a threshold changes it no more than its score is worth.

    Args:
        a, b: (n, 6) x1, y1, x2, y2, score, class, best first.
    """
    scores = float(a[:, 4].sum() + b[:, 4].sum())
    if scores <= 0:
        return 1.0
    overlaps = box_iou(a[:, :4], b[:, :4]) * (a[:, 5:6] == b[None, :, 5])
    free = np.ones(len(b), dtype=bool)
    shared = 0.0
    for row, score in zip(overlaps, a[:, 4], strict=True):
        left = row * free
        best = int(left.argmax()) if len(left) else 0
        if len(left) and left[best] > 0:
            free[best] = False
            shared += 2 * float(left[best]) * float(min(score, b[best, 4]))
    return shared / scores
