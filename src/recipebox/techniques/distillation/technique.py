"""When distillation acts: the teacher sees exactly the batch the student sees, and the criterion compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from recipebox.errors import PlanConflict
from recipebox.recipe.technique_sections import Distillation
from recipebox.techniques.base import CriterionWrapper, Technique, TrainingContext, innermost, linear_schedule
from recipebox.techniques.distillation.box import box_loss
from recipebox.techniques.distillation.logits import logits_loss, teacher_mass
from recipebox.techniques.distillation.teacher import Teacher, branch

if TYPE_CHECKING:
    from recipebox.techniques.base import Criterion


class DistillationTechnique(Technique):
    """Adds kd_logits_loss and kd_box_loss to the training loss.

    Args:
        settings: the recipe's section.
        load: makes the teacher on a device; called once, in `on_setup`.
    """

    name = "distillation"

    def __init__(self, settings: Distillation, load: Callable[[torch.device], Teacher]) -> None:
        self.settings = settings
        self._load = load
        self._context: TrainingContext | None = None
        self.teacher: Teacher | None = None
        self._asked: tuple[torch.Tensor, dict[str, Any]] | None = None

    def on_setup(self, context: TrainingContext) -> None:
        """Raises PlanConflict when teacher and student cannot be compared."""
        self._context = context
        self.teacher = self._load(context.device)
        head = context.model.model[-1]
        if self.teacher.names != context.names:
            raise PlanConflict(
                f"the teacher knows {', '.join(self.teacher.names)}, the student learns {', '.join(context.names)}: "
                "distillation compares class by class. Train the teacher on the same data set."
            )
        strides = tuple(int(s) for s in head.stride)
        if self.teacher.strides != strides:
            raise PlanConflict(
                f"teacher strides {self.teacher.strides} and student strides {strides} differ: "
                "their cells do not match. Choose a teacher of the same kind of head."
            )
        if self.settings.box is not None and (head.reg_max == 1 or self.teacher.reg_max != head.reg_max):
            raise PlanConflict(
                f"box distillation compares distributions over DFL bins; the student has {head.reg_max} and the "
                f"teacher {self.teacher.reg_max} bins an edge (1 means a plain distance, as in YOLO26: there is no "
                "distribution to learn from). Remove techniques.distillation.box."
            )

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        return DistillationCriterion(criterion, self)

    def weights(self) -> dict[str, float]:
        """The weights in force at this step."""
        assert self._context is not None
        step, total = self._context.step, self._context.total_steps
        parts = {"logits": self.settings.logits, "box": self.settings.box}
        return {
            name: linear_schedule(part.weight, part.weight_end, step, total)
            for name, part in parts.items()
            if part is not None
        }

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        """Ask the teacher before the student fills the memory with activations: 10 % of a step's time on a CPU, and
        on a GPU a lower peak."""
        images = batch["img"]
        self._asked = images, self._ask(images)

    def answer(self, images: torch.Tensor) -> dict[str, Any]:
        """What the teacher says to exactly these images, asked before the student or else now."""
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and asked[0] is images else self._ask(images)

    def _ask(self, images: torch.Tensor) -> dict[str, Any]:
        assert self.teacher is not None
        return self.teacher(images)

    def on_step(self, context: TrainingContext) -> None:
        for name, weight in self.weights().items():
            context.record(f"distillation/{name}_weight", weight)

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The weighted losses of one branch, per image: `logits` and `box`."""
        weights, out = self.weights(), {}
        if self.settings.logits is not None:
            mass = teacher_mass(teacher["scores"])
            temperature = self.settings.logits.temperature
            value = logits_loss(student["scores"], teacher["scores"], temperature, mass)
            out["logits"] = weights["logits"] * value
        if self.settings.box is not None:
            value = box_loss(student["boxes"], teacher["boxes"], teacher["scores"], self.settings.box.temperature)
            out["box"] = weights["box"] * value
        return out


class DistillationCriterion(CriterionWrapper):
    """The inner criterion plus the distillation losses; on predictions in evaluation form the inner one alone."""

    def __init__(self, inner: Criterion, technique: DistillationTechnique) -> None:
        super().__init__(inner)
        self._technique = technique

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, items = self.inner(preds, batch)
        if isinstance(preds, tuple):  # evaluation form: there is nothing to learn
            return loss, items
        added = self._all_branches(preds, self._technique.answer(batch["img"]))
        total = torch.stack(list(added.values())).sum()
        extra = {f"kd_{name}_loss": value.detach() for name, value in added.items()}
        loss = torch.cat([loss, total[None] * batch["img"].shape[0]])
        return loss, {**items, **extra, "kd_loss": total.detach()}

    def _all_branches(self, student: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Each branch of an NMS-free head learns from its counterpart, weighted like its own loss.

        A dense teacher has no counterpart of the one-to-one branch, whose task is to stay silent on all but one anchor
        an object; that branch then learns from labels alone.
        """
        if "one2many" not in student:
            dense = branch(teacher, "one2many")
            assert dense is not None
            return self._technique.losses(student, dense)
        stock = innermost(self)
        total: dict[str, torch.Tensor] = {}
        for name, gain in (("one2many", stock.o2m), ("one2one", stock.o2o)):
            counterpart = branch(teacher, name)
            if counterpart is None:
                continue
            for part, value in self._technique.losses(student[name], counterpart).items():
                total[part] = total.get(part, 0.0) + gain * value
        return total
