"""What one of several teachers is heard on: its share of every mean, and the classes that student and teacher know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recipebox.errors import PlanConflict
from recipebox.techniques.distillation.teacher import Teacher


@dataclass(frozen=True)
class Lesson:
    """A teacher beside its student.

    Attributes:
        teacher: it.
        share: its weight over the sum of all teachers' weights.
        columns: class columns (of the student, of the teacher) that go by the same name; None where all columns do, in
            the same order. Columns that only one of them knows take no part: to a teacher that never saw a class, its
            objects are background, and it must not push the student's score of them down.
    """

    teacher: Teacher
    share: float
    columns: tuple[torch.Tensor, torch.Tensor] | None

    def of_student(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, nc, A) -> (B, classes both know, A)."""
        return logits if self.columns is None else logits.index_select(1, self.columns[0])

    def of_teacher(self, logits: torch.Tensor) -> torch.Tensor:
        """The same classes of the teacher's logits, in the student's order."""
        return logits if self.columns is None else logits.index_select(1, self.columns[1])

    def neck_logits(self, answer: Mapping[str, Any]) -> torch.Tensor:
        """(B, classes both know, A): the teacher's class logits, mean over its head's branches, as Ultralytics' own
        distillation weighs by."""
        if "one2many" not in answer:
            return self.of_teacher(answer["scores"])
        return self.of_teacher((answer["one2many"]["scores"] + answer["one2one"]["scores"]) / 2)


def make_lessons(
    teachers: Sequence[Teacher], weights: Sequence[float], names: tuple[str, ...], device: torch.device
) -> tuple[Lesson, ...]:
    """One a teacher.

    Args:
        teachers: in the recipe's order.
        weights: theirs, above 0.
        names: the student's classes.

    Raises:
        PlanConflict: a teacher knows none of them.
    """
    lessons = []
    for teacher, weight in zip(teachers, weights, strict=True):
        shared = shared_columns(names, teacher.names)
        if not shared:
            raise PlanConflict(
                f"the teacher knows {', '.join(teacher.names)}, the student learns {', '.join(names)}: no class of "
                "that name is common to both: there is nothing to distil. Name them alike, or choose another teacher."
            )
        mine, theirs = (torch.tensor(columns, device=device) for columns in zip(*shared, strict=True))
        columns = None if names == teacher.names else (mine, theirs)
        lessons.append(Lesson(teacher, weight / sum(weights), columns))
    return tuple(lessons)


def shared_columns(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[int, int]]:
    """(student's column, teacher's column) of every class that both know by name, in the student's order."""
    theirs = {name: column for column, name in enumerate(teacher)}
    return [(column, theirs[name]) for column, name in enumerate(student) if name in theirs]
