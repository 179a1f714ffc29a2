"""A plan in plain text, for people: printed by `recipebox plan` and before training."""

from __future__ import annotations

import json
import math
from typing import Any

from recipebox.recipe.describe_techniques import describe_techniques
from recipebox.recipe.estimate import Estimate, accumulated_batches
from recipebox.recipe.plan_record import Plan


def describe_plan(plan: Plan) -> str:
    """What will run, what changed it, what is missing, what looks wrong, and what it will cost."""
    first = list(plan.forerunners())
    lines = [*_fallbacks(plan, first), *_body(plan, None)]
    for teacher in first:
        lines += ["", f"Runs first, unless a finished run with the same lock is found: {teacher.name}"]
        lines += _body(teacher, plan)
    for teacher in (teacher for each in [plan, *first] for teacher in each.teachers if teacher.run is not None):
        lines += ["", f"Teaches as it is, and is not trained again: {teacher.run}", *_finished(teacher)]
    return "\n".join([*lines, *_total(plan, first)]) + "\n"


def _fallbacks(plan: Plan, first: list[Plan]) -> list[str]:
    """Loud: above everything else, in a frame, each sentence once."""
    said = dict.fromkeys(words for each in [plan, *first] for words in each.fallbacks)
    if not said:
        return []
    frame = "!" * 80
    return [
        frame,
        "!! FALLBACK: this run does not use what the recipe asks for.",
        *(f"!! {w}" for w in said),
        frame,
        "",
    ]


def _body(plan: Plan, student: Plan | None) -> list[str]:
    """One plan; what changed a teacher just as it changed its student is not listed again."""
    settings, train, estimate = plan.settings, plan.settings.train, plan.estimate
    levers = list(describe_techniques(settings)) or ["none: stock Ultralytics"]
    rows = [
        ("recipe", f"{plan.name}  ({plan.source})"),
        ("profile", f"{plan.profile or 'none'}  ({plan.profile_reason})"),
        ("device", plan.device),
        ("data", settings.data.dataset + _images(plan)),
        ("model", f"{settings.model.architecture or 'as in the weights'}, from {settings.model.weights}"),
        (
            "train",
            f"{train.epochs} epochs at {train.imgsz} px, batch {train.batch}{_step(plan)}, {_rate(plan)}",
        ),
        ("", f"warm-up {train.warmup_epochs:g} epochs, mosaic {_mosaic(plan)}, seed {train.seed}{_gains(plan)}"),
        *_augment(plan),
        *(("" if place else "techniques", words) for place, words in enumerate(levers)),
    ]
    if estimate.optimizer_steps is not None and estimate.ema_decay_end is not None:
        ema = "off" if settings.techniques.ema is False else f"decay {estimate.ema_decay_end:.4f} reached at the end"
        if settings.techniques.swa is not None:
            ema = ema.replace("at the end", "when SWA begins") + ", then SWA"
        rows.append(
            ("steps", f"{estimate.steps_per_epoch} batches an epoch, {estimate.optimizer_steps} optimizer steps")
        )
        rows.append(("EMA", ema))
    rows.append(("disk", f"about {_bytes(estimate.disk_bytes)}, downloads {_bytes(estimate.download_bytes)}"))
    rows.append(("time", _time(estimate.seconds, _source(estimate))))
    lines = [f"  {name:<11}{value}" for name, value in rows]
    shared = _changes(student) if student else {}
    for who, what in _changes(plan).items():
        known = set(shared.get(who, ()))
        new = [f"    {line}" for line in what if line not in known]
        rest = len(what) - len(new)
        lines += [
            f"  changed by {who}:",
            *new,
            *([f"    {'and ' if new else ''}{rest} settings as above"] if rest else []),
        ]
    for pending in plan.pending:
        size = f" ({_bytes(pending.download_bytes)})" if pending.download_bytes else ""
        otherwise = f"if that fails, {pending.fallback} is used" if pending.fallback else "the recipe has no fallback"
        lines.append(f"  not here yet: {pending.name}{size} will be fetched first; {otherwise}")
    return [*lines, *(f"  warning: {warning}" for warning in plan.warnings)]


def _finished(plan: Plan) -> list[str]:
    """A run that is done."""
    settings = plan.settings
    rows = [
        ("recipe", f"{plan.name}  ({plan.source})"),
        ("data", settings.data.dataset),
        ("model", f"{settings.model.architecture or 'as in the weights'}, {settings.train.imgsz} px"),
    ]
    return [f"  {name:<11}{value}" for name, value in rows]


def _changes(plan: Plan) -> dict[str, list[str]]:
    """Who changed what, in words."""
    by: dict[str, list[str]] = {}
    for change in plan.changes:
        by.setdefault(change.by, []).append(f"{change.path}: {_plain(change.before)} -> {_plain(change.after)}")
    return by


def _images(plan: Plan) -> str:
    images = plan.estimate.train_images
    return f", {images} training images" if images is not None else ", number of images not known yet"


def _rate(plan: Plan) -> str:
    train = plan.settings.train
    if train.lr0 is None:
        return f"optimizer {train.optimizer}"
    shape = "cosine" if train.cos_lr else "linear"
    return f"{train.optimizer} lr0 {train.lr0:g} to {train.lr0 * train.lrf:g} ({shape})"


def _step(plan: Plan) -> str:
    """The effective batch, where it is not the batch."""
    train = plan.settings.train
    count = accumulated_batches(train.batch, train.nbs)
    return f" ({count} batches make a step: {count * train.batch} images)" if count > 1 else ""


def _gains(plan: Plan) -> str:
    train = plan.settings.train
    gains = {"box": train.box, "cls": train.cls, "dfl": train.dfl}
    changed = any(type(train).model_fields[name].default != value for name, value in gains.items())
    return ", gains " + " ".join(f"{name} {value:g}" for name, value in gains.items()) if changed else ""


def _augment(plan: Plan) -> list[tuple[str, str]]:
    """Augmentations that are not Ultralytics' defaults; mosaic and border have their words elsewhere."""
    augment = plan.settings.augment
    changed = {
        name: getattr(augment, name)
        for name, field in type(augment).model_fields.items()
        if name not in ("mosaic", "border") and getattr(augment, name) != field.default
    }
    words = ", ".join(f"{name} {value:g}" for name, value in changed.items())
    return [("augment", f"{words}, else Ultralytics' defaults")] if changed else []


def _mosaic(plan: Plan) -> str:
    mosaic, close = plan.settings.augment.mosaic, plan.settings.train.close_mosaic
    if mosaic == 0:
        return "off"
    return f"{mosaic:g}, closed for the last {close} epochs" if close else f"{mosaic:g}"


def _total(plan: Plan, first: list[Plan]) -> list[str]:
    if not first:
        return []
    every = [plan, *first]
    seconds = [each.estimate.seconds for each in every]
    known = [each for each in seconds if each is not None]
    # The same data set is fetched and prepared once, whoever asks for it first.
    fetched = {item.name: item.download_bytes or 0 for each in every for item in each.pending}
    total = _time(sum(known) if len(known) == len(seconds) else None, _source(plan.estimate, short=True))
    return ["", f"all together: time {total}; downloads {_bytes(sum(fetched.values()))}"]


def _source(estimate: Estimate, *, short: bool = False) -> str:
    if estimate.step_seconds is None:
        return "rough: scaled from two cores of another machine"
    return "from steps timed here" + ("" if short else f", {estimate.step_seconds * 1000:.0f} ms a batch")


def _time(seconds: float | None, source: str) -> str:
    if seconds is None:
        return "not estimated (nothing was measured for this device or model; --time measures it)"
    if seconds < 90:
        rough = f"{max(5, math.ceil(seconds / 5) * 5)} s"
    elif seconds < 5400:
        rough = f"{math.ceil(seconds / 60)} min"
    else:
        rough = f"{seconds / 3600:.1f} h"
    return f"about {rough} of training, the other stages come on top ({source})"


def _bytes(count: int | None) -> str:
    if not count:
        return "none"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _plain(value: Any) -> str:
    """A value as the recipe would write it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
