"""Interleaved timing of alternatives on a noisy machine: rounds of A B ... B A, ratios within a round, an interval."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any


def rounds(
    arms: dict[str, Callable[[], None]], count: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each arm per round; a round runs the arms forth and back, so that drift hits all alike.

    On a machine that others use, `clock` may be `time.process_time`: what the arms compute, without their waiting.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(count):
        spent = dict.fromkeys(arms, 0.0)
        for name in [*arms, *reversed(arms)]:
            began = clock()
            arms[name]()
            spent[name] += clock() - began
        for name in arms:
            seconds[name].append(spent[name] / 2)
    return seconds


def ratio(above: list[float], below: list[float], draws: int = 4000) -> dict[str, float]:
    """Median of the rounds' ratios with its 95 % bootstrap interval."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(ratios, k=len(ratios))) for _ in range(draws))
    low, high = medians[int(0.025 * draws)], medians[int(0.975 * draws)]
    return {"ratio": round(statistics.median(ratios), 4), "low": round(low, 4), "high": round(high, 4)}


def machine() -> dict[str, Any]:
    return {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "python": platform.python_version()}


def finish(**document: Any) -> None:
    """The last line on stdout is one JSON document."""
    print(json.dumps({**document, "machine": machine()}))
