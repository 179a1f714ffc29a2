"""Anchors: ours beside YOLOv5's own procedure, written out from its description. Recall, fitness and CPU seconds.

    python tests/benchmarks/anchors.py [--boxes deeppcb ...] [--large 1000000] [--seeds 3]

YOLOv5's `kmean_anchors` (its documentation and release notes): boxes with a side of at least 2 px; k-means of scipy's
kind on sizes divided by their standard deviations (30 runs from observations drawn at random, each until the mean
distance changes by less than 1e-5, the best kept); then 1000 generations of a genetic algorithm in which all anchors
are multiplied by factors drawn as 1 + mask * U(0, 1) * N(0, 1) * 0.1 with a mask of 0.9, clipped to 0.3 ... 3, kept
where the fitness grows. It is written in torch, as YOLOv5's is. Both are judged on all boxes by `data.anchors.judge`,
whose figures `tests/data/test_anchors.py` compares with the definition.

The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recipebox.data.anchors import fit_anchors, judge

Array = NDArray[np.float64]


def k_means(points: Array, count: int, rng: np.random.Generator, runs: int = 30) -> Array:
    """The codebook of least mean distance over `runs` beginnings."""
    best, least = points[:count], np.inf
    for _ in range(runs):
        book = points[rng.choice(len(points), count, replace=False)]
        before = np.inf
        while True:
            apart = np.sqrt(((points**2).sum(1)[:, None] - 2 * points @ book.T + (book**2).sum(1)).clip(0))
            nearest = apart.argmin(1)
            mean = float(apart[np.arange(len(points)), nearest].mean())
            counts = np.bincount(nearest, minlength=count)
            kept = counts > 0
            sums = np.stack([np.bincount(nearest, points[:, side], count) for side in range(2)], 1)
            book = np.where(kept[:, None], sums / np.maximum(counts, 1)[:, None], book)
            if before - mean <= 1e-5:
                break
            before = mean
        if mean < least:
            best, least = book, mean
    return best


def yolov5(pixels: Array, count: int, seed: int, generations: int = 1000, threshold: float = 4.0) -> Array:
    """Its anchors, (count, 2)."""
    rng = np.random.default_rng(seed)
    kept = pixels[(pixels >= 2.0).any(1)]
    deviation = kept.std(0)
    anchors = k_means(kept / deviation, count, rng) * deviation
    sizes = torch.tensor(kept, dtype=torch.float32)

    def fitness(candidates: Array) -> float:
        ratio = sizes[:, None] / torch.tensor(candidates, dtype=torch.float32)[None]
        best = torch.min(ratio, 1 / ratio).min(2)[0].max(1)[0]
        return float((best * (best > 1 / threshold).float()).mean())

    reached = fitness(anchors)
    for _ in range(generations):
        factor = np.ones_like(anchors)
        while (factor == 1).all():
            mask = rng.random(anchors.shape) < 0.9
            factor = (mask * rng.random() * rng.standard_normal(anchors.shape) * 0.1 + 1).clip(0.3, 3.0)
        child = (anchors * factor).clip(min=2.0)
        value = fitness(child)
        if value > reached:
            anchors, reached = child, value
    return anchors


def drawn(kind: str) -> Array:
    """Boxes to fit to, pixels."""
    rng = np.random.default_rng(7)
    if kind == "deeppcb":
        from recipebox.data.box_sizes import box_sizes
        from recipebox.data.datasets import prepare

        return box_sizes(prepare("deeppcb"), 640).pixels
    if kind == "wide":  # seven octaves, of any shape
        return np.asarray(np.exp2(rng.uniform(2, 9, (5000, 1)) + rng.normal(0, 0.8, (5000, 2))).clip(2, 640))
    if kind == "clusters":
        centres = np.array([(8, 8), (12, 40), (60, 20), (64, 64), (200, 90), (300, 400)])
        return np.asarray((centres[rng.integers(0, 6, 5000)] * np.exp2(rng.normal(0, 0.25, (5000, 2)))).clip(2, 640))
    raise ValueError(kind)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """(its result, CPU seconds): the clock on the wall would measure what else the machine does."""
    began = time.process_time()
    return function(), time.process_time() - began


def compared(pixels: Array, seeds: int) -> dict[str, Any]:
    """Both procedures on the same boxes with the same seeds, in turn."""
    rows = []
    for seed in range(seeds):
        fit, ours = timed(lambda seed=seed: fit_anchors(pixels, 9, seed=seed))
        theirs_anchors, theirs = timed(lambda seed=seed: yolov5(pixels, 9, seed))
        their = judge(pixels, theirs_anchors)
        rows.append((fit.judgement.recall, their.recall, fit.judgement.fitness, their.fitness, ours, theirs))
    columns = list(zip(*rows, strict=True))
    names = ("recall", "recall_yolov5", "fitness", "fitness_yolov5", "seconds", "seconds_yolov5")
    shown = {name: [round(value, 5) for value in column] for name, column in zip(names, columns, strict=True)}
    ratios = [theirs / ours for ours, theirs in zip(columns[4], columns[5], strict=True)]
    return {"boxes": len(pixels), **shown, "times_faster": round(statistics.median(ratios), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", nargs="*", default=["deeppcb", "wide", "clusters"])
    parser.add_argument("--large", type=int, default=1_000_000, help="boxes of the large set; ours alone")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    document: dict[str, Any] = {kind: compared(drawn(kind), arguments.seeds) for kind in arguments.boxes}
    if arguments.large:
        sizes = np.exp(np.random.default_rng(0).normal(3.5, 0.8, (arguments.large, 2))).clip(1, 1280)
        fit, seconds = timed(lambda: fit_anchors(sizes, 9))
        document["large"] = {
            "boxes": arguments.large,
            "recall": round(fit.judgement.recall, 5),
            "fitness": round(fit.judgement.fitness, 5),
            "seconds": round(seconds, 2),
        }
    for name, row in document.items():
        print(name, row)
    print(json.dumps(document))


if __name__ == "__main__":
    main()
