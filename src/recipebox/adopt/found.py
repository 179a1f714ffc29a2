"""What a reader makes of a folder, whatever its format was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Box = tuple[int, float, float, float, float]
"""Class, centre x, centre y, width, height; the last four as fractions of the image as it is shown."""

MAX_SIDE = 10_000_000
"""Pixels. A larger number, or none at all (NaN), is no coordinate."""


@dataclass
class Item:
    """An image with what is known of it.

    Attributes:
        image: in the user's folder.
        boxes: none is a statement: nothing to find here.
        split: train, val or test where the folder says so.
        label: the YOLO file that holds `boxes`, to be taken as it is; None where they have to be written.
    """

    image: Path
    boxes: Sequence[Box] = ()
    split: str | None = None
    label: Path | None = None


@dataclass
class Found:
    """A readable data set.

    Attributes:
        kind: in words.
        notes: what was taken in a way that somebody might not expect.
        left_out: each thing that was not taken, with its file and the reason.
        in_place: what training can read as it is: a folder or YAML file.
    """

    kind: str
    names: tuple[str, ...]
    items: list[Item]
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    in_place: Path | None = None


def pixel_box(
    corners: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], bool] | None:
    """x1, y1, x2, y2 in pixels as fractions (centre x, centre y, width, height), cut off at the image's edge.

    Args:
        size: (width, height) of the image that the pixels count.

    Returns:
        (box, whether it was cut by more than a pixel); None where nothing of it lies in the image.
    """
    width, height = size
    x1, y1, x2, y2 = corners
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if not (right > left and bottom > top):  # also for NaN
        return None
    cut = max(left - x1, top - y1, x2 - right, y2 - bottom) > 1.0
    box = (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height
    return box, cut


def box_counts(items: Sequence[Item], names: Sequence[str]) -> dict[str, int]:
    """Boxes of each class, classes without any too."""
    counts = Counter(box[0] for item in items for box in item.boxes)
    return {name: counts[index] for index, name in enumerate(names)}
