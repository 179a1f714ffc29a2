"""A training step with each lever on the class loss against a vanilla step.

    python tests/benchmarks/class_levers_step.py [--rounds 12] [--imgsz 320] [--batch 16]

YOLOv8n, fresh weights: the time does not depend on them. All arms run in one process, each with its own copy.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from distillation_step import batch, detector, stepping
from paired import finish, ratio, rounds

from recipebox.data.detection_set import Split
from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing
from recipebox.techniques.base import Technique
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which silences it


def with_lever(model: Any, technique: Technique, images: dict[str, torch.Tensor]) -> Any:
    """A step of a copy of the model that has the lever, its telemetry included."""
    ours = deepcopy(model)
    boxes = np.hstack([images["cls"].numpy(), images["bboxes"].numpy()])
    context: Any = SimpleNamespace(
        model=ours,
        ema=SimpleNamespace(ema=deepcopy(model)),
        detection_set=SimpleNamespace(train=Split((Path("all"),), (boxes,))),
        device=torch.device("cpu"),
        names=tuple("abcdef"),
        step=1,
        total_steps=100,
        record=lambda *_: None,
    )
    technique.on_setup(context)
    ours.criterion = technique.wrap_criterion(ours.init_criterion())
    step = stepping(ours, images)

    def whole() -> None:
        step()
        technique.on_step(context)

    return whole


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    model = detector("yolov8n", get_cfg(overrides={"imgsz": options.imgsz, "batch": options.batch}))
    images = batch(options.batch, options.imgsz)
    levers: dict[str, Technique] = {
        "label_smoothing": LabelSmoothingTechnique(LabelSmoothing(epsilon=0.1), epochs=1),
        "effective_number": ClassWeightsTechnique(ClassWeights(by="effective_number", beta=0.999)),
        "pos_weight": ClassWeightsTechnique(ClassWeights.model_validate({"pos_weight": 2.0})),
    }
    arms = {name: with_lever(model, lever, images) for name, lever in levers.items()}
    arms["vanilla"] = stepping(deepcopy(model), images)
    for step in arms.values():
        step()
    seconds = rounds(arms, options.rounds)
    finish(
        benchmark="class_levers_step",
        **vars(options),
        step_ms={name: round(1000 * sorted(values)[len(values) // 2], 1) for name, values in seconds.items()},
        against_vanilla={name: ratio(seconds[name], seconds["vanilla"]) for name in levers},
    )


if __name__ == "__main__":
    main()
