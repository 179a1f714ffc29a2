"""What is timed, and in which order: decoding, warm-up, one image at a time, and many on their way at once.

Nothing is drawn on the screen, and nothing else runs in the process, while a clock runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recipebox.bench.pipeline import STEPS, Image, Pipeline, Rows, Source
from recipebox.bench.statistics import is_stable, latency_summary, throughput_interval
from recipebox.data.letterbox import read_image
from recipebox.errors import DataError
from recipebox.progress import duration, say, track

END_TO_END = "end_to_end"
DECODED_BYTES = 2**30
"""Images are decoded beforehand; beyond this much memory fewer different ones are used."""
WARMUP_WINDOW, WARMUP_TOLERANCE, WARMUP_MOST = 5, 0.05, 60
ROUND = 50
"""Images a round. A round times them in every way, so that a machine that slows down slows all of them."""


@dataclass
class Timings:
    """Seconds by step, in the order measured. `lanes`: seconds from one finished image to the next."""

    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in (*STEPS, END_TO_END)})
    lanes: dict[str, list[float]] = field(default_factory=lambda: {"overlapped": [], "overlapped_with_decoding": []})
    found: int = 0

    @property
    def runs(self) -> int:
        return len(self.steps[END_TO_END])


@dataclass(frozen=True)
class Warmup:
    """Runs before the first timing that counts, and whether their time had settled."""

    runs: int
    stable: bool


@dataclass(frozen=True)
class Decoded:
    """Test images with their files, and the seconds that reading and decoding each one took."""

    paths: tuple[Path, ...]
    images: tuple[Image, ...]
    seconds: tuple[float, ...]


def decode(paths: Sequence[Path], limit: int) -> Decoded:
    """Read and decode up to `limit` images, spread evenly over `paths`.

    Raises:
        DataError: there is no image, or one cannot be decoded.
    """
    if not paths:
        raise DataError("There is no image to time: the test split is empty. Give the data set test images.")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(limit, len(paths))).round().astype(int)).tolist()
    images: list[Image] = []
    seconds: list[float] = []
    for index in track(chosen, "decoding test images"):
        started = time.perf_counter()
        image = read_image(paths[index])
        seconds.append(time.perf_counter() - started)
        images.append(image)
        if sum(image.nbytes for image in images) > DECODED_BYTES:
            break
    return Decoded(tuple(paths[index] for index in chosen[: len(images)]), tuple(images), tuple(seconds))


def warm_up(pipeline: Pipeline, images: Sequence[Image]) -> Warmup:
    """Run the pipeline until the time of a run no longer changes, or WARMUP_MOST times."""
    timings, stable = Timings(), False
    while not stable and timings.runs < WARMUP_MOST:
        run_once(pipeline, images[timings.runs % len(images)], timings)
        stable = is_stable(timings.steps[END_TO_END], window=WARMUP_WINDOW, tolerance=WARMUP_TOLERANCE)
    return Warmup(timings.runs, stable)


def time_pipeline(pipeline: Pipeline, decoded: Decoded, *, runs: int) -> tuple[Timings, Warmup]:
    """Warm up, then time `runs` images in each way, in rounds.

    Args:
        pipeline: what is timed.
        decoded: the images, taken in turn; more than there are go round again.
        runs: images to time in each way.
    """
    warmup = warm_up(pipeline, decoded.images)
    timings = Timings()
    began = time.perf_counter()
    for first in range(0, runs, ROUND):
        numbers = [number % len(decoded.images) for number in range(first, min(first + ROUND, runs))]
        for number in numbers:
            run_once(pipeline, decoded.images[number], timings)
        in_memory = (partial(decoded.images.__getitem__, number) for number in numbers)
        timings.lanes["overlapped"] += run_overlapped(pipeline, in_memory)
        in_files = (partial(read_image, decoded.paths[number]) for number in numbers)
        timings.lanes["overlapped_with_decoding"] += run_overlapped(pipeline, in_files)
        if first == 0 and runs > ROUND:
            left = (time.perf_counter() - began) * (runs / ROUND - 1)
            say(f"timing {runs} images one by one and overlapped: about {duration(left)} more")
    return timings, warmup


def run_once(
    pipeline: Pipeline, image: Image, timings: Timings, clock: Callable[[], float] = time.perf_counter
) -> Rows:
    """One image, step after step; the seconds by `clock` are added to `timings`.

    Returns:
        (n, 6): x1, y1, x2, y2 in pixels of `image`, score, class.
    """
    spans: list[tuple[str, float]] = []
    steps = pipeline.steps
    name: str
    begun = previous = clock()
    frame = pipeline.frame(image)
    for name, step in steps:
        step(frame)
        now = clock()
        spans.append((name, now - previous))
        previous = now
    for name, seconds in (*spans, (END_TO_END, previous - begun)):
        timings.steps[name].append(seconds)
    timings.found += len(frame.found)
    found: Rows = frame.found
    return found


def run_overlapped(pipeline: Pipeline, sources: Iterable[Source]) -> list[float]:
    """Seconds from one finished image to the next, the first one's counted from the start: their sum is the wall."""
    started = time.perf_counter()
    done = [started, *(one.at for one in pipeline.stream(sources))]
    return [after - before for before, after in pairwise(done)]


def summary(timings: Timings, decoded: Decoded) -> dict[str, Any]:
    """latency_ms, throughput, fps, fps_interval, decode_ms and detections_per_image of bench.json."""
    ways = {"one_by_one": timings.steps[END_TO_END], **timings.lanes}
    throughput = {
        way: {"fps": len(seconds) / sum(seconds), "interval": list(throughput_interval(seconds))}
        for way, seconds in ways.items()
    }
    return {
        "latency_ms": {step: latency_summary(timings.steps[step]) for step in (*STEPS, END_TO_END)},
        "fps": throughput["overlapped"]["fps"],
        "fps_interval": throughput["overlapped"]["interval"],
        "throughput": throughput,
        "decode_ms": latency_summary(decoded.seconds),
        "detections_per_image": timings.found / timings.runs,
    }
