"""Percentiles and intervals against written-out references."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipebox.bench.statistics import is_stable, latency_summary, ratio_interval, throughput_interval


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60))
def test_summary_equals_its_definition_in_milliseconds(seconds: list[float]) -> None:
    summary = latency_summary(seconds)
    for key, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        assert summary[key] == pytest.approx(1000 * percentile(seconds, share))
    assert summary["mean"] == pytest.approx(1000 * sum(seconds) / len(seconds))

    if len(seconds) > 1:
        steps = [abs(after - before) for before, after in pairwise(seconds)]
        assert summary["jitter"] == pytest.approx(1000 * sum(steps) / len(steps))
    else:
        assert "jitter" not in summary
    assert set(summary["interval"]) == {"mean"} | ({"p50"} if len(seconds) >= 6 else set()) | (
        {"p95"} if len(seconds) >= 59 else set()
    )
    for low, high in summary["interval"].values():
        assert 1000 * min(seconds) <= low * 1.0001 and low <= high <= 1000.1 * max(seconds)


def test_intervals_of_percentiles_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    truth = float(np.median(rng.gamma(9, 1.0, 200_000)))
    hits = 0
    for _ in range(60):
        low, high = latency_summary(rng.gamma(9, 0.001, 100))["interval"]["p50"]
        hits += low <= truth <= high
    assert 0.85 <= hits / 60 <= 1.0


@pytest.mark.parametrize(("point", "least"), [(50, 6), (95, 59), (99, 299)])
def test_a_percentile_has_an_interval_where_the_runs_can_bound_it(point: int, least: int) -> None:
    """With fewer runs even the whole range of them holds the percentile less often than 95 times of 100."""
    rng = np.random.default_rng(point)
    assert [f"p{point}" in latency_summary(rng.random(count))["interval"] for count in (least - 1, least)] == [
        False, True
    ]  # fmt: skip
    truth = float(np.percentile(rng.gamma(9, 1.0, 1_000_000), point))
    found = [latency_summary(rng.gamma(9, 0.001, least))["interval"][f"p{point}"] for _ in range(100)]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.9


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    p95 = lambda values: np.percentile(values, 95, axis=-1)  # noqa: E731
    found = [ratio_interval(rng.gamma(9, 0.001, 59), rng.gamma(9, 0.001, 59), p95) for _ in range(100)]
    assert np.mean([low <= 1 <= high for _, low, high in found]) >= 0.9


def test_a_ratio_of_timings_taken_in_turn_is_not_widened_by_what_slows_both() -> None:
    rng = np.random.default_rng(6)
    spells = np.repeat(rng.uniform(1, 3, 30), 10)
    below = spells * rng.normal(0.010, 0.0001, 300)
    above = spells * rng.normal(0.011, 0.0001, 300)
    median = lambda values: np.median(values, axis=-1)  # noqa: E731
    ratio, low, high = ratio_interval(above, below, median)
    assert ratio == pytest.approx(np.median(above) / np.median(below))
    assert 1.0 < low <= 1.1 <= high < 1.2
    same, low, high = ratio_interval(below, below, median)
    assert same == low == high == 1.0
    with pytest.raises(ValueError, match="equally many"):
        ratio_interval(above, below[:-1], median)


def test_no_timing_is_clipped_away() -> None:
    summary = latency_summary([0.01] * 99 + [5.0])
    assert summary["max"] == 5000.0 and summary["mean"] == pytest.approx(59.9)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0, 1.0], [math.nan], [math.inf]])
def test_timings_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError):
        latency_summary(bad)
    with pytest.raises(ValueError):
        throughput_interval(bad)


def test_interval_of_single_draws_equals_a_written_out_bootstrap() -> None:
    draw = random.Random(3)
    seconds = [draw.gammavariate(4, 0.005) for _ in range(120)]
    means = sorted(sum(draw.choices(seconds, k=120)) / 120 for _ in range(4000))
    low, high = throughput_interval(seconds, block=1, resamples=4000)
    assert low == pytest.approx(1 / percentile(means, 0.975), rel=0.01)
    assert high == pytest.approx(1 / percentile(means, 0.025), rel=0.01)


def test_interval_of_blocks_equals_a_written_out_circular_bootstrap() -> None:
    draw = random.Random(4)
    seconds = [0.01 + 0.005 * math.sin(number / 9) + draw.gauss(0, 0.0005) for number in range(100)]
    means = []
    for _ in range(4000):
        sample: list[float] = []
        while len(sample) < 100:
            start = draw.randrange(100)
            sample += [seconds[(start + offset) % 100] for offset in range(7)]
        means.append(sum(sample[:100]) / 100)
    low, high = throughput_interval(seconds, block=7, resamples=4000)
    assert low == pytest.approx(1 / percentile(means, 0.975), rel=0.01)
    assert high == pytest.approx(1 / percentile(means, 0.025), rel=0.01)
    narrow = throughput_interval(seconds, block=1, resamples=4000)
    assert high - low > 1.5 * (narrow[1] - narrow[0])  # spells make the honest interval wider


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        low, high = throughput_interval(rng.gamma(9, 0.001, 100), seed=seed, resamples=400)
        hits += low <= 1 / 0.009 <= high
    assert 0.85 <= hits / 200 <= 0.99


def test_interval_is_the_same_for_the_same_input() -> None:
    seconds = list(np.linspace(0.01, 0.02, 50))
    assert throughput_interval(seconds) == throughput_interval(seconds)
    assert throughput_interval(seconds) != throughput_interval(seconds, seed=1)
    low, high = throughput_interval([0.02])
    assert low == high == pytest.approx(50.0)


def test_warmup_is_over_when_two_windows_agree() -> None:
    assert not is_stable([1.0] * 9, window=5, tolerance=0.05)
    assert is_stable([1.0] * 10, window=5, tolerance=0.05)
    assert not is_stable([2.0] * 5 + [1.0] * 5, window=5, tolerance=0.05)
    assert is_stable([9.0] + [1.0] * 9, window=5, tolerance=0.05)
