"""When distillation acts: the teachers see exactly the batch the student sees, and the criterion compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recipebox.errors import PlanConflict
from recipebox.recipe.technique_sections import Distillation
from recipebox.techniques.base import CriterionWrapper, Technique, TrainingContext, innermost, linear_schedule
from recipebox.techniques.distillation.box import box_loss
from recipebox.techniques.distillation.features import feature_loss
from recipebox.techniques.distillation.lesson import Lesson, make_lessons
from recipebox.techniques.distillation.logits import logits_loss, teacher_mass
from recipebox.techniques.distillation.projector import make_projector, neck_channels
from recipebox.techniques.distillation.teacher import Teacher, branch

if TYPE_CHECKING:
    from recipebox.techniques.base import Criterion


class DistillationTechnique(Technique):
    """Adds kd_logits_loss, kd_box_loss and kd_features_loss to the training loss; each the weighted mean over teachers.

    Args:
        settings: the recipe's section.
        loads: makes each teacher on a device, in the recipe's order; called once, in `on_model`.
    """

    name = "distillation"

    def __init__(self, settings: Distillation, loads: Sequence[Callable[[torch.device], Teacher]]) -> None:
        self.settings = settings
        self._loads = loads
        self._context: TrainingContext | None = None
        self.teachers: list[Teacher] = []
        self.lessons: tuple[Lesson, ...] = ()
        self._asked: tuple[torch.Tensor, list[dict[str, Any]]] | None = None

    def on_model(self, model: Any) -> None:
        """Load the teachers; with `features`, add a projector for each to the model: `recipebox_projector`."""
        device = next(model.parameters()).device
        self.teachers = [load(device) for load in self._loads]
        for teacher in self.teachers:
            self._check(model.model[-1], teacher)
        features = self.settings.features
        if features is not None:
            own = neck_channels(model)
            model.recipebox_projector = nn.ModuleList(
                make_projector(features.loss, own, teacher.neck_channels) for teacher in self.teachers
            )

    def _check(self, head: Any, teacher: Teacher) -> None:
        """Raises PlanConflict when teacher and student cannot be compared."""
        strides = tuple(int(s) for s in head.stride)
        if teacher.strides != strides:
            raise PlanConflict(
                f"teacher strides {teacher.strides} and student strides {strides} differ: "
                "their cells do not match. Choose a teacher of the same kind of head."
            )
        if self.settings.box is not None and (head.reg_max == 1 or teacher.reg_max != head.reg_max):
            raise PlanConflict(
                f"box distillation compares distributions over DFL bins; the student has {head.reg_max} and the "
                f"teacher {teacher.reg_max} bins an edge (1 means a plain distance, as in YOLO26: there is no "
                "distribution to learn from). Remove techniques.distillation.box."
            )

    def on_setup(self, context: TrainingContext) -> None:
        """Raises PlanConflict when a teacher knows none of the student's classes."""
        self._context = context
        for teacher in self.teachers:
            teacher.move(context.device)
        weights = [teacher.weight for teacher in self.settings.teachers]
        self.lessons = make_lessons(self.teachers, weights, context.names, context.device)

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        return DistillationCriterion(criterion, self)

    def scheduled(self, key: str) -> dict[str, float]:
        """`weight` or `temperature` of each term at this step, on a line to its `_end`."""
        assert self._context is not None
        step, total = self._context.step, self._context.total_steps
        found = {}
        for name, term in self.settings.terms.items():
            start = getattr(term, key)
            if start is not None:
                found[name] = linear_schedule(start, getattr(term, f"{key}_end"), step, total)
        return found

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        """Ask the teachers before the student fills the memory with activations: 10 % of a step's time on a CPU, and
        on a GPU a lower peak."""
        images = batch["img"]
        self._asked = images, self._ask(images)

    def answers(self, images: torch.Tensor) -> list[dict[str, Any]]:
        """What each teacher says to exactly these images, asked before the student or else now."""
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and asked[0] is images else self._ask(images)

    def _ask(self, images: torch.Tensor) -> list[dict[str, Any]]:
        answers = [teacher(images) for teacher in self.teachers]
        if self.settings.features is None:  # the largest part of an answer, kept while the student computes
            for answer in answers:
                for part in (answer, *answer.values()):
                    if isinstance(part, dict):
                        part.pop("feats", None)
        return answers

    def on_step(self, context: TrainingContext) -> None:
        for key in ("weight", "temperature"):
            for name, value in self.scheduled(key).items():
                context.record(f"distillation/{name}_{key}", value)

    def head_losses(
        self, student: Mapping[str, Any], answers: Sequence[Mapping[str, Any] | None]
    ) -> dict[str, torch.Tensor]:
        """The weighted losses of one branch of the head, per image: `logits` and `box`.

        The mean is over the teachers that have this branch; empty where none has.
        """
        heard = [(lesson, answer) for lesson, answer in zip(self.lessons, answers, strict=True) if answer is not None]
        whole = sum(lesson.share for lesson, _ in heard)
        weights, temperatures = self.scheduled("weight"), self.scheduled("temperature")
        out: dict[str, torch.Tensor] = {}
        for lesson, answer in heard:
            logits, part = lesson.of_teacher(answer["scores"]), lesson.share / whole
            if self.settings.logits is not None:
                own = lesson.of_student(student["scores"])
                value = logits_loss(own, logits, temperatures["logits"], teacher_mass(logits))
                out["logits"] = out.get("logits", 0.0) + part * weights["logits"] * value
            if self.settings.box is not None:
                value = box_loss(student["boxes"], answer["boxes"], logits, temperatures["box"])
                out["box"] = out.get("box", 0.0) + part * weights["box"] * value
        return out

    def neck_loss(self, student: Sequence[torch.Tensor], answers: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """The weighted loss of the neck maps, per image.

        Args:
            student: (B, C, H, W) a level.
            answers: the teachers'.
        """
        assert self.settings.features is not None and self._context is not None
        temperature = self.scheduled("temperature").get("features", 1.0)
        values = []
        for lesson, projector, answer in zip(
            self.lessons, self._context.model.recipebox_projector, answers, strict=True
        ):
            projected = [project(maps) for project, maps in zip(projector, student, strict=True)]
            dense = branch(answer, "one2many")
            assert dense is not None
            logits = lesson.neck_logits(answer)
            loss = feature_loss(self.settings.features.loss, projected, dense["feats"], logits, temperature)
            values.append(lesson.share * loss)
        return self.scheduled("weight")["features"] * torch.stack(values).sum()


class DistillationCriterion(CriterionWrapper):
    """The inner criterion plus the distillation losses; on predictions in evaluation form the inner one alone."""

    def __init__(self, inner: Criterion, technique: DistillationTechnique) -> None:
        super().__init__(inner)
        self._technique = technique

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, items = self.inner(preds, batch)
        if isinstance(preds, tuple):  # evaluation form: there is nothing to learn
            return loss, items
        answers = self._technique.answers(batch["img"])
        added = self._head(preds, answers)
        if self._technique.settings.features is not None:
            dense = branch(preds, "one2many")
            assert dense is not None
            # Once, whatever the branches: they share the neck, and the one-to-one branch sees it detached.
            added["features"] = self._technique.neck_loss(dense["feats"], answers)
        # At a weight of 0 no gradient at all: one of zeros would still be counted when the norm is summed for clipping,
        # in another order, and would no longer be stock to the last bit.
        weights = self._technique.scheduled("weight")
        total = torch.stack([value if weights[name] else value.detach() for name, value in added.items()]).sum()
        extra = {f"kd_{name}_loss": value.detach() for name, value in added.items()}
        loss = torch.cat([loss, total[None] * batch["img"].shape[0]])
        return loss, {**items, **extra, "kd_loss": total.detach()}

    def _head(self, student: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Each branch of an NMS-free head learns from its counterpart, weighted like its own loss.

        A dense teacher has no counterpart of the one-to-one branch, whose task is to stay silent on all but one anchor
        an object; that branch then learns from labels alone.
        """
        if "one2many" not in student:
            return self._technique.head_losses(student, [branch(answer, "one2many") for answer in answers])
        stock = innermost(self)
        total: dict[str, torch.Tensor] = {}
        for name, gain in (("one2many", stock.o2m), ("one2one", stock.o2o)):
            theirs = [branch(answer, name) for answer in answers]
            for part, value in self._technique.head_losses(student[name], theirs).items():
                total[part] = total.get(part, 0.0) + gain * value
        return total
