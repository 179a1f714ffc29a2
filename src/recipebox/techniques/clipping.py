"""The gradient's largest norm at a step. Card: docs/techniques/clipping.md."""

from __future__ import annotations

from recipebox.recipe.technique_sections import Clipping
from recipebox.techniques.base import Technique, TrainingContext


def clipped_norm(norm: float, max_norm: float | None) -> float:
    """The norm a gradient of norm `norm` has after clipping: norm * min(1, max_norm / (norm + 1e-6)); None: as it was.

    Source: Pascanu et al. 2013, section 3.2; the 1e-6 is that of `torch.nn.utils.clip_grad_norm_`, which does it.
    """
    return norm if max_norm is None else norm * min(1.0, max_norm / (norm + 1e-6))


class ClippingTechnique(Technique):
    """Sets the norm that the trainer clips by at a step; stock is 10."""

    name = "clipping"

    def __init__(self, settings: Clipping) -> None:
        self.max_norm = settings.max_norm or None

    def on_setup(self, context: TrainingContext) -> None:
        context.clip_norm = self.max_norm

    def on_step(self, context: TrainingContext) -> None:
        norm = context.gradient_norm
        if norm is not None:  # the batch ended with an optimizer step
            context.record("clipping/norm", norm)
            context.record("clipping/clipped_norm", clipped_norm(norm, self.max_norm))
