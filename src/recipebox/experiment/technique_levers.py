"""The levers of a recipe's `techniques`."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from recipebox.experiment import signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.trace import Window
from recipebox.recipe.estimate import ema_decay
from recipebox.recipe.technique_sections import STOCK_MAX_NORM


def _ema(course: Course) -> Lever | None:
    ema, swa = course.settings.techniques.ema, course.settings.techniques.swa
    before_swa = course.settings.train.epochs - (swa.last if swa is not None else 0)
    window = course.steps(max(min(course.settled, before_swa - 1), 0))
    first = course.updates(window.epoch) + 1
    ours, stock = (math.prod(ema_decay(each, n) for n in (first, first + 1)) for each in (ema, None))
    if ema is None or (ours == stock and ema and ema.evaluate_both):
        return None
    idle = "its decay is Ultralytics' own" if ours == stock else None
    way = "farther from" if ours > stock else "nearer to"
    return Lever(
        "techniques.ema",
        {"techniques.ema": None},
        window,
        f"the average ends {way} the live weights: two steps leave {ours:.3g} of it, not {stock:.3g}",
        signs.average_lags(more=ours > stock),
        idle if before_swa else "swa averages every epoch",
    )


def _swa(course: Course) -> Lever | None:
    swa = course.settings.techniques.swa
    if swa is None:
        return None
    first, batches = course.settings.train.epochs - swa.last, 2 * course.accumulate
    rate = "stays" if swa.lr is None else f"is {swa.lr:g}"
    return Lever(
        "techniques.swa",
        {"techniques.swa": None},
        Window(first, epoch_batches=batches, batches=batches, epoch_ends=min(swa.last, 2)),
        f"the average is the mean of the epochs' ends, at a rate that {rate}",
        signs.ends_are_averaged(swa.lr),
    )


def _distillation(part: str, course: Course) -> Lever | None:
    distillation = course.settings.techniques.distillation
    term = None if distillation is None else getattr(distillation, part)
    if distillation is None or term is None:
        return None
    others = [name for name in DISTILLATION_TERMS if name != part and getattr(distillation, name) is not None]
    # A teacher without any term is refused: the last one takes the teacher with it.
    zero = f"techniques.distillation.{part}" if others else "techniques.distillation"
    idle = "its weight is 0 from beginning to end" if term.weight == 0 and not term.weight_end else None
    # A weight that begins or ends at 0 is somewhere between there at most epochs.
    epoch = course.settled if term.weight_end != 0 else min(course.settled, course.settings.train.epochs // 2)
    return Lever(
        f"techniques.distillation.{part}",
        {zero: None},
        course.steps(epoch),
        f"adds a positive kd_{part}_loss that the gradient feels",
        signs.term_is_added(f"kd_{part}_loss"),
        idle,
    )


DISTILLATION_TERMS = ("logits", "box", "features")


def _several_teachers(course: Course) -> Lever | None:
    """Those after the first: one teacher is no lever beside the terms that ask it."""
    distillation = course.settings.techniques.distillation
    if distillation is None or len(distillation.teachers) < 2:
        return None
    first = distillation.teachers[0].model_dump(mode="json")
    return Lever(
        "techniques.distillation.teachers",
        {"techniques.distillation.teachers": [first]},
        course.steps(),
        "another distillation loss than from the first teacher alone; the other losses stay",
        signs.lesson_changes(),
    )


def _label_smoothing(course: Course) -> Lever | None:
    smoothing = course.settings.techniques.label_smoothing
    if smoothing is None:
        return None
    active = course.settings.train.epochs - smoothing.off_last
    idle = None
    if not any((smoothing.epsilon, *smoothing.per_class.values())):
        idle = "epsilon is 0"
    elif active <= 0:
        idle = "it is off in every epoch"
    return Lever(
        "techniques.label_smoothing",
        {"techniques.label_smoothing": None},
        course.steps(max(min(course.settled, active - 1), 0)),
        "another class loss on the same batch; box and dfl stay",
        signs.class_loss_changes("its targets are not smoothed"),
        idle,
        hint="the setting is lost on its way, or all targets are next to 0: a network from scratch scores objects of a "
        "few pixels so",
    )


def _class_weights(part: str, course: Course) -> Lever | None:
    """`by` and `pos_weight` are two levers: one that acts must not cover for one that does not."""
    techniques = course.settings.techniques
    weights = techniques.class_weights
    if weights is None or getattr(weights, part) is None:
        return None
    zero: dict[str, None] = {"techniques.class_weights": None}
    if weights.by and weights.pos_weight is not None:
        own = ("by", "beta", "power") if part == "by" else ("pos_weight",)
        zero = {f"techniques.class_weights.{key}": None for key in own}
    idle = None
    if part == "by" and len({count for count in course.class_boxes if count}) == 1:
        idle = "every class has as many boxes"
    words, sign = "another class loss on the same batch; box and dfl stay", signs.class_loss_changes("no weights")
    if part == "by" and techniques.distillation is None:
        words, sign = "a larger share of the class gradient for rarer classes", signs.rare_pull_more(course.class_boxes)
    lever = Lever(f"techniques.class_weights.{part}", zero, course.steps(), words, sign, idle)
    if isinstance(weights.pos_weight, dict) and part == "pos_weight":
        return replace(lever, hint="no object of these classes is in the batches looked at, or the setting is lost")
    return lever


def _sampling(course: Course) -> Lever | None:
    if course.settings.techniques.sampling is None:
        return None
    words, zero = "some images are drawn more often than others", {"techniques.sampling": None}
    return Lever("techniques.sampling", zero, course.views(), words, signs.draws_otherwise())


def _clipping(course: Course) -> Lever | None:
    clipping = course.settings.techniques.clipping
    if clipping is None:
        return None
    largest = clipping.max_norm or None
    words = (
        f"no step from a gradient longer than {largest:g}"
        if largest
        else f"steps from gradients longer than {STOCK_MAX_NORM:g}"
    )
    zero = {"techniques.clipping": None}
    idle = "it is Ultralytics' own" if largest == STOCK_MAX_NORM else None
    return Lever("techniques.clipping", zero, course.steps(), words, signs.clips_at(largest), idle)


TECHNIQUE_LEVERS: dict[str, Entry] = {
    "techniques.label_smoothing": _label_smoothing,
    "techniques.class_weights.by": partial(_class_weights, "by"),
    "techniques.class_weights.pos_weight": partial(_class_weights, "pos_weight"),
    "techniques.sampling": _sampling,
    "techniques.distillation.teachers": _several_teachers,
    "techniques.distillation.logits": partial(_distillation, "logits"),
    "techniques.distillation.box": partial(_distillation, "box"),
    "techniques.distillation.features": partial(_distillation, "features"),
    "techniques.clipping": _clipping,
    "techniques.ema": _ema,
    "techniques.swa": _swa,
}
