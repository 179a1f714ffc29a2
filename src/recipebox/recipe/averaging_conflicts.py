"""Averages of the weights that cannot be made, or do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.estimate import Estimate, optimizer_steps, steps_averaged, steps_per_epoch
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Ema
from recipebox.recipe.yaml_nodes import Document


def average_conflicts(settings: Settings, document: Document, train_images: int | None) -> Iterator[str]:
    """Why the weights cannot be averaged as asked."""
    train, swa = settings.train, settings.techniques.swa
    if train_images is not None and (swa is None or swa.last <= train.epochs):
        yield from _never_averaged(settings, document, steps_per_epoch(train_images, train.batch))
    if swa is None:
        return
    where = document.origin(("techniques", "swa", "last"))
    if swa.last > train.epochs:
        yield f"{where}: `swa.last: {swa.last}`, and the run has {train.epochs} epochs. Take less."
    elif train.epochs - swa.last < min(train.warmup_epochs, train.epochs - 1):
        yield (
            f"{where}: `swa.last: {swa.last}` of {train.epochs} epochs begins within the warm-up of "
            f"{train.warmup_epochs:g}: rates that climb would be averaged as if they were constant. Take a smaller "
            "`swa.last`, or a shorter `train.warmup_epochs`."
        )
    if swa.lr is not None and train.optimizer == "auto":
        yield (
            f"{document.origin(('techniques', 'swa', 'lr'))}: `swa.lr` with `optimizer: auto`: Ultralytics chooses the "
            "rates itself. Name an optimizer (SGD, AdamW), or take `swa.lr` out: the rate is then held where it stands."
        )


def _never_averaged(settings: Settings, document: Document, batches: int) -> Iterator[str]:
    """An average that is not updated once is the initial weights, and those would be validated and shipped."""
    train, ema, swa = settings.train, settings.techniques.ema, settings.techniques.swa
    if not isinstance(ema, Ema):
        return
    steps = optimizer_steps(batches, train.epochs, train.batch, train.nbs, train.warmup_epochs)
    followed = steps_averaged(settings, batches, steps)
    if 0 < followed < ema.every:
        yield (
            f"{document.origin(('techniques', 'ema', 'every'))}: `ema.every: {ema.every}`, and there are {followed} "
            f"optimizer steps{' before SWA begins' if swa is not None else ''}: the average would never be updated, "
            "and best.pt would hold the initial weights. Take less."
        )


def idle_averages(settings: Settings, estimate: Estimate) -> Iterator[str]:
    """What is legal here and does nothing, or not what it seems to."""
    yield from _idle_ema(settings, estimate)
    train, swa = settings.train, settings.techniques.swa
    if swa is None:
        return
    first = train.epochs - swa.last + 1
    if swa.last == 1:
        yield "`swa.last: 1` averages one epoch: the last epoch's weights alone, with new batch norm statistics."
    if train.patience:
        yield f"`patience: {train.patience}` may end the run before or within the epochs that SWA averages."
    progressive = settings.techniques.progressive
    if progressive is not None and progressive.imgsz_of(first, train.imgsz) != train.imgsz:
        yield (
            f"SWA begins in epoch {first}, where views are {progressive.imgsz_of(first, train.imgsz)} px and not yet "
            f"{train.imgsz}: its first averages have batch norm statistics of another size."
        )


def _idle_ema(settings: Settings, estimate: Estimate) -> Iterator[str]:
    ema, swa, batches, steps = (
        settings.techniques.ema,
        settings.techniques.swa,
        estimate.steps_per_epoch,
        estimate.optimizer_steps,
    )
    if ema is False or steps is None or batches is None or estimate.ema_decay_end is None:
        return
    stock = "" if isinstance(ema, Ema) else " (Ultralytics' own, since the recipe says nothing)"
    ema = ema if isinstance(ema, Ema) else Ema()
    if ema.decay == 0:
        yield "`ema.decay: 0` keeps no average: `ema: off` says so."
        return
    followed = steps_averaged(settings, batches, steps)
    if not followed:
        if ema != Ema(evaluate_both=ema.evaluate_both):
            yield "`ema` has no epoch of its own: `swa` averages all of them."
        return
    updates = followed // ema.every
    if ema.tau > updates:
        length = "the epochs before SWA" if swa is not None else "the run"
        made = f"{followed} optimizer steps" + (f", {updates} updates" if ema.every > 1 else "")
        yield (
            f"the EMA's ramp is longer than {length}: tau {ema.tau:g}{stock}, {made}, "
            f"decay {estimate.ema_decay_end:.3f} at the end. A shorter run wants a smaller `techniques.ema.tau`."
        )
    if ema.every > 1 and ema.every * settings.train.epochs > steps:
        yield (
            f"`ema.every: {ema.every}` leaves epochs without an update of the average: there are about "
            f"{steps / settings.train.epochs:.0f} optimizer steps an epoch, and two epochs would validate the same."
        )
