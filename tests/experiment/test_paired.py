"""Quantiles against a printed table and against the density, differences against the standard library."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from recipebox.experiment.paired import paired, t_quantile

# Abramowitz and Stegun, table 26.10.
TABLE = {
    0.95: {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 9: 1.833, 30: 1.697, 120: 1.658},
    0.975: {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980},
    0.9995: {1: 636.619, 2: 31.599, 3: 12.924, 4: 8.610, 5: 6.869, 9: 4.781, 30: 3.646, 120: 3.373},
}


@pytest.mark.parametrize("probability", TABLE)
def test_quantiles_of_t_are_those_of_the_table(probability: float) -> None:
    for freedom, value in TABLE[probability].items():
        assert t_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize("freedom", [2, 3, 6, 7, 24])
def test_quantiles_of_t_enclose_their_share_of_the_density(freedom: int) -> None:
    """Simpson's rule over the density, from 0 to the quantile."""
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    end, steps = t_quantile(0.975, freedom), 2000
    height = [scale * (1 + (end * i / steps) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
    area = end / steps / 3 * (height[0] + 4 * sum(height[1::2]) + 2 * sum(height[2:-1:2]) + height[-1])
    assert area == pytest.approx(0.475, abs=1e-9)


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.706205), (3, 4.302653), (7, 2.446912)])
def test_the_interval_is_that_of_a_paired_t_test(seeds: int, quantile: float) -> None:
    source = random.Random(seeds)
    first, arm = [source.random() for _ in range(seeds)], [source.random() for _ in range(seeds)]
    differences = [a - b for a, b in zip(arm, first, strict=True)]
    mean = statistics.mean(differences)
    half = quantile * statistics.stdev(differences) / math.sqrt(seeds)
    found = paired(arm, first)
    assert found.mean == pytest.approx(mean)
    assert found.interval == pytest.approx((mean - half, mean + half), rel=1e-6)


def test_pairing_takes_out_what_seeds_do_to_both() -> None:
    found = paired([0.51, 0.61, 0.41], [0.50, 0.60, 0.40])
    assert found.mean == pytest.approx(0.01)
    assert found.interval == pytest.approx((0.01, 0.01))


def test_one_seed_has_no_interval_and_a_missing_one_no_pair() -> None:
    assert paired([0.5], [0.4]).interval is None
    assert paired([0.5, None], [0.4, 0.3]).interval is None
    assert paired([0.5, 0.6], [None, 0.3]).differences == (pytest.approx(0.3),)
    assert paired([None], [0.4]).mean is None
