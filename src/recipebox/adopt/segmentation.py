"""The bounds of a COCO segmentation: polygons, or run lengths in either of their spellings."""

from __future__ import annotations

from typing import Any

Corners = tuple[float, float, float, float]


def bounds(segmentation: Any) -> Corners | None:
    """x1, y1, x2, y2 in pixels; None where there is nothing that can be read.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...], or {"size": [height, width], "counts": list or text}.
    """
    try:
        if isinstance(segmentation, dict):
            counts = segmentation["counts"]
            runs = _decoded(counts) if isinstance(counts, str) else [int(count) for count in counts]
            return _of_runs(runs, int(segmentation["size"][0]), int(segmentation["size"][1]))
        polygons = segmentation if segmentation and isinstance(segmentation[0], list) else [segmentation]
        numbers = [[float(number) for number in polygon] for polygon in polygons if len(polygon) >= 6]
        xs = [x for polygon in numbers for x in polygon[0::2]]
        ys = [y for polygon in numbers for y in polygon[1::2]]
        return min(xs), min(ys), max(xs), max(ys)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None


def _of_runs(runs: list[int], height: int, width: int) -> Corners | None:
    """Run lengths walk down the columns, background first."""
    if height <= 0 or width <= 0 or min(runs, default=0) < 0 or sum(runs) > height * width:
        return None
    left, top, right, bottom = width, height, 0, 0
    start = 0
    for index, length in enumerate(runs):
        if index % 2 and length:
            last = start + length - 1
            first_column, last_column = start // height, last // height
            left, right = min(left, first_column), max(right, last_column + 1)
            if first_column == last_column:
                top, bottom = min(top, start % height), max(bottom, last % height + 1)
            else:  # it goes on at the top of the next column
                top, bottom = 0, height
        start += length
    return (float(left), float(top), float(right), float(bottom)) if right > left else None


def _decoded(text: str) -> list[int]:
    """COCO's text form: five bits a character from 48 on, a sixth says that more follow; from the third number on each
    is the difference from the one two before it."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[position]) - 48
            if not 0 <= bits < 64 or shift > 60:
                raise ValueError("not run lengths")
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            position, shift = position + 1, shift + 5
            if not more and bits & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
