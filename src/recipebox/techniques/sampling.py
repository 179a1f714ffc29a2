"""A weighted image sampler. Card: docs/techniques/sampling.md. The order itself is made in data/order.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recipebox.data.balance import alike, class_counts, class_shares, class_weights, image_weights, repeat_factors
from recipebox.data.detection_set import DetectionSet, Split
from recipebox.errors import PlanConflict
from recipebox.recipe.class_conflicts import nothing_to_balance, one_class_balance
from recipebox.recipe.class_sections import Sampling
from recipebox.techniques.base import Technique, TrainingContext

if TYPE_CHECKING:
    from recipebox.data.views import TrainingViews


class SamplingTechnique(Technique):
    """Says how often each image is drawn, and counts what the student really saw."""

    name = "sampling"

    def __init__(self, settings: Sampling) -> None:
        self.settings = settings
        self._seen: torch.Tensor | None = None
        self._files: set[str] = set()
        self._classes = self._images = 0

    def check(self, detection_set: DetectionSet) -> None:
        """Raises PlanConflict when there is one class to balance, none is rare enough for the threshold to act, or all
        images would be drawn alike."""
        self._weights_of(detection_set.train, detection_set.names)

    def on_views(self, views: TrainingViews) -> None:
        """Raises PlanConflict as `check`."""
        names = tuple(views.data["names"].values())
        self._classes, self._images = len(names), len(views.split)
        weights = self._weights_of(views.split, names)
        views.draw_by(weights)

    def _weights_of(self, split: Split, names: tuple[str, ...]) -> NDArray[np.float64]:
        if self.settings.by != "repeat_factor" and len(names) == 1:
            raise PlanConflict(one_class_balance(self.name, names[0]))
        weights = self.weights(split, len(names))
        if alike(weights):
            boxes = dict(zip(names, class_counts(split, len(names)).tolist(), strict=True))
            raise PlanConflict(nothing_to_balance(self.name, self.settings.by, self.settings.beta, boxes))
        return weights

    def weights(self, split: Split, classes: int) -> NDArray[np.float64]:
        """How often each image is drawn beside the others, (images,)."""
        settings = self.settings
        if settings.by != "repeat_factor":
            each = class_weights(class_counts(split, classes), settings.by, beta=settings.beta)
            return image_weights(split, each)
        assert settings.threshold is not None
        weights = repeat_factors(split, classes, settings.threshold)
        if (weights == 1).all():
            shares = class_shares(split, classes)
            raise PlanConflict(
                f"`sampling` with `threshold: {settings.threshold:g}` changes nothing: every class is in at least "
                f"{shares[shares > 0].min(initial=1.0):.2f} of the training images. Take a threshold above that"
                + (", or `by: inverse_sqrt`." if classes > 1 else ".")
            )
        return weights

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        counts = torch.bincount(batch["cls"].reshape(-1).long(), minlength=self._classes)
        self._seen = counts if self._seen is None else self._seen + counts
        self._files.update(batch["im_file"])

    def on_epoch_end(self, context: TrainingContext) -> None:
        assert self._seen is not None
        counts = self._seen.tolist()
        for name, count in zip(context.names, counts, strict=True):
            context.record(f"sampling/share_{name}", count / max(1, sum(counts)))
        context.record("sampling/images", len(self._files) / self._images)
        self._seen, self._files = None, set()
