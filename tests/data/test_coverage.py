"""Strides: which covers what, and what that speaks for."""

from __future__ import annotations

import numpy as np
import pytest

from recipebox.data.box_sizes import Sizes
from recipebox.data.coverage import Levels, coverage, coverage_lines, suggestions


def sizes(pixels: list[tuple[float, float]], imgsz: int = 640, image_side: int = 640) -> Sizes:
    return Sizes(np.array(pixels, float), imgsz, image_side, 0)


def lines(made: Sizes, *, takes_p2: bool = True, topk: int = 10, head: Levels | None = None) -> list[str]:
    found = coverage(made.pixels, head or Levels())
    return [one.line for one in suggestions(made, found, takes_p2=takes_p2, topk=topk)]


def test_a_level_covers_from_two_cells_to_its_reach() -> None:
    found = coverage(np.array([(15, 100), (16, 240), (16, 241), (64, 64), (70, 961)], float), Levels())
    assert [level.covers for level in found.levels] == pytest.approx([0.4, 0.2, 0.2])
    assert [level.coarsest for level in found.levels] == pytest.approx([0.2, 0.0, 0.2])
    assert (found.too_small, found.too_large) == pytest.approx((0.2, 0.2))
    assert found.uncovered == pytest.approx(0.6), "too small, or long and thin between two levels, or too long"


def test_a_head_without_bins_reaches_anywhere() -> None:
    found = coverage(np.array([(64, 5000)], float), Levels(reg_max=1))
    assert found.levels[-1].covers == 1
    assert found.too_large == 0
    assert not any("reach" in line for line in coverage_lines(found))


def test_small_boxes_speak_for_a_finer_grid() -> None:
    small = sizes([(10, 10)] * 50 + [(40, 40)] * 50, imgsz=320)
    made = lines(small)
    assert made[0] == "train: {imgsz: 512}"
    assert made[1] == "techniques: {p2: true}"
    assert lines(small, takes_p2=False)[1:] != made[1:]


def test_no_size_is_suggested_beyond_the_images_own() -> None:
    made = lines(sizes([(6, 6)] * 10, imgsz=640, image_side=640))
    assert made[0] == "techniques: {p2: true}"


def test_large_boxes_speak_for_a_smaller_input() -> None:
    assert lines(sizes([(1200, 1200)] * 10, imgsz=1280, image_side=1280)) == ["train: {imgsz: 1024}"]


def test_boxes_that_are_covered_speak_for_nothing() -> None:
    assert lines(sizes([(60, 60)] * 10)) == []


def test_a_choice_among_too_few_cells_is_no_choice() -> None:
    assert lines(sizes([(16, 16)] * 10)) == ["techniques: {assigner: {topk: 3}}"]
    assert lines(sizes([(16, 16)] * 10), topk=3) == []
