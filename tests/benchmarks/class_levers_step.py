"""A training step with each lever on the class loss, and with weighted sampling, against a vanilla step.

    python tests/benchmarks/class_levers_step.py [--rounds 12] [--imgsz 320] [--batch 16] [--cpu-time]

YOLOv8n, fresh weights: the time does not depend on them. All arms run in one process, each with its own copy.
Sampling is compared with a step that draws its batch too: images are decoded once, so augmentation is what is timed.
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from paired import finish, ratio, rounds
from steps import batch, detector, stepping

from recipebox.data.detection_set import Split
from recipebox.data.views import TrainingViews, ViewLoader
from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing, Sampling
from recipebox.techniques.base import Technique
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.techniques.sampling import SamplingTechnique

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which silences it


def with_lever(model: Any, technique: Technique, images: dict[str, torch.Tensor]) -> Any:
    """A step of a copy of the model that has the lever, its telemetry included."""
    ours = deepcopy(model)
    boxes = np.hstack([images["cls"].numpy(), images["bboxes"].numpy()])
    names = tuple("abcdef")
    context: Any = SimpleNamespace(
        model=ours,
        ema=SimpleNamespace(ema=deepcopy(model)),
        detection_set=SimpleNamespace(names=names, train=Split((Path("all"),), (boxes,))),
        device=torch.device("cpu"),
        names=names,
        step=1,
        total_steps=100,
        record=lambda *_: None,
    )
    technique.on_setup(context)
    ours.criterion = technique.wrap_criterion(ours.init_criterion())
    return stepping(ours, images, after=lambda: technique.on_step(context))


def drawing(model: Any, split: Split, args: Any, technique: SamplingTechnique | None) -> Any:
    """A step on batches that are drawn and augmented for it; with the lever, its counting included."""
    ours = deepcopy(model)
    ours.criterion = ours.init_criterion()
    views = TrainingViews(split, tuple("abcdef"), args, seed=0, epochs=10**6)
    if technique is not None:
        technique.on_views(views)
    loader = ViewLoader(views, batch=args.batch, workers=0, seed=0, pin_memory=False)
    current: dict[str, torch.Tensor] = {}

    def batches() -> Iterator[dict[str, Any]]:
        for epoch in itertools.count():
            loader.set_epoch(epoch)
            yield from loader

    source = batches()

    def draw() -> None:
        drawn = next(source)
        current.update({key: drawn[key] for key in ("batch_idx", "cls", "bboxes")}, img=drawn["img"].float() / 255)
        if technique is not None:
            technique.on_batch(drawn)

    return stepping(ours, current, before=draw)


def draw_images(folder: Path, count: int, imgsz: int) -> Split:
    """Noise with five boxes an image, one class far more frequent than the others."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(count):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (imgsz, imgsz, 3), dtype=np.uint8))
        labels = np.minimum(rng.geometric(0.6, (5, 1)) - 1, 5)
        images.append(path)
        boxes.append(np.hstack([labels, rng.uniform(0.3, 0.7, (5, 2)), np.full((5, 2), 0.1)]).astype(np.float32))
    return Split(tuple(images), tuple(boxes))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use")
    options = parser.parse_args()
    model = detector("yolov8n", get_cfg(overrides={"imgsz": options.imgsz, "batch": options.batch, "close_mosaic": 0}))
    images = batch(options.batch, options.imgsz)
    levers: dict[str, Technique] = {
        "label_smoothing": LabelSmoothingTechnique(LabelSmoothing(epsilon=0.1), epochs=1),
        "effective_number": ClassWeightsTechnique(ClassWeights(by="effective_number", beta=0.999)),
        "pos_weight": ClassWeightsTechnique(ClassWeights.model_validate({"pos_weight": 2.0})),
    }
    arms = {name: with_lever(model, lever, images) for name, lever in levers.items()}
    arms["vanilla"] = stepping(deepcopy(model), images)
    with tempfile.TemporaryDirectory() as folder:
        split = draw_images(Path(folder), 8 * options.batch, options.imgsz)
        arms["sampling"] = drawing(model, split, model.args, SamplingTechnique(Sampling(by="inverse")))
        arms["vanilla_drawing"] = drawing(model, split, model.args, None)
        for step in arms.values():
            step()
        seconds = rounds(arms, options.rounds, time.process_time if options.cpu_time else time.perf_counter)
    finish(
        benchmark="class_levers_step",
        **vars(options),
        step_ms={name: round(1000 * sorted(values)[len(values) // 2], 1) for name, values in seconds.items()},
        against_vanilla={name: ratio(seconds[name], seconds["vanilla"]) for name in levers}
        | {"sampling": ratio(seconds["sampling"], seconds["vanilla_drawing"])},
    )


if __name__ == "__main__":
    main()
