"""Accuracy by the size of the objects: one that lost only the smallest has the mean of one that lost a little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
THIRDS = ("small", "middle", "large")


def by_size(
    found: Sequence[Boxes], true: Sequence[Boxes], names: Sequence[str], levels: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """mAP of the smallest, middle and largest third of the true boxes; fewer where sizes do not differ.

    As COCO does for its three sizes: a detection that finds a box of another third, or finds none and is itself of
    another size, counts neither for nor against. The size of a box is the root of its area on the canvas, in pixels.

    Args:
        found: for each image (n, 6) x1, y1, x2, y2, score, class; best first.
        true: for each image (m, 5) x1, y1, x2, y2, class.
        names: of the classes.
        levels: overlaps at which a detection counts as right.

    Returns:
        An entry a third: name, from_px, to_px (the last has none), instances, and mAP50 and mAP50-95 where it has any.
    """
    sizes = np.concatenate([_size(boxes) for boxes in true]) if true else np.zeros(0)
    if not len(sizes):
        return []
    edges = np.unique([0.0, *np.quantile(sizes, [1 / 3, 2 / 3])])
    matched = [_matched(a, b, levels) for a, b in zip(found, true, strict=True)]
    bounds = [*edges[1:].tolist(), None]
    thirds = THIRDS if len(edges) == len(THIRDS) else THIRDS[-len(edges) :]
    return [
        _third(name, float(low), high, found, true, matched, names)
        for name, low, high in zip(thirds, edges, bounds, strict=True)
    ]


def _third(
    name: str,
    low: float,
    high: float | None,
    found: Sequence[Boxes],
    true: Sequence[Boxes],
    matched: list[NDArray[np.int64]],
    names: Sequence[str],
) -> dict[str, Any]:
    from ultralytics.utils.metrics import ap_per_class

    def inside(boxes: Boxes) -> NDArray[np.bool_]:
        size = _size(boxes)
        return (size >= low) & (size < (np.inf if high is None else high))

    classes = np.concatenate([boxes[inside(boxes), 4] for boxes in true])
    entry = {"name": name, "from_px": low} | ({"to_px": high} if high is not None else {}) | {"instances": len(classes)}
    if not len(classes):
        return entry
    own = np.concatenate([inside(boxes) for boxes in found])
    # For each detection and level: whether the box it finds is of this third; False where it finds none.
    right = np.concatenate([_look_up(inside(boxes), index) for boxes, index in zip(true, matched, strict=True)])
    finds = np.concatenate(matched) >= 0
    rows = np.concatenate(found)
    aps = []
    for level in range(finds.shape[1]):
        kept = np.where(finds[:, level], right[:, level], own)
        shown = dict(enumerate(names))
        results = ap_per_class(right[kept, level][:, None], rows[kept, 4], rows[kept, 5], classes, names=shown)
        aps.append(float(results[5].mean()))
    return entry | {"mAP50": aps[0], "mAP50-95": float(np.mean(aps))}


def _look_up(inside: NDArray[np.bool_], index: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.append(inside, False)[index]


def _size(boxes: Boxes) -> NDArray[np.float64]:
    sides = np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None).astype(np.float64)
    return np.asarray(np.sqrt(sides.prod(axis=1)))


def _matched(found: Boxes, true: Boxes, levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n, levels): which true box each detection is the one for, -1 for none; matched as Ultralytics' validator does.

    In the order of scores each takes the free box of its class that it overlaps most, where that is enough.
    """
    result = np.full((len(found), len(levels)), -1, np.int64)
    if not len(found) or not len(true):
        return result
    overlap = _overlaps(true[:, :4], found[:, :4]) * (true[:, 4:5] == found[None, :, 5])
    taken = np.zeros((len(true), len(levels)), bool)
    every = np.arange(len(levels))
    for row in np.flatnonzero((overlap >= levels.min()).any(axis=0)):
        free = np.where(taken, 0, overlap[:, row, None])
        best = free.argmax(axis=0)
        enough = free[best, every] >= levels
        result[row, enough] = best[enough]
        taken[best, every] |= enough
    return result


def _overlaps(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """(m, 4) and (n, 4) -> intersection over union (m, n)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None] - shared + 1e-7))
