"""Why this student cannot learn, or not from this teacher; and what of distillation would do nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from recipebox.recipe.head_conflicts import teacher_head_conflicts
from recipebox.recipe.lock import deciding_plan
from recipebox.recipe.plan_record import Plan
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import BoxDistillation, FeatureDistillation, LogitsDistillation
from recipebox.recipe.yaml_nodes import Document


def distillation_conflicts(settings: Settings, document: Document) -> Iterator[str]:
    """Why the terms of a student cannot act; one sentence each."""
    distillation = settings.techniques.distillation
    if distillation is None:
        return
    where = ("techniques", "distillation")
    if not distillation.terms:
        yield (
            f"{document.origin(where)}: `distillation` has none of `logits`, `box` and `features`: the teacher would "
            "run and change nothing. Add one of them, or take `distillation` out (`distillation: null`)."
        )
    if distillation.box is not None and dfl_free(settings):
        yield f"{document.origin((*where, 'box'))}: {_no_distribution('the student', settings)}"
    features = distillation.features
    if features is not None and features.loss != "cwd":
        for key in ("temperature", "temperature_end"):
            if getattr(features, key) is not None:
                yield (
                    f"{document.origin((*where, 'features', key))}: `distillation.features.{key}` with `loss: "
                    f"{features.loss}`, which has no softmax to soften. Take it out (`{key}: null`), or take "
                    "`loss: cwd`."
                )


Classes = tuple[tuple[str, ...] | None, tuple[str, ...] | None]
"""The names that (student, teacher) know; None where they are not known."""


def teacher_conflicts(
    student: Settings, teacher: Plan, classes: Classes, fell_back: bool, document: Document
) -> Iterator[str]:
    """Why this student cannot learn from this teacher.

    Args:
        student: the student's settings, everything applied.
        teacher: the teacher's plan.
        classes: of both.
        fell_back: whether the student fell back from the data set that was asked for.
        document: the student's settings as plain values.
    """
    distillation = student.techniques.distillation
    where = f"{document.origin(('techniques', 'distillation', 'teachers'))}: "
    name, theirs = teacher.name, teacher.settings
    if distillation is not None and distillation.box is not None and dfl_free(theirs):
        yield f"{document.origin(('techniques', 'distillation', 'box'))}: {_no_distribution('the teacher', theirs)}"
    yield from teacher_head_conflicts(student, theirs, name, where)
    if student.train.imgsz != theirs.train.imgsz:
        yield (
            f"{where}the teacher {name} is trained at {theirs.train.imgsz} px and the student at "
            f"{student.train.imgsz}: the teacher sees the student's batch, at a size that it was not trained for. "
            "Give both the same `train.imgsz`."
        )
    if teacher.run is None and fell_back != any(words.startswith("data:") for words in teacher.fallbacks):
        yield (
            f"{where}the student would train on {student.data.dataset} and the teacher {name} on "
            f"{theirs.data.dataset}, because only one of the two recipes may fall back. Give both "
            "the same `data.fallback`."
        )
        return
    mine, known = classes
    if mine is not None and known is not None and not set(mine) & set(known):
        yield (
            f"{where}the teacher {name} knows the classes {', '.join(known)} ({theirs.data.dataset}), the "
            f"student {', '.join(mine)} ({student.data.dataset}): no class of that name is common to both, so there is "
            "nothing to distil. Name them alike, or choose another teacher."
        )


def partly_taught(
    student: Settings, names: tuple[str, ...] | None, teachers: Sequence[tuple[str, tuple[str, ...] | None]]
) -> Iterator[str]:
    """Which classes are distilled, where a teacher does not know them all.

    Args:
        student: the student's settings.
        names: its classes, None where they are not known.
        teachers: (name, classes) of each.
    """
    for place, (teacher, known) in enumerate(teachers):
        if names is None or known is None or set(names) <= set(known):
            continue
        others = {name for _, theirs in (*teachers[:place], *teachers[place + 1 :]) for name in theirs or ()}
        taught, rest = [name for name in names if name in known], [name for name in names if name not in known]
        elsewhere, alone = [name for name in rest if name in others], [name for name in rest if name not in others]
        yield (
            f"the teacher {teacher} knows {len(taught)} of {len(names)} classes: {', '.join(taught)} are distilled"
            + (f", {', '.join(elsewhere)} left to the other teachers" if elsewhere else "")
            + (f", {', '.join(alone)} learned from labels alone" if alone else "")
            + "."
        )
        distillation = student.techniques.distillation
        if distillation is not None and distillation.features is not None and distillation.features.loss != "native":
            yield (
                f"`distillation.features` with `loss: {distillation.features.loss}` compares whole neck maps, and in "
                f"those of the teacher {teacher} {', '.join(rest)} look like background. `loss: native` compares only "
                "where the teacher sees a class that both know."
            )


def twin_teachers(teachers: Sequence[Plan], document: Document) -> Iterator[str]:
    """Two teachers that would be one and the same run."""
    seen: dict[str, str] = {}
    for teacher in teachers:
        decides = json.dumps(deciding_plan(teacher), sort_keys=True)
        if decides in seen:
            yield (
                f"{document.origin(('techniques', 'distillation', 'teachers'))}: the teachers {seen[decides]} and "
                f"{teacher.name} are one and the same run, which would be asked twice. Name it once, with the sum of "
                "the weights; or train a second one from another seed: a recipe that `extends` it with "
                "`train: {seed: ...}`."
            )
        seen.setdefault(decides, teacher.name)


def idle_distillation(settings: Settings, document: Document) -> Iterator[str]:
    """Terms that are legal and do nothing, or not what they seem to; one sentence each."""
    distillation = settings.techniques.distillation
    written = set(document.origins)
    for name, term in distillation.terms.items() if distillation is not None else ():
        yield from _idle_term(name, term, ("techniques", "distillation", name, "weight") in written)


def dfl_free(settings: Settings) -> bool:
    """Whether the head predicts box edges directly, with no distribution over bins (YOLO26: reg_max is 1)."""
    return (settings.model.architecture or "").startswith("yolo26")


def _no_distribution(whose: str, settings: Settings) -> str:
    return (
        f"`distillation.box` compares distributions over box edges, and {whose}, {settings.model.architecture}, has "
        "none (YOLO26 predicts edges directly, reg_max is 1). Take `box` out (`box: null`) and keep `logits`, or take "
        "YOLOv8 or YOLO11."
    )


def _idle_term(
    name: str, term: LogitsDistillation | BoxDistillation | FeatureDistillation, weight_written: bool
) -> Iterator[str]:
    if term.weight == 0 and not term.weight_end:
        yield f"`distillation.{name}` does nothing: its weight is 0 from beginning to end."
    elif term.weight_end is not None and not weight_written:
        yield f"`distillation.{name}.weight_end` without `weight`: it starts from the default, {term.weight:g}."
    elif term.weight_end == term.weight:
        yield f"`distillation.{name}.weight_end` does nothing: it equals `weight`."
    if term.temperature_end is not None and term.temperature_end == term.temperature:
        yield f"`distillation.{name}.temperature_end` does nothing: it equals `temperature`."
