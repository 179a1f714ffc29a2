"""Timing of the whole pipeline on this machine's CPU, over real images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.bench.statistics import is_stable, latency_summary, throughput_interval
from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import DataError
from recipebox.evaluate.detector import Detector
from recipebox.evaluate.postprocess import detections
from recipebox.progress import Progress, track

STAGES = ("preprocess", "inference", "postprocess", "end_to_end")
DECODED_BYTES = 2**30
"""Images are decoded beforehand; beyond this much memory fewer different ones are used."""
WARMUP_WINDOW, WARMUP_TOLERANCE, WARMUP_MOST = 5, 0.05, 60


@dataclass
class Timings:
    """Seconds of every run, by stage, in the order measured; `wall` is the whole pass by one clock."""

    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    wall: float = 0.0
    found: int = 0

    @property
    def runs(self) -> int:
        return len(self.stages["end_to_end"])


def decode(paths: Sequence[Path], limit: int) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """Decode up to `limit` images, spread evenly over `paths`.

    Returns:
        The images (height, width, 3), BGR, and the seconds each one took, reading the file included.

    Raises:
        DataError: there is no image, or one cannot be decoded.
    """
    if not paths:
        raise DataError("There is no image to time: the test split is empty. Give the data set test images.")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(limit, len(paths))).round().astype(int))
    images: list[NDArray[np.uint8]] = []
    seconds: list[float] = []
    for index in track(chosen.tolist(), "decoding test images"):
        started = time.perf_counter()
        image = read_image(paths[index])
        seconds.append(time.perf_counter() - started)
        images.append(image)
        if sum(image.nbytes for image in images) > DECODED_BYTES:
            break
    return images, seconds


def time_pipeline(
    detector: Detector, images: Sequence[NDArray[np.uint8]], *, conf: float, runs: int
) -> tuple[Timings, int, bool]:
    """Warm up until the time of a run no longer changes, then time `runs` images, one after the other.

    Args:
        detector: what is timed.
        images: decoded images, taken in turn.
        conf: score threshold of the detections, the one the run would ship with.
        runs: images to time; more than there are go round again.

    Returns:
        The timings, the number of warm-up runs, and whether they had become stable.
    """
    warmup = Timings()
    stable = False
    while not stable and warmup.runs < WARMUP_MOST:
        run_once(detector, images[warmup.runs % len(images)], conf, warmup)
        stable = is_stable(warmup.stages["end_to_end"], window=WARMUP_WINDOW, tolerance=WARMUP_TOLERANCE)
    timings = Timings()
    with Progress("timing the pipeline", runs) as bar:
        for number in range(runs):
            started = time.perf_counter()
            run_once(detector, images[number % len(images)], conf, timings)
            # The bar is drawn between two runs and is no part of the pipeline.
            timings.wall += time.perf_counter() - started
            bar.update()
    return timings, warmup.runs, stable


def run_once(detector: Detector, image: NDArray[np.uint8], conf: float, timings: Timings) -> NDArray[np.floating]:
    """One image through the pipeline that ships: letterbox and input, network, detections on the original image.

    Returns:
        (n, 6): x1, y1, x2, y2 in pixels of `image`, score, class. The seconds are added to `timings`.
    """
    clock = time.perf_counter
    begun = clock()
    start = clock()
    canvas, place = letterbox(image, detector.imgsz)
    inputs = to_input(canvas)[None]
    prepared = clock()
    raw = detector(inputs)
    inferred = clock()
    found = place.to_image(detections(raw, conf=conf)[0], (image.shape[0], image.shape[1]))
    finished = clock()
    ended = clock()
    for stage, seconds in zip(
        STAGES, (prepared - start, inferred - prepared, finished - inferred, ended - begun), strict=True
    ):
        timings.stages[stage].append(seconds)
    timings.found += len(found)
    return found


def summary(timings: Timings, decode_seconds: Sequence[float]) -> dict[str, Any]:
    """latency_ms, fps, fps_interval, decode_ms and detections_per_image of bench.json."""
    return {
        "latency_ms": {stage: latency_summary(timings.stages[stage]) for stage in STAGES},
        "fps": timings.runs / timings.wall,
        "fps_interval": list(throughput_interval(timings.stages["end_to_end"])),
        "decode_ms": latency_summary(decode_seconds),
        "detections_per_image": timings.found / timings.runs,
    }
