"""The levers among a recipe's `train` settings that Ultralytics acts on."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from recipebox.experiment import signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.recipe.estimate import accumulated_batches
from recipebox.recipe.schema import Train

STOCK_LR0 = 0.01
"""What Ultralytics takes where an optimizer is named and no rate."""
STOCK_WARMUP_BIAS_LR = 0.1


def _optimizer(course: Course) -> Lever | None:
    chosen = course.settings.train.optimizer
    if chosen == "auto":
        return None
    other = "AdamW" if chosen == "SGD" else "SGD"
    return Lever(
        "train.optimizer",
        {"train.optimizer": other},
        course.steps(),
        f"another step than {other}'s from the same gradient",
        signs.only_the_step(),
    )


def _lr0(course: Course) -> Lever | None:
    lr0 = course.settings.train.lr0
    if lr0 is None or lr0 == STOCK_LR0:
        return None
    factor = lr0 / STOCK_LR0
    idle = None if course.scheduled else "swa has its own rate in every epoch"
    words, sign = f"learning rates {factor:.3g} times those of {STOCK_LR0}", signs.rates_scale(factor)
    if (
        course.rated < course.warm_epochs
    ):  # SWA leaves nothing after the warm-up, where biases begin at a rate of their own
        words = f"{'higher' if factor > 1 else 'lower'} rates than with {STOCK_LR0}"
        sign = signs.rate_moves(factor > 1, min)
    return Lever("train.lr0", {"train.lr0": STOCK_LR0}, course.rates(course.rated), words, sign, idle)


def _lrf(course: Course) -> Lever | None:
    lrf, stock = course.settings.train.lrf, Train.model_fields["lrf"].default
    if lrf == stock:
        return None
    idle = "a run of one epoch has one rate" if course.settings.train.epochs == 1 else None
    if idle is None and course.scheduled < 2:
        idle = "swa sets the rate from the second epoch on"
    words, sign = f"{'higher' if lrf > stock else 'lower'} rates after the first epoch", signs.rate_moves(lrf > stock)
    return Lever("train.lrf", {"train.lrf": stock}, course.rates(course.rated), words, sign, idle)


def _cos_lr(course: Course) -> Lever | None:
    epochs = course.settings.train.epochs
    if not course.settings.train.cos_lr:
        return None

    def apart(epoch: int) -> float:
        return abs((1 + math.cos(math.pi * epoch / epochs)) / 2 - (1 - epoch / epochs))

    epoch = max(range(course.rated, max(course.scheduled, 1)), key=apart)
    idle = "line and cosine meet at every epoch that follows the schedule" if apart(epoch) < 1e-9 else None
    idle = "with `lrf: 1` the rate stays what it is" if course.settings.train.lrf == 1 else idle
    higher = epoch < epochs / 2
    words = f"{'higher' if higher else 'lower'} rates at epoch {epoch + 1} than on a line"
    # That epoch alone: line and cosine cross in the middle of the run.
    window = replace(course.rates(epoch), batches=min(2 * course.accumulate, course.batches))
    return Lever("train.cos_lr", {"train.cos_lr": False}, window, words, signs.rate_moves(higher), idle)


def _step_setting(key: str, course: Course) -> Lever | None:
    """Momentum or weight decay: felt by the step alone."""
    stock = Train.model_fields[key].default
    if getattr(course.settings.train, key) == stock:
        return None
    words = "another step from the same gradient"
    return Lever(f"train.{key}", {f"train.{key}": stock}, course.steps(), words, signs.only_the_step())


def _nbs(course: Course) -> Lever | None:
    train, stock = course.settings.train, Train.model_fields["nbs"].default
    accumulate = course.accumulate
    zero = train.batch if accumulate > 1 else stock
    every = accumulated_batches(train.batch, zero)
    if every == accumulate:
        return None
    words = f"an optimizer step every {accumulate} batches instead of every {every}"
    return Lever("train.nbs", {"train.nbs": zero}, course.steps(), words, signs.steps_change(accumulate < every))


def _warmup_epochs(course: Course) -> Lever | None:
    train, stock = course.settings.train, Train.model_fields["warmup_epochs"].default
    if train.warmup_epochs == stock or (train.warmup_epochs == 0 and train.epochs == 1):
        return None
    zero = 0.0 if train.warmup_epochs else stock
    words = "the rates rise from 0" if train.warmup_epochs else "the first rates are the full ones"
    idle = "a run of one epoch has no warm-up" if train.warmup_epochs and not course.warm_epochs else None
    sign = signs.rate_moves(not train.warmup_epochs, min)
    return Lever("train.warmup_epochs", {"train.warmup_epochs": zero}, course.steps(0), words, sign, idle)


def _warmup_momentum(course: Course) -> Lever | None:
    stock = Train.model_fields["warmup_momentum"].default
    if course.settings.train.warmup_momentum == stock:
        return None
    idle = None if course.warm_epochs else "there is no warm-up"
    words = "another step from the same gradient during the warm-up"
    zero = {"train.warmup_momentum": stock}
    return Lever("train.warmup_momentum", zero, course.steps(0), words, signs.only_the_step(), idle)


def _warmup_bias_lr(course: Course) -> Lever | None:
    rate = course.settings.train.warmup_bias_lr
    if rate is None or rate == STOCK_WARMUP_BIAS_LR:
        return None
    idle = None if course.warm_epochs else "there is no warm-up"
    more = rate > STOCK_WARMUP_BIAS_LR
    words = f"a {'higher' if more else 'lower'} rate of the biases when the warm-up begins"
    zero = {"train.warmup_bias_lr": None}
    return Lever("train.warmup_bias_lr", zero, course.steps(0), words, signs.rate_moves(more), idle)


def _gain(key: str, course: Course) -> Lever | None:
    gain, stock = getattr(course.settings.train, key), Train.model_fields[key].default
    if gain == stock:
        return None
    terms = ("dfl_loss", "l1_loss") if key == "dfl" else (f"{key}_loss",)
    words = f"{gain / stock:.3g} times the {' or '.join(terms)} on the same batch"
    sign = signs.term_scales(terms, gain / stock)
    return Lever(f"train.{key}", {f"train.{key}": stock}, course.steps(), words, sign)


TRAINING_LEVERS: dict[str, Entry] = {
    "train.nbs": _nbs,
    **{f"train.{key}": partial(_gain, key) for key in ("box", "cls", "dfl")},
    "train.optimizer": _optimizer,
    "train.lr0": _lr0,
    "train.lrf": _lrf,
    "train.cos_lr": _cos_lr,
    "train.momentum": partial(_step_setting, "momentum"),
    "train.weight_decay": partial(_step_setting, "weight_decay"),
    "train.warmup_epochs": _warmup_epochs,
    "train.warmup_momentum": _warmup_momentum,
    "train.warmup_bias_lr": _warmup_bias_lr,
}
