"""Differences that are put in by hand come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recipebox.export.parity import parity

Array = NDArray[np.float32]
IMAGES = [np.zeros((3, 32, 32), np.float32)]


class Fixed:
    names, imgsz, sha256, precision = ("a", "b"), 32, "0" * 64, "fp32"

    def __init__(self, raw: Any) -> None:
        self.raw = np.asarray(raw, np.float32)[None]

    def __call__(self, images: Array) -> Array:
        return self.raw


def anchors() -> Array:
    raw = np.zeros((6, 21), np.float32)
    raw[:4] = np.array([16, 16, 8, 8], np.float32)[:, None]
    raw[4, 3], raw[5, 9] = 0.9, 0.6
    return raw


def test_equal_outputs_have_no_difference() -> None:
    result = parity(Fixed(anchors()), Fixed(anchors()), IMAGES)
    assert (result.max_box_px, result.max_score, result.detections_compared) == (0.0, 0.0, 2)


def test_a_wider_box_counts_by_its_edges_and_only_where_it_is_shown() -> None:
    other = anchors()
    other[2, 3] += 3.0  # width: each edge moves by half
    other[0, 15] += 20.0  # an anchor that scores nothing
    other[4, 15] += 0.03
    result = parity(Fixed(anchors()), Fixed(other), IMAGES)
    assert result.max_box_px == pytest.approx(1.5)
    assert result.max_score == pytest.approx(0.03)


def test_a_score_that_appears_is_compared_too() -> None:
    other = anchors()
    other[5, 15] = 0.5
    result = parity(Fixed(anchors()), Fixed(other), IMAGES)
    assert result.max_score == pytest.approx(0.5) and result.detections_compared == 3


def test_nothing_shown_means_no_box_is_compared() -> None:
    result = parity(Fixed(anchors() * 0.01), Fixed(anchors() * 0.01), IMAGES)
    assert result.max_box_px is None and "max_box_px" not in result.to_json()


ROWS = [[0, 0, 9, 9, 0.9, 0], [20, 20, 30, 30, 0.8, 0], [5, 5, 15, 15, 0.7, 1], [0, 0, 1, 1, 0.01, 1]]


def test_rows_that_change_places_are_no_difference() -> None:
    swapped = [ROWS[1], ROWS[0], *ROWS[2:]]
    result = parity(Fixed(ROWS), Fixed(swapped), IMAGES)
    assert result.max_box_px == 0.0 and result.detections_compared == 3


def test_a_moved_row_and_a_changed_score_are_found() -> None:
    moved = [[0, 0, 9, 11, 0.9, 0], ROWS[1], [5, 5, 15, 15, 0.65, 1], ROWS[3]]
    result = parity(Fixed(ROWS), Fixed(moved), IMAGES)
    assert result.max_box_px == pytest.approx(2.0) and result.max_score == pytest.approx(0.05)


def test_a_row_of_another_class_counts_with_its_whole_score() -> None:
    renamed = [*ROWS[:2], [5, 5, 15, 15, 0.7, 0], ROWS[3]]
    assert parity(Fixed(ROWS), Fixed(renamed), IMAGES).max_score == pytest.approx(0.7)


def test_outputs_of_other_shapes_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        parity(Fixed(ROWS), Fixed(anchors()), IMAGES)
