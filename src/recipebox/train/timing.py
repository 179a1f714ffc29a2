"""How long training would take here: a few timed steps instead of figures from another machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from recipebox.errors import PlanConflict
from recipebox.progress import track
from recipebox.recipe.estimate import VALIDATION_SHARE, images_forward, pixel_share
from recipebox.recipe.head_sections import AnchorHead
from recipebox.recipe.plan import Plan
from recipebox.recipe.schema import Settings
from recipebox.train.network import network_description, network_file

_BOXES_AN_IMAGE = 7
_CLASSES = 6
_SMALLEST, _SPREAD = 0.05, 0.4
"""Sides of the random batch's boxes as shares of the image: from the one to the sum of both."""


def timed(plan: Plan, *, steps: int = 3) -> Plan:
    """The plan, and its teachers' plans, with `estimate.seconds` from steps timed on the plan's device.

    Forward, loss, backward and optimizer step on a random batch, the teachers' passes included; one step to warm up,
    the median of `steps` more. Reading and augmenting images is not in it.

    Raises:
        PlanConflict: the architecture is only known to the weights file, or memory ran out.
    """
    import torch

    teachers = tuple(each if each.run is not None else timed(each, steps=steps) for each in plan.teachers)
    try:
        step = _step(plan)
        seconds = _median_seconds(plan.name, step, steps, plan.device)
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise PlanConflict(
            f"{plan.name}: out of memory with batch {plan.settings.train.batch} at {plan.settings.train.imgsz} px. "
            "Set a smaller train.batch."
        ) from error
    estimate = plan.estimate
    total = None
    if estimate.steps_per_epoch is not None and estimate.train_images is not None:
        forward = images_forward(plan.settings, estimate.train_images, estimate.val_images or 0)
        validated = forward * VALIDATION_SHARE / estimate.train_images
        seen = pixel_share(plan.settings) + validated
        total = seconds * estimate.steps_per_epoch * seen * plan.settings.train.epochs
    return replace(plan, teachers=teachers, estimate=replace(estimate, seconds=total, step_seconds=seconds))


def _step(plan: Plan) -> Callable[[], None]:
    """One training step of the plan on a random batch."""
    import torch

    settings, device = plan.settings, torch.device(plan.device)
    student, batch = _detector(settings, device).train(), _batch(settings, device)
    criterion = student.init_criterion()
    ask: Callable[[Any], None] | None = None
    if settings.techniques.distillation is not None and plan.teachers:
        from recipebox.techniques.distillation.technique import DistillationTechnique

        loads = [partial(_teacher, teacher.settings) for teacher in plan.teachers]
        technique = DistillationTechnique(settings.techniques.distillation, loads)
        technique.on_model(student)
        student.to(device)
        names = tuple(student.names.values())
        context = SimpleNamespace(model=student, device=device, names=names, step=1, total_steps=1)
        technique.on_setup(context)
        criterion, ask = technique.wrap_criterion(criterion), technique.on_batch
    student.criterion = criterion
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-6, momentum=0.9)
    mixed = settings.train.amp and device.type == "cuda"

    def step() -> None:
        with torch.autocast(device.type, enabled=mixed):
            if ask is not None:
                ask(batch)
            loss, _ = student(batch)
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _teacher(settings: Settings, device: Any) -> Any:
    from recipebox.techniques.distillation.teacher import Teacher

    return Teacher(_detector(settings, device), device)


def _detector(settings: Settings, device: Any) -> Any:
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    architecture = settings.model.architecture
    if architecture is None:
        raise PlanConflict(
            f"`model.weights: {settings.model.weights}` does not say which network it holds, so there is nothing to "
            "time. Add `model.arch`, or ask without --time."
        )
    network = network_description(network_file(architecture, p2=settings.techniques.p2))
    model = DetectionModel(network, nc=_CLASSES, verbose=False)
    if settings.techniques.anchor_head is not None:
        _give_anchors(model, settings.techniques.anchor_head, settings.train.imgsz)
    model.names = dict(enumerate("abcdef"))
    model.args = get_cfg(overrides={"epochs": settings.train.epochs})
    return model.to(device)


def _give_anchors(model: Any, settings: AnchorHead, imgsz: int) -> None:
    """The head with anchors; `auto` is fitted to boxes like those of the random batch, for no data is looked at."""
    import numpy as np

    from recipebox.data.anchors import fit_anchors
    from recipebox.techniques.anchor_head.head import with_anchors
    from recipebox.techniques.anchor_head.technique import loss_settings

    anchors = settings.sizes()
    if anchors is None:
        sides = imgsz * (_SMALLEST + _SPREAD * np.random.default_rng(0).random((1000, 2)))
        count = settings.count * len(model.model[-1].stride)
        anchors = tuple(fit_anchors(sides, count, threshold=settings.threshold).levels(settings.count))
    with_anchors(model, anchors, loss_settings(settings))


def _batch(settings: Settings, device: Any) -> dict[str, Any]:
    import torch

    size, imgsz = settings.train.batch, settings.train.imgsz
    source = torch.Generator().manual_seed(0)
    count = size * _BOXES_AN_IMAGE
    return {
        "img": torch.rand(size, 3, imgsz, imgsz, generator=source).to(device),
        "batch_idx": torch.arange(size).repeat_interleave(_BOXES_AN_IMAGE).float().to(device),
        "cls": torch.randint(0, _CLASSES, (count, 1), generator=source).float().to(device),
        "bboxes": (_SMALLEST + _SPREAD * torch.rand(count, 4, generator=source)).to(device),
    }


def _median_seconds(name: str, step: Callable[[], None], steps: int, device: str) -> float:
    import torch

    taken = []
    for _ in track(range(steps + 1), f"timing {name}"):
        began = time.perf_counter()
        step()
        if device != "cpu":
            torch.cuda.synchronize(torch.device(device))
        taken.append(time.perf_counter() - began)
    return sorted(taken[1:])[steps // 2]
