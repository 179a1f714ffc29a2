"""A training step with the levers on averages and on the step's stability, against a vanilla step.

    python tests/benchmarks/averaging_step.py [--rounds 12] [--imgsz 320] [--batch 16] [--cpu-time]

Each arm has its own copy of YOLOv8n, and runs what the trainer runs of a step: forward, loss, backward, clipping,
optimizer, average, `on_step`. All arms run in one process. What SWA does at an epoch's end is timed by itself.
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from paired import finish, ratio, rounds
from steps import batch, detector, stepping

from recipebox.recipe.technique_sections import Clipping, Ema, Swa
from recipebox.techniques.base import Technique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.swa import SwaTechnique

from ultralytics.cfg import get_cfg  # isort: skip - after steps, which silences it
from ultralytics.utils.torch_utils import ModelEMA  # isort: skip


class Context:
    """What these techniques see of a training in its last epoch."""

    def __init__(self, model: Any, images: dict[str, torch.Tensor]) -> None:
        self.model, self.images, self.ema = model, images, ModelEMA(model)
        self.clip_norm: float | None = 10.0
        self.gradient_norm: float | None = None
        self.evaluate_live, self.epoch = False, 9
        self.numbers: dict[str, float] = {}

    def record(self, key: str, value: float) -> None:
        self.numbers[key] = value

    def training_images(self, count: int) -> Iterator[torch.Tensor]:
        for _ in range(math.ceil(count / len(self.images["img"]))):
            yield self.images["img"]


def with_levers(context: Context, techniques: list[Technique]) -> Callable[[], None]:
    for technique in techniques:
        technique.on_setup(context)  # type: ignore[arg-type]

    def clip(model: Any) -> None:
        largest = math.inf if context.clip_norm is None else context.clip_norm
        context.gradient_norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=largest))

    def after() -> None:
        for technique in techniques:
            technique.on_step(context)  # type: ignore[arg-type]

    return stepping(context.model, context.images, average=context.ema, clip=clip, after=after)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use")
    options = parser.parse_args()
    images = batch(options.batch, options.imgsz)
    student = detector("yolov8n", get_cfg(overrides={"imgsz": options.imgsz, "batch": options.batch}))
    swa = SwaTechnique(Swa(last=3, bn_images=options.batch), epochs=10, lr0=None)
    levers: dict[str, list[Technique]] = {
        "vanilla": [],
        "ema": [EmaTechnique(Ema(tau=100))],
        "ema_every_10": [EmaTechnique(Ema(tau=100, every=10))],
        "swa": [EmaTechnique(Ema(tau=100)), swa],
        "clipping": [ClippingTechnique(Clipping(max_norm=1.0))],
    }
    contexts = {name: Context(deepcopy(student), images) for name in levers}
    arms = {name: with_levers(contexts[name], techniques) for name, techniques in levers.items()}
    for step in arms.values():
        step()
    seconds = rounds(arms, options.rounds, time.process_time if options.cpu_time else time.perf_counter)
    ends = []
    for _ in range(3):
        began = time.perf_counter()
        swa.on_epoch_end(contexts["swa"])  # type: ignore[arg-type]
        ends.append(time.perf_counter() - began)
    finish(
        benchmark="averaging_step",
        **vars(options),
        step_ms={name: round(1000 * sorted(values)[len(values) // 2], 1) for name, values in seconds.items()},
        against_vanilla={name: ratio(seconds[name], seconds["vanilla"]) for name in arms if name != "vanilla"},
        swa_end_of_epoch_ms_per_image=round(1000 * sorted(ends)[1] / options.batch, 1),
    )


if __name__ == "__main__":
    main()
