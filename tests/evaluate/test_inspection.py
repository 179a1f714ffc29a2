"""Escapes, confusions and overkill, by hand and against written-out loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recipebox.evaluate.inspection import box_iou, inspect

BOX_A, BOX_B, BOX_C = [0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]
Boxes = NDArray[np.float32]


def found(*rows: tuple[list[int], float, int]) -> Boxes:
    return np.array([[*box, score, label] for box, score, label in rows], np.float32).reshape(-1, 6)


def true(*rows: tuple[list[int], int]) -> Boxes:
    return np.array([[*box, label] for box, label in rows], np.float32).reshape(-1, 5)


def counts(detections: list[Boxes], truth: list[Boxes], iou: float = 0.5) -> dict[str, list[int] | int]:
    result = inspect(detections, truth, nc=3, iou=iou, threshold=0.3)
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(result).items()}


def test_a_perfect_detector_lets_nothing_escape_and_rejects_nothing_in_vain() -> None:
    result = counts([found((BOX_A, 0.9, 0), (BOX_B, 0.8, 2)), found()], [true((BOX_A, 0), (BOX_B, 2)), true()])
    assert result["instances"] == [1, 0, 1]
    assert result["escapes"] == result["confused"] == result["overkill"] == [0, 0, 0]
    boards = [result[f"boards_{key}"] for key in ("defective", "escaped", "good", "overkilled")]
    assert boards == [1, 0, 1, 0]


def test_a_blind_detector_lets_everything_escape() -> None:
    result = counts([found(), found()], [true((BOX_A, 0), (BOX_B, 2)), true((BOX_C, 0))])
    assert result["escapes"] == [2, 0, 1]
    assert result["boards_escaped"] == 2


def test_a_wrong_class_confuses_but_lets_nothing_escape() -> None:
    result = counts([found((BOX_A, 0.9, 1))], [true((BOX_A, 0))])
    assert (result["escapes"], result["confused"], result["overkill"]) == ([0, 0, 0], [1, 0, 0], [0, 0, 0])
    assert result["boards_escaped"] == 0


def test_a_wrong_and_a_right_class_on_one_defect_is_found() -> None:
    result = counts([found((BOX_A, 0.9, 1), (BOX_A, 0.4, 0))], [true((BOX_A, 0))])
    assert (result["escapes"], result["confused"], result["overkill"]) == ([0, 0, 0], [0, 0, 0], [0, 0, 0])


def test_firing_everywhere_escapes_nothing_and_overkills_by_predicted_class() -> None:
    everywhere = found(*((box, 0.9, label) for box in (BOX_A, BOX_B, BOX_C) for label in range(3)))
    result = counts([everywhere, everywhere], [true((BOX_A, 0)), true()])
    assert result["escapes"] == [0, 0, 0]
    assert result["overkill"] == [5, 5, 5]
    assert (result["boards_good"], result["boards_overkilled"]) == (1, 1)


def test_a_detection_at_the_threshold_does_not_count() -> None:
    result = inspect([found((BOX_A, 0.5, 0))], [true((BOX_A, 0))], nc=3, iou=0.5, threshold=0.5)
    assert result.escapes.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("iou", "escapes"), [(0.5, 0), (0.51, 1)])
def test_the_overlap_asked_for_is_inclusive(iou: float, escapes: int) -> None:
    half = [0, 0, 10, 5]
    result = inspect([found((half, 0.9, 0))], [true((BOX_A, 0))], nc=1, iou=iou, threshold=0.3)
    assert result.escapes.tolist() == [escapes]
    assert result.overkill.tolist() == [escapes]


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    assert box_iou(point, point).tolist() == [[0.0]]
    assert box_iou(np.zeros((0, 4), np.float32), point).shape == (0, 1)


boxes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(1, 12)).map(
    lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
)
labels = st.integers(0, 2)
detected = st.lists(st.tuples(boxes, st.sampled_from([0.1, 0.3, 0.31, 0.9]), labels), max_size=6)
annotated = st.lists(st.tuples(boxes, labels), max_size=5)


@settings(max_examples=150)
@given(st.lists(st.tuples(detected, annotated), max_size=3), st.sampled_from([0.3, 0.5, 0.75]))
def test_counts_equal_plain_loops(boards: list[tuple[list, list]], iou: float) -> None:
    got = counts([found(*d) for d, _ in boards], [true(*t) for _, t in boards], iou)
    expected = {key: [0, 0, 0] for key in ("escapes", "confused", "overkill")}
    for detections, truth in boards:
        kept = [(box, label) for box, score, label in detections if np.float32(score) > 0.3]
        for box, label in truth:
            over = [other for candidate, other in kept if _iou(box, candidate) >= iou]
            if not over:
                expected["escapes"][label] += 1
            elif label not in over:
                expected["confused"][label] += 1
        for box, label in kept:
            if all(_iou(box, defect) < iou for defect, _ in truth):
                expected["overkill"][label] += 1
    assert {key: got[key] for key in expected} == expected
    assert got["boards_defective"] + got["boards_good"] == len(boards)


def _iou(a: list[int], b: list[int]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
