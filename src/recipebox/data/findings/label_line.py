"""The rules for one line of a YOLO label file, one function each. Training and check-data read lines through here."""

from __future__ import annotations

import math
from typing import NamedTuple

from recipebox.data.findings.finding import Fault

MAX_BOXES = 10_000
"""Of one image. More is another file's content; the loss of a batch would need memory for each of them."""
MAX_LABEL_BYTES = 64 * 2**20
"""A longer file is not read at all."""
ROUNDING = 1e-5
"""As a fraction of the image: written with six digits, a coordinate on the border may round to just outside."""
STICKS_OUT = 1e-4
"""As a fraction of the image: less is rounding and stays as it was written."""

Box = tuple[float, float, float, float]
"""Centre x, centre y, width, height; fractions of the image."""


class Row(NamedTuple):
    """One labelled object: its box ends at the image's edge, `cut` says that it did not where it was written."""

    label: int
    box: Box
    polygon: bool = False
    cut: bool = False


def text_lines(content: bytes) -> list[str] | Fault:
    """The lines of a label file."""
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return Fault("label-unreadable", "cannot be read (not text)")


def read_line(fields: list[str], class_count: int) -> Row | Fault:
    """A line's fields as an object, or the first rule that it breaks."""
    fault = field_count(fields) or not_numbers(fields)
    if fault is not None:
        return fault
    numbers = [float(text) for text in fields]
    coordinates = numbers[1:]
    fault = not_finite(numbers) or class_range(fields[0], numbers[0], class_count) or outside(coordinates)
    if fault is not None:
        return fault
    polygon = len(fields) > 5
    box = around(coordinates) if polygon else (coordinates[0], coordinates[1], coordinates[2], coordinates[3])
    return degenerate(box) or Row(int(numbers[0]), inside(box), polygon, sticks_out(box))


def field_count(fields: list[str]) -> Fault | None:
    if len(fields) == 5 or (len(fields) >= 7 and len(fields) % 2 == 1):
        return None
    scored = ". A sixth is a score: are these predictions?" if len(fields) == 6 else ""
    return Fault(
        "field-count", f"{len(fields)} fields, expected 5 (or a polygon: a class and 3 or more points){scored}"
    )


def not_numbers(fields: list[str]) -> Fault | None:
    try:
        for text in fields:
            float(text)
    except ValueError:
        return Fault("not-a-number", f"not all numbers: {' '.join(fields)[:60]}")
    return None


def not_finite(numbers: list[float]) -> Fault | None:
    if all(abs(number) < 1e9 for number in numbers):  # also false for NaN
        return None
    return Fault("not-finite", "a value is not a finite number")


def class_range(text: str, label: float, class_count: int) -> Fault | None:
    if label == math.floor(label) and 0 <= label < class_count:
        return None
    return Fault("class-range", f"class {text} is out of range 0..{class_count - 1}")


def outside(coordinates: list[float]) -> Fault | None:
    if min(coordinates) >= -ROUNDING and max(coordinates) <= 1 + ROUNDING:
        return None
    worst = max(coordinates, key=lambda value: abs(value - 0.5))
    return Fault("box-outside", f"coordinate {worst:g} is outside 0..1 (pixels instead of fractions?)")


def degenerate(box: Box) -> Fault | None:
    return Fault("box-degenerate", "the box has no area") if box[2] <= 0 or box[3] <= 0 else None


def sticks_out(box: Box) -> bool:
    left, top, right, bottom = _edges(box)
    return min(left, top) < -STICKS_OUT or max(right, bottom) > 1 + STICKS_OUT


def inside(box: Box) -> Box:
    """A box cut off at the image's edge: no detection can reach beyond it, so none could match the whole box."""
    if not sticks_out(box):
        return box
    left, top, right, bottom = _edges(box)
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def around(points: list[float]) -> Box:
    """The bounding box of a polygon x1 y1 x2 y2 ..."""
    xs, ys = points[0::2], points[1::2]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)


def _edges(box: Box) -> Box:
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
