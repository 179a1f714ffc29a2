"""What the levers on pixels add to a training step: a batch of views and a vanilla step, against stock views.

    python tests/benchmarks/pixel_levers.py [--rounds 8] [--imgsz 320] [--batch 8] [--mosaic 1] [--small 224]
        [--cpu-time]

YOLOv8n from scratch on boards of 640 x 640; each arm draws a batch in its own process-wide data set (workers 0, images
decoded once and then kept, which flatters nobody: decoding is the same in all arms) and makes one step. `staged` is the
same at --small px, for what a stage of that size saves; views_ms are the views alone.
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from paired import finish, ratio, rounds
from train_overhead import draw

from recipebox.data.border import BORDERS
from recipebox.data.detection_set import Split
from recipebox.data.views import TrainingViews, ViewLoader
from recipebox.recipe.pixel_sections import Late

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which silences it
from ultralytics.nn.tasks import DetectionModel  # isort: skip


def views(split: Split, arguments: Any, border: str | None = None, late: dict[str, Any] | None = None) -> TrainingViews:
    found = TrainingViews(split, tuple("abcdef"), arguments, seed=0, epochs=10**6)
    found.border = BORDERS[border]() if border else None
    if late is not None:
        found.stages = replace(found.stages, late=Late.model_validate(late))
    return found


def batches(dataset: TrainingViews, batch: int) -> Callable[[], dict[str, Any]]:
    loader = ViewLoader(dataset, batch=batch, workers=0, seed=0, pin_memory=False)
    epoch = -1

    def draw_one() -> dict[str, Any]:
        nonlocal epoch
        epoch += 1
        loader.set_epoch(epoch)
        found: dict[str, Any] = next(iter(loader))
        return found

    return draw_one


def stepping(model: Any, draw_one: Callable[[], dict[str, Any]]) -> Callable[[], None]:
    student = deepcopy(model).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        batch = draw_one()
        loss, _ = student({**batch, "img": batch["img"].float() / 255})
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--mosaic", type=float, default=1.0)
    parser.add_argument("--small", type=int, default=224)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use")
    options = parser.parse_args()
    args, small = (
        get_cfg(overrides={"imgsz": side, "batch": options.batch, "mosaic": options.mosaic, "close_mosaic": 0})
        for side in (options.imgsz, options.small)
    )
    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=6, verbose=False)
    model.args = args
    with tempfile.TemporaryDirectory() as folder:
        split = draw(Path(folder), "train", 32, 1)
        sources = {
            "stock": views(split, args),
            "reflect": views(split, args, "reflect"),
            "random": views(split, args, "random"),
            "late": views(split, args, late={"mixup": {"from_epoch": 2}}),
            "staged": views(split, small),
        }
        drawing = {name: batches(source, options.batch) for name, source in sources.items()}
        arms = {name: stepping(model, draw_one) for name, draw_one in drawing.items()}
        for arm in arms.values():
            arm()
        clock = time.process_time if options.cpu_time else time.perf_counter
        seconds = rounds(arms, options.rounds, clock)
        drawn = {name: lambda one=one: one() and None for name, one in drawing.items()}
        alone = rounds(drawn, 3 * options.rounds, clock)
    middle = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    finish(
        benchmark="pixel_levers",
        **vars(options),
        step_ms={name: round(1000 * value, 1) for name, value in middle.items()},
        views_ms={name: round(1000 * sorted(values)[len(values) // 2], 1) for name, values in alone.items()},
        against_stock={name: ratio(seconds[name], seconds["stock"]) for name in arms if name != "stock"},
    )


if __name__ == "__main__":
    main()
