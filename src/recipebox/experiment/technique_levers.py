"""The levers on targets, classes, averages and steps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from recipebox.data.balance import class_weights
from recipebox.experiment import average_signs, image_signs, signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.window import Window
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.recipe.estimate import ema_decay
from recipebox.recipe.technique_sections import STOCK_MAX_NORM, Swa


def _ema(course: Course) -> Lever | None:
    ema, swa = course.settings.techniques.ema, course.settings.techniques.swa
    before_swa = course.settings.train.epochs - (swa.last if swa is not None else 0)
    window = course.steps(max(min(course.settled, before_swa - 1), 0), before=max(before_swa, 1))
    done = course.updates(window.epoch)
    ours, stock = ([ema_decay(each, done + n) for n in (1, 2)] for each in (ema, None))
    if ema is None or (ours == stock and ema and ema.evaluate_both):
        return None
    idle = "its decay is Ultralytics' own" if ours == stock else None
    shown, plain = (" and ".join(f"{decay:.4g}" for decay in decays) for decays in (ours, stock))
    return Lever(
        "techniques.ema",
        {"techniques.ema": None},
        window,
        f"the average follows the live weights by the decays {shown}, not {plain}",
        average_signs.average_follows(lambda step: ema_decay(ema, done + step)),
        idle if before_swa else "swa averages every epoch",
    )


def _swa(course: Course) -> Lever | None:
    swa = course.settings.techniques.swa
    if swa is None:
        return None
    rate = "stays" if swa.lr is None else f"is {swa.lr:g}"
    return Lever(
        "techniques.swa",
        {"techniques.swa": None},
        _averaged(swa, course),
        f"the average is the mean of the epochs' ends, at a rate that {rate}, with batch norm estimated anew",
        average_signs.ends_are_averaged(swa.lr),
    )


def _bn_images(course: Course) -> Lever | None:
    swa, usual = course.settings.techniques.swa, Swa.model_fields["bn_images"].default
    if swa is None or swa.bn_images == usual:
        return None
    path, batch = "techniques.swa.bn_images", course.settings.train.batch
    ours, theirs = (min(-(-images // batch), course.batches) for images in (swa.bn_images, usual))
    return Lever(
        path,
        {path: usual},
        _averaged(swa, course),
        f"batch norm of the average from {swa.bn_images} images instead of {usual}; its weights stay",
        average_signs.statistics_change(),
        f"it takes {ours} batches of the epoch's {course.batches}, as {usual} does" if ours == theirs else None,
    )


def _averaged(swa: Swa, course: Course) -> Window:
    """The ends of the first epochs that are averaged."""
    first, batches = course.settings.train.epochs - swa.last, 2 * course.accumulate
    return Window(first, epoch_batches=batches, batches=batches, epoch_ends=min(swa.last, 2))


def _label_smoothing(course: Course) -> Lever | None:
    smoothing = course.settings.techniques.label_smoothing
    if smoothing is None:
        return None
    idle = _unsmoothed(smoothing) or _no_class_loss(course)
    if idle is None and smoothing.off_last >= course.settings.train.epochs:
        idle = "it is off in every epoch"
    return _smoothing_lever("", None, _smoothed(smoothing, course), "its targets are not smoothed", idle, smoothing)


def _smoothing_epsilon(course: Course) -> Lever | None:
    """Beside half of it: one that is lost behind a constant leaves targets that are smoothed."""
    smoothing = course.settings.techniques.label_smoothing
    whole = _label_smoothing(course)
    if smoothing is None or not smoothing.epsilon or whole is None or whole.idle:
        return None
    others = tuple(name for name in course.names if name not in smoothing.per_class)
    idle = "every class has an epsilon of its own" if course.names and not others else None
    dead = "targets are smoothed as much by half of it"
    lever = _smoothing_lever(".epsilon", smoothing.epsilon / 2, whole.window, dead, idle, smoothing)
    return replace(lever, classes=others if smoothing.per_class else ())


def _smoothing_form(course: Course) -> Lever | None:
    smoothing = course.settings.techniques.label_smoothing
    # With one class `spread` is refused for doing nothing: what smoothing itself does is what the form does.
    if smoothing is None or smoothing.form == "spread" or len(course.class_boxes) == 1:
        return None
    dead = "it is smoothed as `spread` does"
    return _smoothing_lever(".form", "spread", _smoothed(smoothing, course), dead, _unsmoothed(smoothing), smoothing)


def _smoothing_per_class(course: Course) -> Lever | None:
    smoothing = course.settings.techniques.label_smoothing
    # Beside an epsilon of 0 the classes' own are all that smoothing itself does.
    if smoothing is None or not smoothing.per_class or not smoothing.epsilon:
        return None
    own = tuple(name for name, epsilon in smoothing.per_class.items() if epsilon != smoothing.epsilon)
    idle = None if own else "every epsilon is that of the recipe"
    dead = "classes with an epsilon of their own are smoothed as the others"
    lever = _smoothing_lever(".per_class", {}, _smoothed(smoothing, course), dead, idle, smoothing)
    return replace(lever, classes=own)


def _smoothing_schedule(course: Course) -> Lever | None:
    smoothing = course.settings.techniques.label_smoothing
    if smoothing is None or smoothing.schedule == "constant":
        return None
    active = course.batches * (course.settings.train.epochs - smoothing.off_last)
    idle = _unsmoothed(smoothing) or ("one batch has no schedule" if active <= 1 else None)
    dead, window = "its epsilon stays", _smoothed(smoothing, course)
    return _smoothing_lever(".schedule", "constant", window, dead, idle, smoothing)


def _smoothing_off(course: Course) -> Lever | None:
    smoothing, epochs = course.settings.techniques.label_smoothing, course.settings.train.epochs
    if smoothing is None or not smoothing.off_last:
        return None
    idle = _unsmoothed(smoothing)
    if idle is None and smoothing.schedule == "linear" and course.batches * smoothing.off_last == 1:
        idle = "epsilon has come down to 0 at the last batch anyway"
    window = course.batches_of(max(epochs - smoothing.off_last, 0))
    return _smoothing_lever(".off_last", 0, window, "it is not switched off", idle, smoothing)


def _smoothing_lever(
    part: str,
    zero: str | float | dict[str, float] | None,
    window: Window,
    dead: str,
    idle: str | None,
    smoothing: LabelSmoothing,
) -> Lever:
    path = f"techniques.label_smoothing{part}"
    return Lever(
        path,
        {path: zero},
        window,
        "another class loss on the same batch; box and dfl stay",
        signs.class_loss_changes(dead),
        idle,
        hint="the setting is lost on its way, or all targets are next to 0: a network from scratch scores objects of a "
        "few pixels so",
        classes=() if smoothing.epsilon else tuple(name for name, epsilon in smoothing.per_class.items() if epsilon),
    )


def _smoothed(smoothing: LabelSmoothing, course: Course) -> Window:
    """Two steps in an epoch with smoothing."""
    return course.steps(max(min(course.settled, course.settings.train.epochs - smoothing.off_last - 1), 0))


def _unsmoothed(smoothing: LabelSmoothing) -> str | None:
    return None if any((smoothing.epsilon, *smoothing.per_class.values())) else "epsilon is 0"


def _no_class_loss(course: Course) -> str | None:
    """Why smoothing and weights of classes have nothing to act on; None where they have."""
    head, train = course.settings.techniques.anchor_head, course.settings.train
    key, gain = ("techniques.anchor_head.cls", head.cls) if head is not None else ("train.cls", train.cls)
    return None if gain else f"`{key}: 0` leaves no class loss"


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
    idle = _no_class_loss(course)
    words, sign = "another class loss on the same batch; box and dfl stay", signs.class_loss_changes("no weights")
    taught = techniques.distillation is not None and techniques.distillation.logits is not None
    if part == "by" and weights.by and not taught:  # a teacher of class scores pulls at the class biases, too
        counts = np.array(course.class_boxes, np.int64)
        each = class_weights(counts, weights.by, beta=weights.beta, power=weights.power).tolist()
        words, sign = "the class gradient of each class is multiplied by its weight", signs.classes_weigh(each)
    lever = Lever(f"techniques.class_weights.{part}", zero, course.steps(), words, sign, idle)
    if isinstance(weights.pos_weight, dict) and part == "pos_weight":
        acting = tuple(name for name, factor in weights.pos_weight.items() if factor != 1)
        return replace(lever, classes=acting, idle=idle if acting else "every factor is 1")
    return replace(lever, idle="its factor is 1") if part == "pos_weight" and weights.pos_weight == 1 else lever


def _sampling(course: Course) -> Lever | None:
    if course.settings.techniques.sampling is None:
        return None
    words, zero = "some images are drawn more often than others", {"techniques.sampling": None}
    return Lever("techniques.sampling", zero, course.views(), words, image_signs.draws_otherwise())


def _clipping(course: Course) -> Lever | None:
    clipping = course.settings.techniques.clipping
    if clipping is None:
        return None
    largest = clipping.max_norm or None
    words = f"steps from gradients longer than {STOCK_MAX_NORM:g}" if not largest or largest > STOCK_MAX_NORM else ""
    if largest:
        words += f"{', and ' if words else ''}no step from a gradient longer than {largest:g}"
    zero = {"techniques.clipping": None}
    idle = "it is Ultralytics' own" if largest == STOCK_MAX_NORM else None
    return Lever("techniques.clipping", zero, course.steps(), words, signs.clips_at(largest), idle)


TECHNIQUE_LEVERS: dict[str, Entry] = {
    "techniques.label_smoothing": _label_smoothing,
    "techniques.label_smoothing.epsilon": _smoothing_epsilon,
    "techniques.label_smoothing.per_class": _smoothing_per_class,
    "techniques.label_smoothing.form": _smoothing_form,
    "techniques.label_smoothing.schedule": _smoothing_schedule,
    "techniques.label_smoothing.off_last": _smoothing_off,
    "techniques.class_weights.by": partial(_class_weights, "by"),
    "techniques.class_weights.pos_weight": partial(_class_weights, "pos_weight"),
    "techniques.sampling": _sampling,
    "techniques.clipping": _clipping,
    "techniques.ema": _ema,
    "techniques.swa": _swa,
    "techniques.swa.bn_images": _bn_images,
}
