"""Averages of the weights that cannot be made, or do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.estimate import Estimate
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Ema


def idle_averages(settings: Settings, estimate: Estimate) -> Iterator[str]:
    """What is legal here and does nothing, or not what it seems to."""
    ema, steps = settings.techniques.ema, estimate.optimizer_steps
    if ema is False or steps is None or estimate.ema_decay_end is None:
        return
    stock = "" if isinstance(ema, Ema) else " (Ultralytics' own, since the recipe says nothing)"
    ema = ema if isinstance(ema, Ema) else Ema()
    updates = steps // ema.every
    if ema.tau > updates:
        made = f"{steps} optimizer steps" + (f", {updates} updates" if ema.every > 1 else "")
        yield (
            f"the EMA's ramp is longer than the run: tau {ema.tau:g}{stock}, {made}, "
            f"decay {estimate.ema_decay_end:.3f} at the end. A shorter run wants a smaller `techniques.ema.tau`."
        )
    if ema.every * settings.train.epochs > steps:
        yield (
            f"`ema.every: {ema.every}` leaves epochs without an update of the average: there are about "
            f"{steps / settings.train.epochs:.0f} optimizer steps an epoch, and two epochs would validate the same."
        )
