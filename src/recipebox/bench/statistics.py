"""Percentiles and intervals of timings. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def latency_summary(seconds: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """p50, p95, p99, max and mean in milliseconds; percentiles interpolate linearly between measured values.

    Raises:
        ValueError: there are no timings, or one is negative or not finite.
    """
    ms = _checked(seconds) * 1000.0
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return {
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(ms.max()),
        "mean": float(ms.mean()),
    }


def throughput_interval(
    seconds: Sequence[float] | NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    block: int | None = None,
) -> tuple[float, float]:
    """A percentile bootstrap interval of the throughput 1 / mean(seconds), in items a second.

    Timings of one machine come in spells, so neighbours are drawn together: blocks of `block` consecutive values, the
    series closed to a circle (Politis and Romano, 1992). Drawing single values would claim an interval too narrow.

    Args:
        seconds: durations in the order they were measured.
        confidence: share of resamples inside the interval.
        resamples: how many are drawn.
        seed: of the draw; the same input gives the same interval.
        block: values drawn together; None takes the cube root of their number.
    """
    values = _checked(seconds)
    count = len(values)
    length = min(count, block or max(1, round(count ** (1 / 3))))
    starts = np.random.default_rng(seed).integers(0, count, size=(resamples, -(-count // length)))
    indices = (starts[:, :, None] + np.arange(length)) % count
    means = values[indices.reshape(resamples, -1)[:, :count]].mean(axis=1)
    tail = (1.0 - confidence) / 2 * 100
    slow, fast = np.percentile(means, [100 - tail, tail])
    return float(1.0 / slow), float(1.0 / fast)


def is_stable(seconds: Sequence[float], *, window: int, tolerance: float) -> bool:
    """Whether the median of the last `window` timings is within `tolerance` of the median of the window before."""
    if len(seconds) < 2 * window:
        return False
    before = float(np.median(seconds[-2 * window : -window]))
    after = float(np.median(seconds[-window:]))
    return abs(after - before) <= tolerance * before


def _checked(seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(seconds, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("no timings to summarise")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError("timings must be finite and not negative, and not all zero")
    return values
