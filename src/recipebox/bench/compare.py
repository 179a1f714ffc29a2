"""Two files in one process, in turn over the same images, and a verdict only where the intervals allow one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.bench.measure import END_TO_END, Timings, run_once, warm_up
from recipebox.bench.pipeline import Image, Pipeline
from recipebox.bench.statistics import bounded, latency_summary, ratio_interval
from recipebox.errors import WeightsError
from recipebox.progress import say

SCHEMA = 1
LEAST_PAIRS = 30
"""Fewer pairs give intervals that claim more than they know, so there is no verdict."""
COMPARED = ("inference", END_TO_END)
POINTS = (50, 95)


def compare(first: Pipeline, second: Pipeline, images: Sequence[Image], *, pairs: int) -> dict[str, Any]:
    """Time two pipelines in turn (A B, B A, A B ...), image after image.

    Args:
        first, second: what is compared; both find the same classes.
        images: decoded images, taken in turn, the same one for both.
        pairs: images that each one is timed on.

    Returns:
        What `comparison` makes of the timings, and the summaries of both.

    Raises:
        WeightsError: their classes differ: they do not do the same work.
    """
    if first.backend.names != second.backend.names:
        raise WeightsError(
            f"The two files do not do the same work: one finds {_named(first)}, the other {_named(second)}. "
            "Compare files with the same classes."
        )
    both = (first, second)
    warmed = [warm_up(pipeline, images) for pipeline in both]
    say(f"timing {pairs} images with each file, in turn")
    timings = (Timings(), Timings())
    for number in range(pairs):
        image = images[number % len(images)]
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            run_once(both[which], image, timings[which])
    sides = [
        {
            "latency_ms": {step: latency_summary(seconds) for step, seconds in timed.steps.items()},
            "detections_per_image": timed.found / timed.runs,
            "warmup_runs": warmup.runs,
            "warmup_stable": warmup.stable,
        }
        for timed, warmup in zip(timings, warmed, strict=True)
    ]
    return {"a": sides[0], "b": sides[1], "pairs": pairs, **comparison(timings[0], timings[1])}


def comparison(first: Timings, second: Timings) -> dict[str, Any]:
    """How many times as long the first takes as the second, with 95 % intervals, and which one is faster end to end.

    Returns:
        ratio: {step: {"p50": {"ratio": .., "interval": [lo, hi]}, "p95": ..}}, A over B, the interval absent where
        there are too few pairs to bound that percentile; faster: "a", "b", or None where the interval of the end-to-end
        p50 holds 1 or there are too few pairs; why: in words.
    """
    ratios: dict[str, Any] = {}
    for step in COMPARED:
        ratios[step] = {}
        for point in POINTS:
            ratio, low, high = ratio_interval(first.steps[step], second.steps[step], _percentile(point))
            interval = {"interval": [low, high]} if bounded(point, first.runs) else {}
            ratios[step][f"p{point}"] = {"ratio": ratio} | interval
    if first.runs < LEAST_PAIRS:
        why = f"no verdict: {first.runs} pairs are too few, {LEAST_PAIRS} are the least"
        return {"ratio": ratios, "faster": None, "why": why}
    whole = ratios[END_TO_END]["p50"]
    low, high = whole["interval"]
    faster = "a" if high < 1 else "b" if low > 1 else None
    if faster is None:
        why = f"no verdict: A takes {whole['ratio']:.3f} times as long as B, and the interval {_ends(whole)} holds 1"
    else:
        one, other = ("A", "B") if faster == "a" else ("B", "A")
        why = (
            f"{one} is faster than {other} end to end: A takes {whole['ratio']:.3f} times as long as B, {_ends(whole)}"
        )
    return {"ratio": ratios, "faster": faster, "why": why}


def _percentile(point: int) -> Any:
    def statistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = np.percentile(values, point, axis=-1)
        return result

    return statistic


def _ends(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{low:.3f} to {high:.3f}"


def _named(pipeline: Pipeline) -> str:
    names = pipeline.backend.names
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"{len(names)} class{'' if len(names) == 1 else 'es'} ({shown})"
