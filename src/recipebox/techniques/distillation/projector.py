"""From the student's neck channels to a teacher's: trained along, dropped from what ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def neck_channels(model: Any) -> tuple[int, ...]:
    """Channels of the head's inputs, level by level; convolutions with folded batch norm are read as well."""
    return tuple(int(level[0].conv.in_channels) for level in model.model[-1].cv2)


def make_projector(loss: str, student: Sequence[int], teacher: Sequence[int]) -> nn.ModuleList:
    """One module a level.

    A 1x1 convolution where channels differ and nothing where they do not, as CWD, PKD and FitNets have it. `native` has
    Ultralytics' two convolutions with a ReLU in between, whatever the channels.

    Args:
        loss: the loss they serve.
        student: channels a level.
        teacher: channels a level.
    """
    return nn.ModuleList(_level(loss, *pair) for pair in zip(student, teacher, strict=True))


def _level(loss: str, student: int, teacher: int) -> nn.Module:
    if loss == "native":
        return nn.Sequential(nn.Conv2d(student, teacher, 1), nn.ReLU(inplace=True), nn.Conv2d(teacher, teacher, 1))
    return nn.Identity() if student == teacher else nn.Conv2d(student, teacher, 1)
