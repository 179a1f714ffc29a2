"""Which way a lever on the averaged weights should move them. What a sign is: `signs.py`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from recipebox.experiment.effect import MARGIN, Difference, compare
from recipebox.experiment.signs import CLOSE, Sign
from recipebox.experiment.trace import Trace

_ROUNDING = 4 * torch.finfo(torch.float32).eps
"""What a few updates of an average in float32 lose, as a share of it."""
_COPIED = 1e-5
"""Statistics that are nearer than this share were taken over, not estimated."""


def average_follows(decay: Callable[[int], float]) -> Sign:
    """The average is what these decays make of the live weights after each optimizer step.

    Args:
        decay: of the n-th step of the window, from 1: what it leaves of the average.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        assert on.started is not None and on.average is not None and off.average is not None, "the window trains"
        if not compare(on, off).average > MARGIN * noise.average:
            return "the average differs from that without it no more than between two runs of the same setting"
        expected = on.started.double()
        for number, weights in enumerate(on.stepped, start=1):
            kept = decay(number)
            expected = kept * expected + (1 - kept) * weights.double()
        away, without = (
            float(torch.linalg.vector_norm(made.double() - expected)) for made in (on.average, off.average)
        )
        if away <= CLOSE * without + _ROUNDING * float(torch.linalg.vector_norm(expected)):
            return None
        return f"the average is {away:.3g} away from where its decays lead, and {without:.3g} without it"

    return sign


def ends_are_averaged(rate: float | None) -> Sign:
    """The average is the equal-weight mean of the epochs' ends, its batch norm statistics are none of theirs, and one
    learning rate led to all of them: `rate`, where one is asked for."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        assert on.averaged is not None and off.averaged is not None, "the window lives through ends of epochs"
        assert on.averaged_statistics is not None
        mean = torch.stack(on.ends).mean(0)
        away, without = (float(torch.linalg.vector_norm(average - mean)) for average in (on.averaged, off.averaged))
        if away > CLOSE * without:
            return f"the average is {away:.3g} away from the mean of the epochs' ends, and {without:.3g} without it"
        taken_over = torch.stack(on.end_statistics).mean(0)
        moved = float(torch.linalg.vector_norm(on.averaged_statistics - taken_over))
        if moved <= _COPIED * float(torch.linalg.vector_norm(taken_over)):
            return "the average's batch norm statistics are the mean of the epochs' ends: nobody estimates them anew"
        if len(set(on.rates)) != 1:
            return "the learning rate moves between the epochs that are averaged"
        # An optimizer may give some groups a share of the rate (MuSGD); one has it whole.
        if rate is None or any(abs(each - rate) <= CLOSE * rate for each in on.rates[0]):
            return None
        return f"the learning rate should be {rate:g}, and is {max(on.rates[0]):g}"

    return sign


def statistics_change() -> Sign:
    """The average has other statistics of batch norm, and the same weights."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        assert on.averaged is not None and off.averaged is not None, "the window lives through ends of epochs"
        assert on.averaged_statistics is not None and off.averaged_statistics is not None
        if _distance(on.averaged, off.averaged) > max(CLOSE, MARGIN * noise.average) * on.moved:
            return "it should change the batch norm of the average alone, and its weights are others"
        moved, whole = _distance(on.averaged_statistics, off.averaged_statistics), off.averaged_statistics
        if moved > _COPIED * float(torch.linalg.vector_norm(whole)):
            return None
        return "the batch norm of the average is the same with and without it"

    return sign


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm((a - b).double()))
