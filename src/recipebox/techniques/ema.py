"""Exponential moving average of the weights. Card: docs/techniques/ema.md."""

from __future__ import annotations

import math
from typing import Any

from recipebox.recipe.technique_sections import Ema
from recipebox.techniques.base import Technique, TrainingContext


def ema_decay(updates: int, decay: float, tau: float) -> float:
    """The decay in force at optimizer step `updates` (from 1): decay * (1 - exp(-updates / tau)).

    The ramp is Ultralytics' own (ModelEMA): early averages forget the initial weights quickly.
    """
    return decay * (1.0 - math.exp(-updates / tau))


class EmaTechnique(Technique):
    """Sets the decay of Ultralytics' average; `settings` None switches averaging off.

    Off is a decay of 0: the average then is the live weights after every step. Ultralytics' own switch
    (`ema.enabled = False`) would leave the initial weights in every checkpoint.
    """

    name = "ema"

    def __init__(self, settings: Ema | None) -> None:
        self.settings = settings

    def decay(self, updates: int) -> float:
        if self.settings is None:
            return 0.0
        return ema_decay(updates, self.settings.decay, self.settings.tau)

    def on_setup(self, context: TrainingContext) -> None:
        ema: Any = context.ema
        ema.decay = self.decay

    def on_step(self, context: TrainingContext) -> None:
        context.record("ema/decay", self.decay(context.ema.updates))
