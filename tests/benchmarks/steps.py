"""What the benchmarks of a training step share: a detector with fresh weights, a batch of noise, and the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402


def detector(name: str, args: Any) -> Any:
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", nc=6, verbose=False)
    model.names = dict(enumerate("abcdef"))
    model.args = args
    return model


def batch(size: int, imgsz: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    boxes = 10
    return {
        "img": torch.rand(size, 3, imgsz, imgsz, generator=generator),
        "batch_idx": torch.arange(size).repeat_interleave(boxes).float(),
        "cls": torch.randint(0, 6, (size * boxes, 1), generator=generator).float(),
        "bboxes": torch.rand(size * boxes, 4, generator=generator) * 0.1 + torch.tensor([0.4, 0.4, 0.05, 0.05]),
    }


def stepping(
    model: Any,
    images: dict[str, torch.Tensor],
    *,
    before: Callable[[], Any] | None = None,
    average: Any = None,
    clip: Callable[[Any], Any] | None = None,
    after: Callable[[], None] | None = None,
) -> Callable[[], None]:
    """One training step as the trainer makes it: forward, loss, backward, clip, optimizer, average.

    Args:
        before, after: what a lever does at the step's two ends.
        average: the EMA; default: Ultralytics' own, of the model or of the student in it.
        clip: takes the model; default: the norm is clipped at 10.
    """
    student = getattr(model, "student_model", model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    average = average or ModelEMA(student)
    model.train()

    def step() -> None:
        if before is not None:
            before()
        loss, _ = model(dict(images))
        loss.sum().backward()
        if clip is None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        else:
            clip(model)
        optimizer.step()
        optimizer.zero_grad()
        average.update(student)
        if after is not None:
            after()

    return step
