"""Exponential moving average of the weights. Card: docs/techniques/ema.md."""

from __future__ import annotations

from typing import Any

from recipebox.recipe.estimate import ema_decay, ema_decay_reached
from recipebox.recipe.technique_sections import Ema
from recipebox.techniques.base import Technique, TrainingContext

HELD = 1.0
"""A decay that leaves the average as it is."""


class EmaTechnique(Technique):
    """Sets the decay of Ultralytics' average; `settings` None switches averaging off.

    Off is a decay of 0: the average then is the live weights after every step. Ultralytics' own switch
    (`ema.enabled = False`) would leave the initial weights in every checkpoint. Steps that `every` leaves out have a
    decay of 1. Either way Ultralytics' one average does the work.
    """

    name = "ema"

    def __init__(self, settings: Ema | None) -> None:
        self.settings = settings

    def decay(self, steps: int) -> float:
        """The decay at optimizer step `steps` (from 1)."""
        return ema_decay(self.settings or False, steps)

    def on_setup(self, context: TrainingContext) -> None:
        ema: Any = context.ema
        ema.decay = self.decay
        if self.settings is not None:
            context.evaluate_live = self.settings.evaluate_both

    def on_step(self, context: TrainingContext) -> None:
        """The decay of the latest update; before the first one the average is the initial weights."""
        every = 1 if self.settings is None else self.settings.every
        steps = context.ema.updates
        context.record("ema/decay", ema_decay_reached(self.settings or False, steps) if steps >= every else HELD)

    def on_epoch_end(self, context: TrainingContext) -> None:
        """Off is off with batches that wait for their step, too: batch norm's statistics have moved on with them."""
        if self.settings is None and not context.ema.decay(context.ema.updates):  # SWA holds its mean with a 1
            context.ema.ema.load_state_dict(context.model.state_dict())
