"""Anchors: the figures against the definition, the search against what is known, and boxes that cannot be fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recipebox.data.anchors import COCO, condensed, fit_anchors, judge
from recipebox.errors import DataError


def by_definition(pixels: Any, anchors: Any, threshold: float = 4.0) -> tuple[float, float, float]:
    """Recall, fitness and matches, box by box, as YOLOv5 describes them."""
    found, fitness, matches = 0, 0.0, 0
    for w, h in pixels:
        ratios = [min(w / a, a / w, h / b, b / h) for a, b in anchors]
        best = max(ratios)
        found += best > 1 / threshold
        fitness += best if best > 1 / threshold else 0.0
        matches += sum(ratio > 1 / threshold for ratio in ratios)
    return found / len(pixels), fitness / len(pixels), matches / len(pixels)


def test_recall_and_fitness_are_what_they_are_defined_as() -> None:
    rng = np.random.default_rng(1)
    pixels = np.exp2(rng.uniform(0, 9, (300, 2)))
    judged = judge(pixels, COCO)
    assert (judged.recall, judged.fitness, judged.matches) == pytest.approx(by_definition(pixels, COCO))
    assert sum(judged.shares) == pytest.approx(1)


def test_sizes_that_are_anchors_are_found() -> None:
    true = np.array([(8, 9), (20, 11), (31, 60), (64, 64), (120, 80), (300, 200)], float)
    rng = np.random.default_rng(2)
    pixels = true[rng.integers(0, 6, 4000)] * np.exp(rng.normal(0, 0.01, (4000, 2)))
    fit = fit_anchors(pixels, 6)
    assert np.allclose(fit.anchors, true, rtol=0.02)
    assert fit.judgement.recall == 1
    assert fit.judgement.fitness > 0.98


def test_the_seed_decides() -> None:
    pixels = np.exp2(np.random.default_rng(3).normal(5, 1, (2000, 2)))
    assert fit_anchors(pixels, 9, seed=4) == fit_anchors(pixels, 9, seed=4)


def test_many_boxes_become_few_points_that_weigh_as_much() -> None:
    pixels = np.exp2(np.random.default_rng(5).normal(5, 1, (200_000, 2)))
    points, weights = condensed(pixels)
    assert len(points) < 1100
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    assert np.average(points, axis=0, weights=weights) == pytest.approx(np.log(pixels).mean(axis=0), abs=1e-2)


def test_anchors_go_to_levels_from_fine_to_coarse() -> None:
    fit = fit_anchors(np.exp2(np.random.default_rng(6).normal(5, 1.5, (1000, 2))), 9)
    areas = [w * h for level in fit.levels(3) for w, h in level]
    assert len(areas) == 9
    assert areas == sorted(areas)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        ([], "0 boxes of 0 sizes"),
        ([(10, 12)], "1 box of 1 size cannot"),
        ([(10, 12)] * 50, "50 boxes of 1 size cannot"),
        ([(0, 5), (5, 0), (np.nan, 3), (np.inf, 3), (4, 4)], "1 box of 1 size"),
    ],
)
def test_too_few_sizes_are_refused_in_one_sentence(pixels: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit_anchors(np.array(pixels, float).reshape(-1, 2), 9)


@settings(max_examples=25)
@given(
    arrays(np.float64, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(allow_nan=True, width=32)),
    st.integers(1, 4),
)
def test_any_boxes_give_anchors_or_a_reason(pixels: Any, count: int) -> None:
    try:
        fit = fit_anchors(pixels, count)
    except DataError:
        return
    assert len(fit.anchors) == count
    assert np.min(fit.anchors) > 0
    assert 0 <= fit.judgement.fitness <= fit.judgement.recall <= 1
