"""The levers on the head of the network."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from recipebox.experiment import signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.signs import Sign
from recipebox.recipe.head_sections import Assigner
from recipebox.techniques.anchor_head.loss import BALANCE


def _assigner(course: Course) -> Lever | None:
    assigner = course.settings.techniques.assigner
    if assigner is None:
        return None
    return Lever(
        "techniques.assigner",
        {"techniques.assigner": None},
        course.steps(),
        "other cells learn the objects of the same batch: another class and box loss",
        signs.assignment_changes(),
        "it is Ultralytics' own" if assigner == Assigner() else None,
        hint="the setting is lost on its way, or the objects hold fewer cells than are chosen either way",
    )


def _assigner_part(key: str, course: Course) -> Lever | None:
    """One of its values; where the others are stock's, it is what the assigner itself does."""
    assigner, stock = course.settings.techniques.assigner, Assigner()
    if assigner is None:
        return None
    changed = [name for name in Assigner.model_fields if getattr(assigner, name) != getattr(stock, name)]
    if key not in changed or len(changed) == 1:
        return None
    path = f"techniques.assigner.{key}"
    return Lever(
        path,
        {path: getattr(stock, key)},
        course.steps(),
        f"other cells learn the objects of the same batch than with stock's {key}",
        signs.assignment_changes(),
        hint="the setting is lost on its way, or the same cells are chosen with stock's",
    )


def _p2(course: Course) -> Lever | None:
    techniques = course.settings.techniques
    if not techniques.p2:
        return None
    zero: dict[str, Any] = {"techniques.p2": False}
    head = techniques.anchor_head
    if head is not None and head.anchors != "auto":  # three levels have no fourth row
        zero["techniques.anchor_head.anchors"] = [list(row) for row in head.anchors[1:]]
    if head is not None and head.balance is not None:
        zero["techniques.anchor_head.balance"] = list(head.balance[1:])
    if techniques.distillation is not None:  # teachers have the student's levels
        zero["techniques.distillation"] = None
    return Lever(
        "techniques.p2",
        zero,
        course.steps(),
        "some of the cells that learn objects are of stride 4, which there is none of without it",
        signs.number_is_added("p2/share"),
    )


def _anchor_head(course: Course) -> Lever | None:
    head = course.settings.techniques.anchor_head
    if head is None:
        return None
    sizes, levels = head.sizes(), 4 if course.settings.techniques.p2 else 3
    anchors = levels * head.count if sizes is None else sum(len(row) for row in sizes)
    term = "obj_loss" if head.obj else "box_loss"
    words = "that the objectness feels" if head.obj else "and, with `obj: 0`, no objectness"
    return Lever(
        "techniques.anchor_head",
        {"techniques.anchor_head": None},
        course.steps(),
        f"{anchors} anchors{'' if sizes is None else ' of the sizes in the recipe'}, a positive {term} {words}",
        signs.anchors_answer(anchors, term, sizes),
    )


def _anchor_gain(key: str, course: Course) -> Lever | None:
    gain, usual = _anchor_value(key, course)
    if gain == usual:
        return None
    words = f"{gain / usual:.3g} times the {key}_loss on the same batch"
    return _anchor_lever(key, usual, course, words, signs.term_scales((f"{key}_loss",), gain / usual))


def _anchor_threshold(course: Course) -> Lever | None:
    threshold, usual = _anchor_value("threshold", course)
    head = course.settings.techniques.anchor_head
    if threshold == usual or head is None:
        return None
    term = "obj_loss" if head.obj else "box_loss"
    lever = _anchor_lever(
        "threshold", usual, course, f"another {term} on the same batch", signs.term_changes(term, False)
    )
    return replace(lever, hint=f"the setting is lost on its way, or the same anchors match these objects at {usual:g}")


def _anchor_factor(key: str, gain: str, course: Course) -> Lever | None:
    """A factor on parts of one loss, which alone it changes."""
    value, usual = _anchor_value(key, course)
    if value == usual:
        return None
    term = f"{gain}_loss"
    words = f"another {term} on the same batch; the other losses stay"
    lever = _anchor_lever(key, usual, course, words, signs.term_changes(term, alone=True))
    if not _anchor_value(gain, course)[0]:
        return replace(lever, idle=f"`anchor_head.{gain}: 0` leaves no such loss")
    if key == "balance" and tuple(value) == BALANCE.get(len(value)):
        return replace(lever, idle="these are YOLOv5's own factors")
    return lever


def _anchor_value(key: str, course: Course) -> tuple[Any, Any]:
    """A value of the head with anchors and the usual one; twice None where there is no such head."""
    section: Any = course.settings.techniques.anchor_head
    if section is None:
        return None, None
    *above, last = key.split(".")
    for name in above:
        section = getattr(section, name)
    return getattr(section, last), type(section).model_fields[last].default


def _anchor_lever(key: str, usual: Any, course: Course, words: str, sign: Sign) -> Lever:
    path = f"techniques.anchor_head.{key}"
    return Lever(path, {path: usual}, course.steps(), words, sign)


HEAD_LEVERS: dict[str, Entry] = {
    "techniques.p2": _p2,
    "techniques.anchor_head": _anchor_head,
    **{f"techniques.anchor_head.{key}": partial(_anchor_gain, key) for key in ("box", "obj", "cls")},
    "techniques.anchor_head.threshold": _anchor_threshold,
    "techniques.anchor_head.balance": partial(_anchor_factor, "balance", "obj"),
    "techniques.anchor_head.pos_weight.obj": partial(_anchor_factor, "pos_weight.obj", "obj"),
    "techniques.anchor_head.pos_weight.cls": partial(_anchor_factor, "pos_weight.cls", "cls"),
    "techniques.assigner": _assigner,
    **{f"techniques.assigner.{key}": partial(_assigner_part, key) for key in Assigner.model_fields},
}
