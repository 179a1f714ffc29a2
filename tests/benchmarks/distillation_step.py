"""A distillation step (logits + box, or neck features too) against Ultralytics' own distillation and the floor.

    python tests/benchmarks/distillation_step.py [--rounds 12] [--imgsz 320] [--batch 16]
        [--features cwd] [--only-features] [--cpu-time]

The floor is a vanilla step plus the teacher's forward pass. Student YOLOv8n, teacher YOLOv8s, fresh weights: the time
does not depend on them. All arms run in one process, each with its own copy of the student.
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import time
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from paired import finish, ratio, rounds
from steps import batch, detector, stepping

from recipebox.recipe.technique_sections import Distillation
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationTechnique

from ultralytics.cfg import get_cfg  # isort: skip - after steps, which silences it
from ultralytics.nn.distill_model import DistillationModel  # isort: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--features", choices=["cwd", "pkd", "mse", "native"], help="a term of neck features too")
    parser.add_argument("--only-features", action="store_true", help="that term alone, without logits and box")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use")
    options = parser.parse_args()
    args = get_cfg(overrides={"imgsz": options.imgsz, "batch": options.batch})
    images = batch(options.batch, options.imgsz)
    student, teacher = detector("yolov8n", args), detector("yolov8s", args)

    ours = deepcopy(student)
    terms: dict[str, Any] = {} if options.only_features else {"logits": {}, "box": {}}
    if options.features:
        terms["features"] = {"loss": options.features}
    settings = Distillation.model_validate({"teachers": [{"recipe": "t"}], **terms})
    technique = DistillationTechnique(settings, [lambda device: Teacher(deepcopy(teacher), device)])
    technique.on_model(ours)
    context = SimpleNamespace(
        model=ours, device=torch.device("cpu"), names=tuple("abcdef"), step=1, total_steps=100, record=print
    )
    technique.on_setup(context)  # type: ignore[arg-type]
    ours.criterion = technique.wrap_criterion(ours.init_criterion())

    frozen = deepcopy(teacher).eval().requires_grad_(False)
    folded = Teacher(deepcopy(teacher), torch.device("cpu"))

    def stock_teacher() -> None:
        with torch.no_grad():
            frozen(images["img"])

    native = DistillationModel(teacher_model=deepcopy(teacher), student_model=deepcopy(student))
    arms = {
        "recipebox": stepping(ours, images, before=lambda: technique.on_batch(images)),
        "ultralytics": stepping(native, images),
        "floor": stepping(deepcopy(student), images, before=stock_teacher),
        "floor_folded": stepping(deepcopy(student), images, before=lambda: folded(images["img"])),
        "vanilla": stepping(deepcopy(student), images),
    }
    for step in arms.values():
        step()
    seconds = rounds(arms, options.rounds, time.process_time if options.cpu_time else time.perf_counter)
    ours_s = seconds["recipebox"]
    finish(
        benchmark="distillation_step",
        imgsz=options.imgsz,
        batch=options.batch,
        terms=[f"{name} {term.loss}" for name, term in settings.terms.items()],
        rounds=options.rounds,
        step_ms={name: round(1000 * sorted(values)[len(values) // 2], 1) for name, values in seconds.items()},
        against_ultralytics=ratio(ours_s, seconds["ultralytics"]),
        against_vanilla_plus_teacher=ratio(ours_s, seconds["floor"]),
        against_vanilla_plus_folded_teacher=ratio(ours_s, seconds["floor_folded"]),
        against_vanilla=ratio(ours_s, seconds["vanilla"]),
    )


if __name__ == "__main__":
    main()
