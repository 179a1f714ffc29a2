"""What the levers on head, classes, sampling and boxes did, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recipebox.report.markdown import escape
from recipebox.report.source import Document


def lever_items(epochs: Sequence[Document]) -> Iterator[str]:
    """Head, label smoothing, class weights and sampling as they were in force; nothing of a lever that was not.

    And of distillation that its teacher had nothing to say: nobody looks for a loss of 0 among others.
    """
    first, last = epochs[0], epochs[-1]
    yield from _head_items(last)
    if all(row.number("train", "kd_box_loss") == 0 for row in epochs) and any(
        row.number("techniques", "distillation/box_weight") for row in epochs
    ):
        yield (
            "the boxes' distillation did **nothing**: its loss was 0 in every epoch, since no score of the teacher was "
            "high enough to say where an object is"
        )
    start, end = (row.number("techniques", "smoothing/epsilon") for row in (first, last))
    if start is not None and end is not None:
        moved = last.number("techniques", "smoothing/moved")
        share = f", {moved:.4f} taken from the label of a foreground anchor" if moved is not None else ""
        began, ended = (_by_class(row, "smoothing/epsilon_") for row in (first, last))
        yield f"label smoothing after the first epoch {_with(start, began)}, at the end {_with(end, ended)}{share}"
    weights = _by_class(last, "class_weights/weight_")
    if weights:
        yield f"class weights: {_listed(weights, '.2f')}"
    extra = last.number("techniques", "class_weights/positive_extra")
    if extra is not None:
        yield f"the positive weight changed the class loss of the last step by {extra:+.0%}"
    shares = _by_class(last, "sampling/share_")
    if shares:
        drawn = last.number("techniques", "sampling/images")
        images = f", from {drawn:.0%} of the images" if drawn is not None else ""
        yield f"boxes shown in the last epoch, by class: {_listed(shares, '.0%')}{images}"


def _head_items(last: Document) -> Iterator[str]:
    """The last batch of the last epoch, as the criterion saw it."""
    matched, each = (last.number("techniques", f"anchor_head/{key}") for key in ("matched", "positives"))
    recall, fitness = (last.number("techniques", f"anchor_head/{key}") for key in ("recall", "fitness"))
    if recall is not None and fitness is not None:
        yield f"anchors: recall {recall:.4f} and fitness {fitness:.4f} on the training boxes"
    if matched is not None and each is not None:
        yield f"in the last batch anchors matched {matched:.0%} of the objects, {each:.1f} an object"
    positives = last.number("techniques", "assigner/positives")
    if positives is not None:
        yield f"in the last batch the assigner chose {positives:.1f} cells an object"
    share = last.number("techniques", "p2/share")
    if share is not None:
        yield f"in the last batch {share:.0%} of the cells that learn an object were of stride 4"


def _with(common: float, own: dict[str, float]) -> str:
    """Epsilon, and in brackets that of the classes with one of their own."""
    return f"{common:.3g}" + (f" ({_listed(own, '.3g')})" if own else "")


def _by_class(row: Document, prefix: str) -> dict[str, float]:
    numbers = row.part("techniques")
    found = {key.removeprefix(prefix): numbers.number(key) for key in numbers.content if key.startswith(prefix)}
    return {name: value for name, value in found.items() if value is not None}


def _listed(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{escape(name)} {value:{form}}" for name, value in values.items())
