"""Paired differences of arms over seeds, with t intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """A difference from the first arm over the seeds that both have.

    Attributes:
        differences: by seed, in the order of the seeds.
        mean: of them; None where there is none.
        interval: for the mean, at 95 % confidence; None with fewer than two seeds, where there is nothing to estimate
            the spread from.
    """

    differences: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None


def paired(arm: Sequence[float | None], first: Sequence[float | None]) -> Paired:
    """Compare two arms seed by seed; a seed that one of them lacks (None) is left out.

    With the same seed both saw the same images, so what the seed does to both falls out of the difference. The interval
    is mean +- t(0.975, n - 1) * s / sqrt(n), as of a paired t-test (Student 1908).
    """
    pairs = [(a, b) for a, b in zip(arm, first, strict=True) if a is not None and b is not None]
    differences = tuple(a - b for a, b in pairs)
    count = len(differences)
    if not count:
        return Paired((), None, None)
    mean = math.fsum(differences) / count
    if count == 1:
        return Paired(differences, mean, None)
    half = t_quantile((1 + CONFIDENCE) / 2, count - 1) * deviation(differences) / math.sqrt(count)
    return Paired(differences, mean, (mean - half, mean + half))


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample; at least two values."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution for a probability of at least 0.5, to 1e-9.

    By bisection on the distribution function, which for whole degrees of freedom is a finite sum (Abramowitz and
    Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2 * probability - 1:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(|T| <= t)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (step - 1) / step
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
