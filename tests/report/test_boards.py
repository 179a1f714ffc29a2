"""Escapes, confusion and overkill on a board, against the definitions written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.evaluate.inspection import inspect
from recipebox.report.boards import SHOWN, board_picture, judge, look_at_boards

if TYPE_CHECKING:
    from matplotlib.figure import Figure

boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
true_boxes = st.lists(st.tuples(st.integers(0, 2), boxes), max_size=5)
found_boxes = st.lists(st.tuples(st.integers(0, 2), boxes), max_size=6)


def iou_of(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


@given(true_boxes, found_boxes)
def test_judgement_is_the_definition(true: list, found: list) -> None:
    true_array = np.array([[k, *b] for k, b in true], np.float32).reshape(-1, 5)
    found_array = np.array([[*b, 0.9, k] for k, b in found], np.float32).reshape(-1, 6)
    judged = judge(true_array, found_array, 0.45)
    for (own, box), outcome, seen_as in zip(true, judged.outcome, judged.seen_as, strict=True):
        classes = {k for k, other in found if iou_of(box, other) >= 0.45}
        expected = "escape" if not classes else "found" if own in classes else "confused"
        assert outcome == expected
        assert seen_as in (classes or {-1})
    for (_, box), overkill in zip(found, judged.overkill, strict=True):
        assert overkill == (not any(iou_of(box, other) >= 0.45 for _, other in true))


@given(true_boxes, found_boxes)
def test_judgement_counts_what_evaluation_counts(true: list, found: list) -> None:
    true_array = np.array([[k, *b] for k, b in true], np.float32).reshape(-1, 5)
    found_array = np.array([[*b, 0.9, k] for k, b in found], np.float32).reshape(-1, 6)
    judged = judge(true_array, found_array, 0.45)
    counts = inspect([found_array], [true_array[:, [1, 2, 3, 4, 0]]], nc=3, iou=0.45, threshold=0.5)
    assert judged.count("escape") == counts.escapes.sum()
    assert judged.count("confused") == counts.confused.sum()
    assert sum(judged.overkill) == counts.overkill.sum()


def perfect(boards: DetectionSet) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A detector that knows the answers in the order of the test split: misses class 0, cries wolf in a corner."""
    answers = iter(boards.test.boxes)

    def detect(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert image.shape == (640, 640, 3)
        found = [
            [(x - w / 2) * 640, (y - h / 2) * 640, (x + w / 2) * 640, (y + h / 2) * 640, 0.9, k]
            for k, x, y, w, h in next(answers)
            if k != 0
        ]
        return np.array([*found, [1, 1, 9, 9, 0.8, 3], [600, 1, 610, 9, 0.1, 3]], np.float32)

    return detect


def test_boards_are_judged_in_pixels_at_the_threshold(boards: DetectionSet) -> None:
    shown, looked_at, problems = look_at_boards(boards, perfect(boards), threshold=0.3, iou=0.5)
    assert looked_at == 8
    assert problems == []
    assert len(shown) == SHOWN
    assert [board.why for board in shown] == ["hardest", "hardest", "typical", "typical"]
    assert len({board.path for board in shown}) == SHOWN
    for board in shown:
        assert board.errors == (1, 1, 0)
        assert len(board.detections) == 6
    picture = board_picture(shown, boards.names)
    assert picture.startswith(b"\x89PNG")


def test_an_unreadable_board_is_named_and_left_out(boards: DetectionSet) -> None:
    boards.test.images[2].write_bytes(b"no image")
    none = np.zeros((0, 6), np.float32)
    shown, looked_at, problems = look_at_boards(boards, lambda image: none, threshold=0.3, iou=0.5)
    assert looked_at == 7
    assert len(problems) == 1
    assert boards.test.images[2].name in problems[0]
    assert all(board.judgement.count("escape") == 6 for board in shown)


def test_a_detector_that_answers_nan_is_refused(boards: DetectionSet) -> None:
    from recipebox.errors import RecipeboxError

    nan = np.full((1, 6), np.nan, np.float32)
    with pytest.raises(RecipeboxError, match="NaN"):
        look_at_boards(boards, lambda image: nan, threshold=0.3, iou=0.5)


@pytest.mark.parametrize("shape", [(80, 300), (300, 80), (64, 64)])
def test_what_is_written_on_a_board_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """Titles and labels of wide and of tall boards, with a defect in the last corner and one board without any."""
    import cv2

    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    for path in paths:
        cv2.imwrite(str(path), np.full((*shape, 3), 128, np.uint8))
    corner = np.array([[0, 0.3, 0.3, 0.2, 0.2], [1, 0.95, 0.95, 0.1, 0.1]], np.float32)
    split = Split(paths, (corner, corner, np.zeros((0, 5), np.float32)))
    data = DetectionSet("odd", ("open", "short"), split, split, split, "0" * 64)
    texts: list[tuple[str, bool]] = []

    def look(figure: Figure) -> bytes:
        figure.draw_without_rendering()
        width = figure.bbox.width
        for axes in figure.axes:
            for text in [axes.title, *axes.texts]:
                box = text.get_window_extent()
                whole = box.x0 >= 0 and box.x1 <= width and not (text.get_clip_on() and box.x1 > axes.bbox.x1)
                texts.append((text.get_text(), whole))
        return b""

    monkeypatch.setattr("recipebox.report.boards.png", look)
    none = np.zeros((0, 6), np.float32)
    shown, _, _ = look_at_boards(data, lambda image: none, threshold=0.3, iou=0.5)
    board_picture(shown, data.names)
    assert len(texts) == 3 + 4
    assert [text for text, whole in texts if not whole] == []
