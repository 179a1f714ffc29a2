"""Levers that exclude each other or do nothing here, each with its reason. One function a lever."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipebox.recipe.averaging_conflicts import average_conflicts, idle_averages
from recipebox.recipe.class_conflicts import idle_class_levers
from recipebox.recipe.estimate import Estimate
from recipebox.recipe.pixel_conflicts import idle_pixels, pixel_conflicts
from recipebox.recipe.schema import Settings
from recipebox.recipe.stability_conflicts import idle_stability, stability_conflicts
from recipebox.recipe.technique_sections import BoxDistillation, LogitsDistillation
from recipebox.recipe.yaml_nodes import Document


def technique_conflicts(settings: Settings, document: Document) -> Iterator[str]:
    """Why these levers cannot act together, or not on this network; one sentence each."""
    yield from _distillation(settings, document)
    yield from pixel_conflicts(settings, document)
    yield from average_conflicts(settings, document)
    yield from stability_conflicts(settings, document)


def idle_techniques(settings: Settings, document: Document, estimate: Estimate) -> Iterator[str]:
    """Levers that are legal and do nothing, or not what they seem to; one sentence each."""
    written = set(document.origins)

    def is_written(*path: str) -> bool:
        return path in written

    yield from idle_class_levers(settings)
    yield from idle_averages(settings, estimate)
    yield from idle_pixels(settings)
    yield from idle_stability(settings, estimate)
    distillation = settings.techniques.distillation
    if distillation is not None:
        for name, term in (("logits", distillation.logits), ("box", distillation.box)):
            if term is not None:
                yield from _idle_term(name, term, is_written("techniques", "distillation", name, "weight"))


def _distillation(settings: Settings, document: Document) -> Iterator[str]:
    def at(*path: str) -> str:
        return f"{document.origin(path)}: "

    distillation = settings.techniques.distillation
    if distillation is not None and distillation.logits is None and distillation.box is None:
        yield (
            f"{at('techniques', 'distillation')}`distillation` has neither `logits` nor `box`: the teacher would run "
            "and change nothing. Add one of them, or take `distillation` out (`distillation: null`)."
        )
    if distillation is not None and distillation.box is not None and dfl_free(settings):
        yield f"{at('techniques', 'distillation', 'box')}{_no_distribution('the student', settings)}"


def teacher_conflicts(
    student: Settings,
    teacher: Settings,
    teacher_name: str,
    names: Callable[[str], tuple[str, ...] | None],
    fell_back: tuple[bool, bool],
    document: Document,
) -> Iterator[str]:
    """Why this student cannot learn from this teacher.

    Args:
        student: the student's settings, everything applied.
        teacher: the teacher's.
        teacher_name: its recipe.
        names: data set -> its class names, None where they are not known.
        fell_back: whether (student, teacher) fell back from the data set that was asked for.
        document: the student's settings as plain values.
    """
    distillation = student.techniques.distillation
    where = f"{document.origin(('techniques', 'distillation', 'teachers'))}: "
    if distillation is not None and distillation.box is not None and dfl_free(teacher):
        yield f"{document.origin(('techniques', 'distillation', 'box'))}: {_no_distribution('the teacher', teacher)}"
    if student.train.imgsz != teacher.train.imgsz:
        yield (
            f"{where}the teacher {teacher_name} is trained at {teacher.train.imgsz} px and the student at "
            f"{student.train.imgsz}: the teacher sees the student's batch, and their anchors must be the same. "
            "Give both the same `train.imgsz`."
        )
    if fell_back[0] != fell_back[1]:
        yield (
            f"{where}the student would train on {student.data.dataset} and the teacher {teacher_name} on "
            f"{teacher.data.dataset}, because only one of the two recipes may fall back. Give both "
            "the same `data.fallback`."
        )
        return
    ours, theirs = names(student.data.dataset), names(teacher.data.dataset)
    if ours is not None and theirs is not None and ours != theirs:
        yield (
            f"{where}the teacher {teacher_name} knows the classes {', '.join(theirs)} ({teacher.data.dataset}), the "
            f"student {', '.join(ours)} ({student.data.dataset}): its answers would be taken for other classes. "
            "Train both on the same classes, in the same order."
        )


def dfl_free(settings: Settings) -> bool:
    """Whether the head predicts box edges directly, with no distribution over bins (YOLO26: reg_max is 1)."""
    return (settings.model.architecture or "").startswith("yolo26")


def _no_distribution(whose: str, settings: Settings) -> str:
    return (
        f"`distillation.box` compares distributions over box edges, and {whose}, {settings.model.architecture}, has "
        "none (YOLO26 predicts edges directly, reg_max is 1). Take `box` out (`box: null`) and keep `logits`, or take "
        "YOLOv8 or YOLO11."
    )


def _idle_term(name: str, term: LogitsDistillation | BoxDistillation, weight_written: bool) -> Iterator[str]:
    if term.weight == 0 and not term.weight_end:
        yield f"`distillation.{name}` does nothing: its weight is 0 from beginning to end."
    elif term.weight_end is not None and not weight_written:
        yield f"`distillation.{name}.weight_end` without `weight`: it starts from the default, {term.weight:g}."
    elif term.weight_end == term.weight:
        yield f"`distillation.{name}.weight_end` does nothing: it equals `weight`."
