"""The levers on the head of the network."""

from __future__ import annotations

from recipebox.experiment import signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.recipe.head_sections import Assigner


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


def _p2(course: Course) -> Lever | None:
    if not course.settings.techniques.p2:
        return None
    return Lever(
        "techniques.p2",
        {"techniques.p2": False},
        course.steps(),
        "some of the cells that learn objects are of stride 4, which there is none of without it",
        signs.number_is_added("p2/share"),
    )


def _anchor_head(course: Course) -> Lever | None:
    if course.settings.techniques.anchor_head is None:
        return None
    return Lever(
        "techniques.anchor_head",
        {"techniques.anchor_head": None},
        course.steps(),
        "adds a positive obj_loss that the head's objectness feels",
        signs.objectness_is_learned(),
    )


HEAD_LEVERS: dict[str, Entry] = {
    "techniques.p2": _p2,
    "techniques.anchor_head": _anchor_head,
    "techniques.assigner": _assigner,
}
