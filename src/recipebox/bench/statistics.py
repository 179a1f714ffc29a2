"""Percentiles, jitter and intervals of timings. numpy only.

Intervals are percentile bootstraps over circular blocks (Politis and Romano, 1992): timings of one machine come in
spells, so neighbours are drawn together. Drawing single values would claim intervals too narrow. No resample goes
beyond the largest value that was measured, so near the tail a bootstrap alone claims too much: there are intervals of
percentiles only where the values can bound them (`bounded`), and never narrower than the one by ranks, which holds
whatever the values' distribution is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Timings = Sequence[float] | Array

CONFIDENCE, RESAMPLES = 0.95, 2000
POINTS = (50, 95, 99)
_AT_ONCE = 2_000_000
"""Values of resamples held in memory at a time."""


def latency_summary(seconds: Timings) -> dict[str, Any]:
    """p50, p95, p99, max, mean and jitter in milliseconds, and 95 % intervals of the percentiles and the mean.

    Percentiles interpolate linearly between measured values, and every value counts. Jitter is the mean absolute
    difference between one timing and the next (absent for a single timing). The interval of a percentile is absent
    where there are too few timings to bound it.

    Raises:
        ValueError: there are no timings, or one is negative or not finite.
    """
    ms = _checked(seconds) * 1000.0
    summary: dict[str, Any] = {f"p{point}": float(np.percentile(ms, point)) for point in POINTS}
    summary |= {"max": float(ms.max()), "mean": float(ms.mean())}
    if len(ms) > 1:
        summary["jitter"] = float(np.abs(np.diff(ms)).mean())
    statistics = np.concatenate([_points(ms[drawn]) for drawn in _resamples(len(ms))])
    *ends, mean = _interval(statistics).T
    ordered = np.sort(ms)
    intervals: dict[str, list[float]] = {}
    for point, (low, high) in zip(POINTS, ends, strict=True):
        if bounded(point, len(ms)):
            below, above = _ranks(point, len(ms))
            intervals[f"p{point}"] = [float(min(low, ordered[below])), float(max(high, ordered[above]))]
    summary["interval"] = intervals | {"mean": [float(end) for end in mean]}
    return summary


def bounded(point: float, count: int) -> bool:
    """Whether so many values can bound a percentile: the smallest and the largest of them hold it 95 times of 100.

    6 values bound the 50th, 59 the 95th, 299 the 99th.
    """
    share = point / 100
    return share**count + (1 - share) ** count <= 1 - CONFIDENCE


def _ranks(point: float, count: int) -> tuple[int, int]:
    """Places (from 0) of the two ordered values that hold a percentile 95 times of 100, by the binomial distribution.

    Each end may miss it 2.5 times; where the largest value misses it more often, the lower end less.
    """
    share, places = point / 100, np.arange(count + 1)
    logs = np.array([math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in places])
    below = np.cumsum(np.exp(logs + places * math.log(share) + (count - places) * math.log(1 - share)))
    tail = (1 - CONFIDENCE) / 2
    # below[k]: how likely at most k values lie under the percentile; that at place k is under it where more than k do.
    above = min(int(np.argmax(1 - below <= tail)), count - 1)
    missed = 1 - CONFIDENCE - (1 - below[above])
    return max(int(np.searchsorted(below, missed, side="right")) - 1, 0), above


def _points(ms: Array) -> Array:
    """(resamples, n) -> (resamples, 4): the percentiles and the mean of each."""
    return np.concatenate([np.percentile(ms, POINTS, axis=1).T, ms.mean(axis=1, keepdims=True)], axis=1)


def throughput_interval(
    seconds: Timings,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    block: int | None = None,
) -> tuple[float, float]:
    """An interval of the throughput 1 / mean(seconds), in items a second.

    Args:
        seconds: durations in the order they were measured.
        confidence: share of resamples inside the interval.
        resamples: how many are drawn.
        seed: of the draw; the same input gives the same interval.
        block: values drawn together; None takes the cube root of their number.
    """
    values = _checked(seconds)
    drawn = _resamples(len(values), resamples=resamples, seed=seed, block=block)
    means = np.concatenate([values[indices].mean(axis=1) for indices in drawn])
    slow, fast = _interval(means, confidence)
    return float(1.0 / fast), float(1.0 / slow)


def ratio_interval(above: Timings, below: Timings, statistic: Callable[[Array], Array]) -> tuple[float, float, float]:
    """How many times `below` is `above`, by a statistic, from timings taken in turn: (ratio, low, high).

    A resample draws the same positions of both, so what slowed the machine down for both cancels.

    Args:
        above: seconds, the n-th measured next to the n-th of `below`.
        below: as many seconds.
        statistic: (resamples, n) -> (resamples,), such as the median along the last axis.
    """
    first, second = _checked(above), _checked(below)
    if len(first) != len(second):
        raise ValueError("timings that were taken in turn are equally many")
    ratios = [statistic(first[drawn]) / statistic(second[drawn]) for drawn in _resamples(len(first))]
    low, high = _interval(np.concatenate(ratios))
    return float(statistic(first[None])[0] / statistic(second[None])[0]), float(low), float(high)


def is_stable(seconds: Sequence[float], *, window: int, tolerance: float) -> bool:
    """Whether the median of the last `window` timings is within `tolerance` of the median of the window before."""
    if len(seconds) < 2 * window:
        return False
    before = float(np.median(seconds[-2 * window : -window]))
    after = float(np.median(seconds[-window:]))
    return abs(after - before) <= tolerance * before


def _resamples(
    count: int, *, resamples: int = RESAMPLES, seed: int = 0, block: int | None = None
) -> Iterator[NDArray[np.intp]]:
    """Indices (some resamples, count) into a series of `count` values, until all resamples were drawn."""
    length = min(count, block or max(1, round(count ** (1 / 3))))
    starts = np.random.default_rng(seed).integers(0, count, size=(resamples, -(-count // length)))
    step = max(1, _AT_ONCE // count)
    for first in range(0, resamples, step):
        indices = (starts[first : first + step, :, None] + np.arange(length)) % count
        yield indices.reshape(len(indices), -1)[:, :count]


def _interval(values: Array, confidence: float = CONFIDENCE) -> Array:
    """(2, ...): the lower and the upper end along the first axis."""
    tail = (1.0 - confidence) / 2 * 100
    ends: Array = np.percentile(values, [tail, 100 - tail], axis=0)
    return ends


def _checked(seconds: Timings) -> Array:
    values = np.asarray(seconds, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("no timings to summarise")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError("timings must be finite and not negative, and not all zero")
    return values
