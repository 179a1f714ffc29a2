"""From a network's raw output to detections. numpy only; bit for bit what Ultralytics' NMS with torchvision gives.

Equality is what makes numbers of training's validation comparable with those of evaluation, the gate and the bench,
which take this file; tests/evaluate/test_postprocess.py holds it. It is also faster: what is below the threshold is
dropped before anything is copied, and NMS ends with the last detection that is wanted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import WeightsError

NMS_IOU = 0.7
MAX_DETECTIONS = 300
MAX_CANDIDATES = 30000
"""The best that NMS looks at, as in Ultralytics."""
CLASS_STEP = 7680.0
"""Boxes of class k are moved by k times this, so that classes never overlap: Ultralytics' max_wh."""
_PAIRWISE = 192
"""Up to so many candidates all pairs at once are faster than one box after the other."""

Rows = NDArray[np.float32]


def detections(
    raw: NDArray[np.float32],
    *,
    conf: float,
    iou: float = NMS_IOU,
    multi_label: bool = False,
    max_det: int = MAX_DETECTIONS,
    candidates: int = MAX_CANDIDATES,
) -> list[Rows]:
    """Detections with a score above `conf`, after class-wise NMS where the network needs one.

    Args:
        raw: (B, 4 + nc, anchors), or (B, n, 6) from an NMS-free network; see `evaluate.detector.Detector`.
        conf: score threshold, exclusive.
        iou: overlap above which the weaker box of the same class goes.
        multi_label: let one box carry several classes, as Ultralytics' validation does; a line wants one.
        max_det: most detections kept for an image.
        candidates: most boxes of an image that NMS looks at, those with the highest scores.

    Returns:
        B arrays (n, 6), float32: x1, y1, x2, y2 in pixels of the canvas, score, class; best first.

    Raises:
        WeightsError: the output holds NaN or infinity. NMS would drop those boxes in silence.
    """
    check_finite(raw)
    if is_end_to_end(raw):
        return [image[image[:, 4] > conf][:max_det] for image in raw]
    found = []
    for image in raw:
        rows = _candidates(image, conf, multi_label=multi_label)
        if len(rows) > candidates:
            rows = rows[np.argsort(-rows[:, 4], kind="stable")[:candidates]]
        found.append(rows[nms(rows, iou=iou, most=max_det)])
    return found


def check_finite(raw: NDArray[np.float32]) -> None:
    """Raises WeightsError where raw output holds NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is finite only if every addend is, and takes no array of flags; it may also merely be too large.
        if np.isfinite(raw.sum()) or np.isfinite(raw).all():
            return
    raise WeightsError(
        "The detector's output holds NaN or infinity: its weights or its export are spoiled. "
        "Train again with a lower train.lr0, or export again."
    )


def is_end_to_end(raw: NDArray[np.float32]) -> bool:
    """Whether raw output comes from an NMS-free network: rows of six instead of columns of anchors."""
    return raw.ndim == 3 and raw.shape[-1] == 6


def _candidates(image: NDArray[np.float32], conf: float, *, multi_label: bool) -> Rows:
    """(4 + nc, anchors) -> (n, 6): boxes by corners, with a score above `conf`, anchor after anchor."""
    likely = np.flatnonzero(image[4:].max(axis=0, initial=-np.inf) > conf)
    few = image[:, likely]
    scores = few[4:]
    if multi_label and len(scores) > 1:
        column, label = np.nonzero(conf < scores.T)
    else:
        column, label = np.arange(len(likely)), scores.argmax(axis=0) if len(likely) else likely
    centre, half = few[:2, column], few[2:4, column] / np.float32(2)
    rows = np.empty((len(column), 6), np.float32)
    rows[:, :2], rows[:, 2:4] = (centre - half).T, (centre + half).T
    rows[:, 4], rows[:, 5] = scores[label, column], label
    return rows


def nms(rows: Rows, *, iou: float, most: int) -> NDArray[np.intp]:
    """Greedy class-wise NMS, in the arithmetic and order of torchvision.ops.nms on boxes moved apart by class.

    Args:
        rows: (n, 6): x1, y1, x2, y2, score, class.
        iou: overlap above which the weaker box goes.
        most: stop after so many.

    Returns:
        Indices of the rows that stay, best first.
    """
    order = np.argsort(-rows[:, 4], kind="stable")
    corners = (rows[:, :4] + rows[:, 5:6] * np.float32(CLASS_STEP))[order].T.copy()
    limit = _limit(iou)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        areas = (corners[2] - corners[0]) * (corners[3] - corners[1])
        one_by_one = len(order) > _PAIRWISE
        kept = _one_by_one(corners, areas, limit, most) if one_by_one else _pairwise(corners, areas, limit, most)
    return order[kept]


def _limit(iou: float) -> np.float32:
    """The largest float32 not above `iou`: comparing with it equals torchvision's comparison in double."""
    limit = np.float32(iou)
    return limit if float(limit) <= iou else np.nextafter(limit, np.float32(-1))


def _pairwise(corners: Rows, areas: Rows, limit: np.float32, most: int) -> list[int]:
    """Positions that stay, from the overlaps of all pairs."""
    x1, y1, x2, y2 = corners
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    inner = np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)
    beaten = inner / (areas[:, None] + areas - inner) > limit
    alive = np.ones(len(areas), dtype=bool)
    kept: list[int] = []
    rivals = beaten.sum(axis=1) > beaten.diagonal()
    for position in range(len(areas)):
        if alive[position]:
            kept.append(position)
            if rivals[position]:
                alive[position + 1 :] &= ~beaten[position, position + 1 :]
    return kept[:most]


def _one_by_one(corners: Rows, areas: Rows, limit: np.float32, most: int) -> list[int]:
    """Positions that stay, each one's overlaps with what is left behind it."""
    left = np.arange(len(areas))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        x1, y1, x2, y2 = corners
        width = np.maximum(np.minimum(x2[1:], x2[0]) - np.maximum(x1[1:], x1[0]), 0)
        height = np.maximum(np.minimum(y2[1:], y2[0]) - np.maximum(y1[1:], y1[0]), 0)
        inner = width * height
        stays = ~(inner / (areas[0] + areas[1:] - inner) > limit)
        if stays.all():
            corners, areas = corners[:, 1:], areas[1:]
        else:
            left, corners, areas = left[stays], corners[:, 1:][:, stays], areas[1:][stays]
    return kept
