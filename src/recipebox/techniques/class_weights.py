"""Weights of classes and of positives in the class loss. Card: docs/techniques/class_weights.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from recipebox.data.balance import alike, class_counts, class_weights
from recipebox.errors import PlanConflict
from recipebox.recipe.class_conflicts import (
    nobody_to_act_on,
    nothing_to_balance,
    one_class_balance,
    unknown_classes,
)
from recipebox.recipe.class_sections import ClassWeights
from recipebox.techniques.base import Technique, TrainingContext
from recipebox.techniques.class_loss import ClassLossWrapper, inner_losses

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.techniques.base import Criterion
    from recipebox.techniques.class_loss import Bce


def positive_extra(logits: torch.Tensor, targets: torch.Tensor, pos_weight: torch.Tensor | float) -> torch.Tensor:
    """What torch's BCEWithLogitsLoss(pos_weight=p) adds to the plain one: -(p - 1) t log sigmoid(x).

    Args:
        logits: (..., nc).
        targets: the same shape, 0 to 1; 0 adds nothing.
        pos_weight: (nc,) or one for all.
    """
    return (pos_weight - 1.0) * targets * torch.nn.functional.softplus(-logits)


class ClassWeightsTechnique(Technique):
    """Ultralytics' own `cls_pw` where that is the weight, and its place in the loss for other weights.

    Ultralytics weighs the validation loss too. Here that stays plain, as with every lever, so that runs compare: the
    attribute it reads the weights from is taken off the networks once the training criterion is made.
    """

    name = "class_weights"

    def __init__(self, settings: ClassWeights) -> None:
        self.settings = settings
        self._names: tuple[str, ...] = ()
        self._weights: torch.Tensor | None = None
        self._positive: torch.Tensor | None = None
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def train_args(self) -> dict[str, Any]:
        power = self.settings.frequency_power
        return {} if power is None else {"cls_pw": power}

    def check(self, detection_set: DetectionSet) -> None:
        """Raises PlanConflict when the weights of all classes would be 1, or the classes of `pos_weight` are none of
        the data set's, or have no box in it."""
        names, settings = detection_set.names, self.settings
        if settings.by is not None and len(names) == 1:
            raise PlanConflict(one_class_balance(self.name, names[0]))
        counts = class_counts(detection_set.train, len(names))
        boxes = dict(zip(names, counts.tolist(), strict=True))
        if settings.by is not None and alike(
            class_weights(counts, settings.by, beta=settings.beta, power=settings.power)
        ):
            raise PlanConflict(nothing_to_balance(self.name, settings.by, settings.beta, boxes))
        if isinstance(settings.pos_weight, dict):
            problems = list(unknown_classes(settings.pos_weight, names))
            if problems:
                raise PlanConflict("`class_weights.pos_weight`: " + " ".join(problems))
            acting = [name for name, factor in settings.pos_weight.items() if factor != 1]
            if nobody := nobody_to_act_on("class_weights.pos_weight", acting, boxes, len(detection_set.train)):
                raise PlanConflict(nobody)

    def on_setup(self, context: TrainingContext) -> None:
        """Raises PlanConflict as `check`."""
        self.check(context.detection_set)
        self._names, settings = context.names, self.settings
        counts = class_counts(context.detection_set.train, len(self._names))
        for network in (context.model, context.ema.ema):
            vars(network).pop("class_weights", None)
        if settings.by == "effective_number":
            weights = class_weights(counts, settings.by, beta=settings.beta)
            self._weights = torch.tensor(weights, dtype=torch.float32, device=context.device)
        if isinstance(settings.pos_weight, dict):
            each = [settings.pos_weight.get(name, 1.0) for name in self._names]
            self._positive = torch.tensor(each, device=context.device)
        elif settings.pos_weight is not None:
            self._positive = torch.tensor([settings.pos_weight] * len(self._names), device=context.device)

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        losses = inner_losses(criterion)
        if self._weights is not None:
            for loss in losses:
                loss.class_weights = self._weights.view(1, 1, -1)
        elif self.settings.by is not None:
            self._weights = losses[0].class_weights.flatten()
        return criterion if self._positive is None else ClassLossWrapper(criterion, self._positives_weighed)

    def _positives_weighed(self, bce: Bce) -> Bce:
        assert self._positive is not None
        factor = self._positive
        counts = 1.0 if self._weights is None else self._weights  # what the criterion multiplies both with afterwards

        def weighed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            plain = bce(logits, targets)
            extra = positive_extra(logits, targets, factor)
            self._seen.append(((extra.detach() * counts).sum(), (plain.detach() * counts).sum()))
            return plain + extra

        return weighed

    def on_step(self, context: TrainingContext) -> None:
        if self._positive is not None:
            extra, plain = (sum(float(each[part]) for each in self._seen) for part in (0, 1))
            context.record("class_weights/positive_extra", extra / plain if plain else 0.0)
            self._seen = []

    def on_epoch_end(self, context: TrainingContext) -> None:
        if self._weights is not None:
            for name, weight in zip(self._names, self._weights.tolist(), strict=True):
                context.record(f"class_weights/weight_{name}", weight)
