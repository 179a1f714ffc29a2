"""Pictures: whatever the boxes, nothing crashes, the defect itself is not painted over, and labels can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.data.letterbox import read_image
from recipebox.predict import draw, sheet
from recipebox.predict.output import write_picture, yolo_lines

NAMES = ("open", "short", "дефект\n" * 9)
numbers = st.floats(-50, 700, width=32)
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers, st.floats(0, 1, width=32), st.integers(0, 5)), max_size=8)


def image(height: int, width: int) -> draw.Image:
    return np.full((height, width, 3), 90, np.uint8)


@settings(max_examples=60)
@given(rows, st.integers(1, 700), st.integers(1, 700))
def test_any_boxes_on_any_image(found: list[tuple[float, ...]], height: int, width: int) -> None:
    boxes = np.array(found, np.float32).reshape(-1, 6)
    before = image(height, width)
    picture = draw.draw(before, boxes, NAMES)
    assert (before == 90).all()
    factor = picture.shape[0] // height
    assert picture.shape == (height * factor, width * factor, 3)
    assert max(picture.shape) >= draw.SMALLEST_SIDE
    tile = sheet.small("a\x1b[31m" * 30, before, boxes)
    assert sheet.contact_sheet([tile], NAMES, "headline").ndim == 3


@pytest.mark.parametrize(("height", "width"), [(640, 640), (2160, 3840)])
def test_what_was_found_is_not_painted_over(height: int, width: int) -> None:
    picture = image(height, width)
    box = np.array([300, 200, 310, 215])
    draw.draw_box(picture, box, (0, 0, 255), 4)
    assert (picture[200:215, 300:310] == 90).all()
    assert (picture[200:215, 299] == (0, 0, 255)).all()


def test_a_box_that_fills_the_image_is_seen() -> None:
    picture = image(100, 80)
    draw.draw_box(picture, np.array([0, 0, 80, 100]), (0, 0, 255), 2)
    assert (picture[:, 1] == (0, 0, 255)).all(axis=1).sum() > 90
    assert (picture[-2] == (0, 0, 255)).all(axis=1).sum() > 70


def test_a_label_stands_beside_its_box_and_does_not_hide_another_one() -> None:
    found = np.array([[100, 100, 120, 120, 0.9, 0], [100, 122, 120, 142, 0.8, 1]], np.float32)
    picture = draw.draw(image(640, 640), found, NAMES)
    for x1, y1, x2, y2 in found[:, :4].astype(int):
        inner = picture[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3]
        assert (inner == 90).all()


def test_letters_of_any_script() -> None:
    assert draw.text_mask("дефект é", 14).max() == 255
    assert draw.text_mask("\n\udcff", 14).size
    assert draw.text_mask("", 14).size


def test_evenly_spaced_whatever_comes() -> None:
    for count in (1, 24, 25, 47, 48, 500):
        spaced = sheet.Spaced()
        for number in range(count):
            spaced.offer(str(number), image(4, 4), np.zeros((0, 6)))
        kept = [int(tile.name) for tile in spaced.chosen()]
        assert len(kept) == min(count, 24) or 12 <= len(kept) <= 24
        assert kept == sorted(set(kept))
        assert kept[0] == 0
        assert count - kept[-1] <= 2 * max(1, count // 12)


def test_labels_of_yolo() -> None:
    found = np.array([[10, 20, 30, 60, 0.5, 3]], np.float32)
    assert yolo_lines(found, (100, 200)) == "3 0.100000 0.400000 0.100000 0.400000\n"
    assert yolo_lines(found[:0], (100, 200)) == ""


def test_a_picture_longer_than_jpeg_allows(tmp_path: Path) -> None:
    write_picture(tmp_path / "long.jpg", np.zeros((2, 70_000, 3), np.uint8))
    written = read_image(tmp_path / "long.jpg")
    assert written.shape[1] <= 65_500
