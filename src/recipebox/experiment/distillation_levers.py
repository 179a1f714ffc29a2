"""The levers of distillation: its terms, their schedules and values, and its teachers."""

from __future__ import annotations

from functools import partial
from typing import Any

from recipebox.experiment import signs
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.window import Window
from recipebox.recipe.technique_sections import MOST_TEACHERS, DistillationTerm


def _distillation(part: str, course: Course) -> Lever | None:
    distillation = course.settings.techniques.distillation
    term = None if distillation is None else getattr(distillation, part)
    if distillation is None or term is None:
        return None
    others = [name for name in _TERMS if name != part and getattr(distillation, name) is not None]
    # A teacher without any term is refused: the last one takes the teacher with it.
    zero, window = f"techniques.distillation.{part}" if others else "techniques.distillation", _taught_by(term, course)
    return Lever(
        f"techniques.distillation.{part}",
        {zero: None},
        window,
        f"adds a positive kd_{part}_loss that the gradient feels",
        signs.term_is_added(f"kd_{part}_loss", _weightless_batches(term, window, course)),
        _weightless(term),
    )


def _taught_by(term: DistillationTerm, course: Course) -> Window:
    """Two steps in which a term has some weight: one that ends at 0 has it at most epochs before."""
    return course.steps(
        course.settled if term.weight_end != 0 else min(course.settled, course.settings.train.epochs // 2)
    )


def _weightless_batches(term: DistillationTerm, window: Window, course: Course) -> int:
    """Batches of a window in which a term that begins or ends with a weight of 0 stands there."""
    first, run = window.epoch * course.batches, course.batches * course.settings.train.epochs
    begins = term.weight == 0 and first == 0
    return begins + (term.weight_end == 0 and first + window.batches >= run)


def _weightless(term: DistillationTerm) -> str | None:
    return "its weight is 0 from beginning to end" if term.weight == 0 and not term.weight_end else None


def _distillation_end(part: str, key: str, course: Course) -> Lever | None:
    """The schedule of a term's weight or temperature, which acts on the term and not in its place."""
    distillation = course.settings.techniques.distillation
    term = None if distillation is None else getattr(distillation, part)
    if term is None or (end := getattr(term, f"{key}_end")) is None:
        return None
    start, idle = getattr(term, key), _weightless(term)
    if end == start:
        idle = f"it equals `{key}`"
    elif course.batches * course.settings.train.epochs == 1:
        idle = "a run of one batch has no schedule"
    path = f"techniques.distillation.{part}.{key}_end"
    return Lever(
        path,
        {path: None},
        _taught_by(term, course),
        f"another kd_{part}_loss than with a {key} that stays; the other losses stay",
        signs.lesson_changes(f"kd_{part}_loss", end > start if key == "weight" else None),
        idle,
        hint=f"the {key} stays what it is at the first step",
    )


def _several_teachers(course: Course) -> Lever | None:
    """Those after the first: one teacher is no lever beside the terms that ask it."""
    distillation = course.settings.techniques.distillation
    if distillation is None or len(distillation.teachers) < 2:
        return None
    first = distillation.teachers[0].model_dump(mode="json")
    words = "another distillation loss than from the first teacher alone; the other losses stay"
    return _teachers_lever("", [first], words, course)


def _one_of_many(place: int, course: Course) -> Lever | None:
    """One of more than two: where several are taken away at once, one of them may be asked for all."""
    distillation = course.settings.techniques.distillation
    if distillation is None or not max(place, 2) < len(distillation.teachers):
        return None
    others = [one.model_dump(mode="json") for at, one in enumerate(distillation.teachers) if at != place]
    words = "another distillation loss than from the other teachers; the other losses stay"
    return _teachers_lever(f".{place}", others, words, course)


def _teachers_lever(part: str, left: list[dict[str, Any]], words: str, course: Course) -> Lever:
    path, distillation = "techniques.distillation.teachers", course.settings.techniques.distillation
    assert distillation is not None
    acting = any(_weightless(term) is None for term in distillation.terms.values())
    idle = None if acting else "no term has any weight"
    return Lever(f"{path}{part}", {path: left}, course.steps(), words, signs.lesson_changes(), idle)


def _term(part: str, course: Course) -> Any:
    """A term that has some weight; None where there is none."""
    distillation = course.settings.techniques.distillation
    term = None if distillation is None else getattr(distillation, part)
    return None if term is None or _weightless(term) else term


def _weight(part: str, course: Course) -> Lever | None:
    """Beside 1: a weight that is lost leaves a term that acts."""
    term, path, loss = _term(part, course), f"techniques.distillation.{part}.weight", f"kd_{part}_loss"
    if term is None or term.weight == 1:
        return None
    if term.weight_end is None:
        words, sign = f"{term.weight:g} times the {loss} on the same batch", signs.term_scales((loss,), term.weight)
    else:
        more = term.weight > 1
        words = f"a {'larger' if more else 'smaller'} {loss} than from a weight that begins at 1"
        sign = signs.lesson_changes(loss, more)
    return Lever(path, {path: 1.0}, _taught_by(term, course), words, sign)


def _temperature(part: str, course: Course) -> Lever | None:
    """Beside 1, which leaves scores and bins as they are."""
    term, path, loss = _term(part, course), f"techniques.distillation.{part}.temperature", f"kd_{part}_loss"
    if term is None or term.temperature in (None, 1):
        return None
    words = f"another {loss} than at temperature 1, by more than its square; the other losses stay"
    # Losses are multiplied by T^2, so that gradients stay as large: that alone is no temperature.
    square = term.temperature**2 if term.temperature_end is None else None
    return Lever(path, {path: 1.0}, _taught_by(term, course), words, signs.lesson_changes(loss, not_by=square))


def _features_loss(course: Course) -> Lever | None:
    """Another comparison of the neck maps stands in: none of them says nothing."""
    term, path = _term("features", course), "techniques.distillation.features"
    if term is None:
        return None
    other = "cwd" if term.loss == "mse" else "mse"
    zero: dict[str, str | None] = {f"{path}.loss": other}
    if term.loss == "cwd":
        zero |= {f"{path}.temperature": None, f"{path}.temperature_end": None}
    words, sign = f"another kd_features_loss than by {other}", signs.lesson_changes("kd_features_loss")
    return Lever(f"{path}.loss", zero, _taught_by(term, course), words, sign)


def _shares(course: Course) -> Lever | None:
    """The weights of several teachers, where they are not equal."""
    distillation = course.settings.techniques.distillation
    if distillation is None or len({teacher.weight for teacher in distillation.teachers}) == 1:
        return None
    equal = [teacher.model_dump(mode="json") | {"weight": 1.0} for teacher in distillation.teachers]
    words = "other distillation losses than from teachers that count alike; the other losses stay"
    return _teachers_lever(".weight", equal, words, course)


_TERMS = ("logits", "box", "features")

DISTILLATION_LEVERS: dict[str, Entry] = {
    "techniques.distillation.teachers": _several_teachers,
    **{f"techniques.distillation.teachers.{place}": partial(_one_of_many, place) for place in range(1, MOST_TEACHERS)},
    "techniques.distillation.teachers.weight": _shares,
    **{f"techniques.distillation.{part}": partial(_distillation, part) for part in _TERMS},
    "techniques.distillation.features.loss": _features_loss,
    **{f"techniques.distillation.{part}.weight": partial(_weight, part) for part in _TERMS},
    **{f"techniques.distillation.{part}.temperature": partial(_temperature, part) for part in _TERMS},
    **{
        f"techniques.distillation.{part}.{key}_end": partial(_distillation_end, part, key)
        for part in _TERMS
        for key in ("weight", "temperature")
    },
}
