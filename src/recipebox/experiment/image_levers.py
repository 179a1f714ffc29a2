"""The levers on what the images of a batch look like."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from recipebox.experiment import image_signs
from recipebox.experiment.lever import MOST_VIEWS, Course, Entry, Lever
from recipebox.experiment.window import Window
from recipebox.recipe.schema import Augment, Train


def _close_mosaic(course: Course) -> Lever | None:
    train, late = course.settings.train, course.settings.techniques.late
    stock = Train.model_fields["close_mosaic"].default
    gains = {name: getattr(course.settings.augment, name) for name in _MIXING}
    if train.close_mosaic == stock or not any(gains.values()):
        return None
    ours, theirs = course.close_from, max(train.epochs - stock, 0)
    begins = late.begins() if late else {}
    first, ends = min(ours, theirs), max(ours, theirs)
    # Of the epochs in which one has it open, those in which all that begins at all has begun.
    epoch = max(first, min(ends - 1, max((begins.get(name, 1) - 1 for name, gain in gains.items() if gain), default=0)))
    share = 1 - math.prod(1 - gain for name, gain in gains.items() if begins.get(name, 1) <= epoch + 1)
    idle = "mosaic is closed all the time, with it and without" if ours == theirs else None
    if idle is None and not share:
        idle = "what it closes has not begun by then"
    words = "an epoch in which mosaic is " + ("open instead of closed" if ours > theirs else "closed instead of open")
    window, rare = course.chance_views(epoch, ends, share, since=epoch) if not idle else (course.views(0), None)
    zero = {"train.close_mosaic": stock}
    return Lever("train.close_mosaic", zero, window, words, image_signs.images_change(), idle, rare=rare)


_MIXING = ("mosaic", "mixup", "cutmix")
_FLIPS = ("flipud", "fliplr")
_COLOUR = ("hsv_h", "hsv_s")
_PIXELS_ONLY = (*_COLOUR, "hsv_v")
_HINTS = dict.fromkeys(_COLOUR, "grey images have no colour to vary") | {
    "border": "no border shows in these images: they are square, and nothing moves or zooms them"
}


def _augment(key: str, course: Course) -> Lever | None:
    value, stock = getattr(course.settings.augment, key), Augment.model_fields[key].default
    if value == stock or (key in _COLOUR and value == 0):
        return None  # colours that are not varied: on grey images, the usual reason, nobody can tell
    window, idle, rare = course.views(), None, None
    if key in _MIXING:
        late = course.settings.techniques.late
        begins = (late.begins() if late else {}).get(key, 1) - 1
        epoch, until = max(window.epoch, begins), course.close_from
        window, rare = course.chance_views(epoch, until, abs(value - stock), since=begins)
        idle = "it is closed with mosaic, all the time" if window.epoch >= course.close_from else None
    elif key in _FLIPS:
        window, rare = course.chance_views(window.epoch, course.settings.train.epochs, abs(value - stock))
    elif key == "border":
        window, rare = _bordered(course)
    # A mirrored border shows defects again, and they get boxes.
    pixels = key in _PIXELS_ONLY or value == "random"
    lever = Lever(
        f"augment.{key}",
        {f"augment.{key}": stock},
        window,
        "other pixels, the same boxes" if pixels else "other images",
        image_signs.pixels_change() if pixels else image_signs.images_change(),
        idle,
        rare=rare,
    )
    return replace(lever, hint=_HINTS.get(key, lever.hint))


def _bordered(course: Course) -> tuple[Window, str | None]:
    """Views in which a border shows, and why it may not show all the same.

    A mosaic that is open covers nearly every view, so an epoch without it is taken where there is one.
    """
    train, late = course.settings.train, course.settings.techniques.late
    window = course.views()
    if course.settings.augment.mosaic == 0:
        return window, None
    if course.close_from < train.epochs:
        return course.views(course.close_from), None
    if late is not None and late.begins().get("mosaic", 1) > 1:
        return course.views(0), None
    count = min(MOST_VIEWS, course.images_of(train.epochs - window.epoch))
    rare = f"few views show a border while mosaic is open, and none of the {count} that were looked at"
    return replace(window, views=count, epochs=train.epochs - window.epoch), rare


def _late(name: str, course: Course) -> Lever | None:
    late = course.settings.techniques.late
    begins = None if late is None else late.begins().get(name)
    if begins is None:
        return None
    # An augmentation that has not begun yet, in an epoch in which it would not be closed anyway.
    gain = getattr(course.settings.augment, name)
    waits = begins > 1 and course.close_from > 0 and gain
    idle = None if waits else "it has a gain of 0, begins at once or is closed before"
    window, rare = course.views(0), None
    if waits:  # the last epoch that waits: one that begins too early shows there
        last = min(begins - 1, course.close_from)
        window, rare = course.chance_views(last - 1, last, gain)
    key = f"techniques.late.{name}"
    return Lever(
        key,
        {key: None},
        window,
        f"epoch {window.epoch + 1} without {name}",
        image_signs.images_change(),
        idle,
        rare=rare,
    )


def _begins(name: str, course: Course) -> Lever | None:
    """That it comes at all: what never begins is late, too."""
    late = course.settings.techniques.late
    begins = None if late is None else late.begins().get(name)
    gain = getattr(course.settings.augment, name)
    if begins in (None, 1) or not gain:  # nothing waits
        return None
    epoch, window, rare, idle = begins - 1, course.views(0), None, None
    if epoch < course.close_from:
        window, rare = course.chance_views(epoch, course.close_from, gain, since=epoch)
    else:
        closed = course.settings.train.close_mosaic and epoch < course.settings.train.epochs
        idle = "it is closed before it begins" if closed else "the run ends before it begins"
    zero = {f"techniques.late.{name}": None, f"augment.{name}": 0.0}
    words = f"epoch {begins} with {name}"
    return Lever(
        f"techniques.late.{name}.from_epoch", zero, window, words, image_signs.images_change(), idle, rare=rare
    )


def _progressive(course: Course) -> Lever | None:
    progressive, train = course.settings.techniques.progressive, course.settings.train
    if progressive is None:
        return None
    sizes = [progressive.imgsz_of(epoch + 1, train.imgsz) for epoch in range(train.epochs)]
    # The first and the last epoch of every size.
    looked = tuple(
        at
        for at, side in enumerate(sizes)
        if at in (0, train.epochs - 1) or (sizes[at - 1], sizes[at + 1]) != (side, side)
    )
    idle = "every epoch has the deployed size" if set(sizes) == {train.imgsz} else None
    words = f"images of {', '.join(map(str, dict.fromkeys(sizes)))} px, not {train.imgsz} in every epoch"
    sign = image_signs.sides_are(looked, [sizes[at] for at in looked], train.imgsz)
    window = replace(course.views(looked[0]), first_of=looked)
    return Lever("techniques.progressive", {"techniques.progressive": None}, window, words, sign, idle)


IMAGE_LEVERS: dict[str, Entry] = {
    "techniques.progressive": _progressive,
    **{f"techniques.late.{name}": partial(_late, name) for name in _MIXING},
    **{f"techniques.late.{name}.from_epoch": partial(_begins, name) for name in _MIXING},
    "train.close_mosaic": _close_mosaic,
    **{f"augment.{key}": partial(_augment, key) for key in Augment.model_fields},
}
