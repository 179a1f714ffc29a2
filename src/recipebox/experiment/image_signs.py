"""Which way a lever on the images should move them. What a sign is: `signs.py`."""

from __future__ import annotations

from collections.abc import Sequence

from recipebox.experiment.effect import Difference
from recipebox.experiment.signs import Sign
from recipebox.experiment.trace import Trace


def draws_otherwise() -> Sign:
    """Some images are drawn more often than others, which another order alone does not make."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        ours, theirs = ([view.file for view in trace.views] for trace in (on, off))
        if ours == theirs:
            return "the same images come in the same order with and without it"
        if on.draws == off.draws:
            return "each image is drawn as often as without it, only in another order: its weights are all alike"
        return None

    return sign


def images_change() -> Sign:
    """The batches are others."""
    return lambda on, off, noise: None if on.views != off.views else "every image is the same with and without it"


def pixels_change() -> Sign:
    """The same images with the same boxes look otherwise."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        pairs = list(zip(on.views, off.views, strict=True))
        if all(a.pixels == b.pixels for a, b in pairs):
            return "every pixel is the same with and without it"
        if any((a.file, a.labels) != (b.file, b.labels) for a, b in pairs):
            return "it should change pixels only, and changes boxes or the order too"
        return None

    return sign


def sides_are(epochs: Sequence[int], ours: Sequence[int], theirs: int) -> Sign:
    """The images of each epoch that was looked at are as wide as `ours` says, and `theirs` without the lever.

    Args:
        epochs: from 0.
        ours: pixels, of each.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        for trace, wanted in ((off, [theirs] * len(epochs)), (on, ours)):
            each = len(trace.views) // len(epochs)
            for place, (epoch, side) in enumerate(zip(epochs, wanted, strict=True)):
                found = sorted({view.side for view in trace.views[place * each : (place + 1) * each]})
                if found != [side]:
                    without = "" if trace is on else " without it"
                    return f"images of epoch {epoch + 1} should be {side} px wide{without}, and are {found}"
        return None

    return sign
