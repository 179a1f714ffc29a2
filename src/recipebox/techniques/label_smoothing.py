"""Label smoothing of the class targets. Card: docs/techniques/label_smoothing.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from recipebox.data.balance import class_counts
from recipebox.errors import PlanConflict
from recipebox.recipe.class_conflicts import nobody_to_act_on, one_class_spread, unknown_classes
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.techniques.base import Technique, TrainingContext, linear_schedule
from recipebox.techniques.class_loss import ClassLossWrapper

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.techniques.base import Criterion
    from recipebox.techniques.class_loss import Bce


def smooth_targets(targets: torch.Tensor, epsilon: torch.Tensor | float, share: float) -> torch.Tensor:
    """t'_c = t_c (1 - eps_c) + share * sum_k eps_k t_k; background, where all t are 0, stays 0.

    Args:
        targets: (..., nc), the assigner's soft scores.
        epsilon: what is taken from a positive of each class, (nc,) or one for all.
        share: what each class is given of it. 1 / nc keeps the sum (Szegedy et al. 2016, section 7, on soft targets);
            1 / 2 smooths each class by itself, as binary labels are: t (1 - eps) + m eps / 2 with m the anchor's sum.
    """
    taken = targets * epsilon
    return targets - taken + share * taken.sum(-1, keepdim=True)


class SmoothedCrossEntropy:
    """The softmax form: the criterion of a classifier, in place of Ultralytics' `v8ClassificationLoss`.

    Args:
        epsilon: what is taken from a label of each class, (nc,) or one for all; it goes to all classes alike.
    """

    def __init__(self, epsilon: torch.Tensor | float) -> None:
        self.epsilon = epsilon

    def __call__(self, preds: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Logits (B, nc), in evaluation the second of a pair, and labels `cls` (B,) -> mean loss, and its items."""
        logits = preds[1] if isinstance(preds, (list, tuple)) else preds
        classes = logits.shape[1]
        one_hot = functional.one_hot(batch["cls"], classes).to(logits.dtype)
        epsilon = self.epsilon.to(one_hot) if isinstance(self.epsilon, torch.Tensor) else self.epsilon
        loss = functional.cross_entropy(logits, smooth_targets(one_hot, epsilon, 1 / classes))
        return loss, {"loss": loss.detach()}


class LabelSmoothingTechnique(Technique):
    """Smooths the targets of the training loss, as much as the schedule says at this step.

    Args:
        settings: the recipe's section.
        epochs: of the run; `off_last` counts from its end.
    """

    name = "label_smoothing"

    def __init__(self, settings: LabelSmoothing, epochs: int) -> None:
        self.settings = settings
        self._active = max(0, epochs - settings.off_last) / epochs
        self._context: TrainingContext | None = None
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def check(self, detection_set: DetectionSet) -> None:
        """Raises PlanConflict when the data set's classes do not fit, where the plan could not know them."""
        names, settings = detection_set.names, self.settings
        if len(names) == 1 and settings.form == "spread":
            raise PlanConflict(one_class_spread(names[0]))
        problems = list(unknown_classes(settings.per_class, names))
        if problems:
            raise PlanConflict("`label_smoothing.per_class`: " + " ".join(problems))
        boxes = dict(zip(names, class_counts(detection_set.train, len(names)).tolist(), strict=True))
        acting = [name for name in names if settings.epsilon_of(name)]
        if nobody := nobody_to_act_on(self.name, acting, boxes, len(detection_set.train)):
            raise PlanConflict(nobody)

    def on_setup(self, context: TrainingContext) -> None:
        """Raises PlanConflict as `check`."""
        self.check(context.detection_set)
        self._context, settings = context, self.settings
        each = [settings.epsilon_of(name) for name in context.names]
        self._epsilon = torch.tensor(each, device=context.device)
        self._share = 1 / len(context.names) if settings.form == "spread" else 0.5

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        return ClassLossWrapper(criterion, self._smoothed)

    def factor(self) -> float:
        """What the schedule leaves of epsilon at this step, from 1 down to 0."""
        assert self._context is not None
        active, step = round(self._context.total_steps * self._active), self._context.step
        if step > active:
            return 0.0
        return linear_schedule(1.0, 0.0 if self.settings.schedule == "linear" else None, step, active)

    def _smoothed(self, bce: Bce) -> Bce:
        factor = self.factor()

        def smoothed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            soft = smooth_targets(targets, (self._epsilon * factor).to(targets.dtype), self._share)
            self._seen.append(((targets - soft).clamp(min=0).sum(), (targets.amax(-1) > 0).sum()))
            return bce(logits, soft)

        return smoothed if factor > 0 else bce

    def on_step(self, context: TrainingContext) -> None:
        factor = self.factor()
        context.record("smoothing/epsilon", self.settings.epsilon * factor)
        for name, epsilon in self.settings.per_class.items():
            context.record(f"smoothing/epsilon_{name}", epsilon * factor)
        taken, anchors = (sum(float(each[part]) for each in self._seen) for part in (0, 1))
        context.record("smoothing/moved", taken / anchors if anchors else 0.0)
        self._seen = []
