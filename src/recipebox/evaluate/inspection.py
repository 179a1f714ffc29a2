"""What an inspection line buys: defects that escape, defects found under another name, false alarms. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Inspection:
    """Counts at one score threshold; arrays have one entry a class.

    A true defect is found when a detection of its class overlaps it by at least the IoU, `confused` when only
    detections of other classes do, and escapes when none does. `overkill` counts detections, by predicted class, that
    overlap no true defect. A board is rejected when anything is detected on it: `boards_escaped` are defective boards
    with no detection at all, `boards_overkilled` are good boards with one.
    """

    instances: NDArray[np.int64]
    escapes: NDArray[np.int64]
    confused: NDArray[np.int64]
    overkill: NDArray[np.int64]
    detections: NDArray[np.int64]
    boards_defective: int
    boards_escaped: int
    boards_good: int
    boards_overkilled: int


def inspect(
    detections: Sequence[NDArray[np.float32]],
    truth: Sequence[NDArray[np.float32]],
    *,
    nc: int,
    iou: float,
    threshold: float,
) -> Inspection:
    """Count what a line would let through and what it would reject in vain.

    Args:
        detections: for each image (n, 6): x1, y1, x2, y2, score, class; one label a box.
        truth: for each image (m, 5): x1, y1, x2, y2, class, in the same pixels.
        nc: number of classes.
        iou: overlap from which a detection counts as being on a defect.
        threshold: only detections with a higher score count.
    """
    instances, escapes, confused, overkill, counted = (np.zeros(nc, np.int64) for _ in range(5))
    defective = escaped = good = overkilled = 0
    for found, true in zip(detections, truth, strict=True):
        found = found[found[:, 4] > threshold]
        true_class, found_class = true[:, 4].astype(int), found[:, 5].astype(int)
        overlaps = box_iou(true[:, :4], found[:, :4]) >= iou
        same_class = true_class[:, None] == found_class[None, :]
        found_at_all = overlaps.any(axis=1)
        found_right = (overlaps & same_class).any(axis=1)

        np.add.at(instances, true_class, 1)
        np.add.at(escapes, true_class[~found_at_all], 1)
        np.add.at(confused, true_class[found_at_all & ~found_right], 1)
        np.add.at(overkill, found_class[~overlaps.any(axis=0)], 1)
        np.add.at(counted, found_class, 1)
        if len(true):
            defective += 1
            escaped += not len(found)
        else:
            good += 1
            overkilled += bool(len(found))
    return Inspection(instances, escapes, confused, overkill, counted, defective, escaped, good, overkilled)


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Overlap of every box of `a` (m, 4) with every box of `b` (n, 4), both x1, y1, x2, y2: (m, n).

    Boxes without area overlap nothing.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clip(min=0).prod(axis=1) for box in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap
