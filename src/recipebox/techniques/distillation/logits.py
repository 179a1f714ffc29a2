"""Class-logit distillation for sigmoid heads. Card: docs/techniques/distillation-logits.md."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def teacher_mass(teacher_logits: torch.Tensor) -> torch.Tensor:
    """How much the teacher sees: the sum over anchors of its top class score, at least 1.

    Args:
        teacher_logits: (B, nc, A).
    """
    return teacher_logits.sigmoid().amax(dim=1).sum().clamp(min=1.0)


def logits_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float, mass: torch.Tensor
) -> torch.Tensor:
    """Per-class binary cross entropy on the teacher's sigmoid, weighted by the disagreement.

    With p = sigmoid(teacher / T), q = sigmoid(student / T) and w = |q - p| (no gradient through w):

        loss = T^2 * sum w * (BCE(q, p) - H(p)) / mass

    H(p) is the teacher's own entropy: it makes the loss 0 where both agree and leaves the gradient, T w (q - p) / mass,
    as it is. A softmax over classes would see nothing with one class, and is blind to a shift common to all classes.

    Args:
        student_logits: (B, nc, A), any float type; computed in float32.
        teacher_logits: (B, nc, A), without gradient.
        temperature: T > 0.
        mass: the normaliser, see `teacher_mass`.

    Returns:
        A scalar per image of the batch's mass, not multiplied by the batch size.

    Source: Yang et al., "Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection"
    (ICCV 2023), on binary classification distillation with the disagreement as weight.
    """
    student = student_logits.float() / temperature
    target = (teacher_logits.float() / temperature).sigmoid()
    with torch.no_grad():
        disagreement = (student.sigmoid() - target).abs()
        constant = (disagreement * _entropy(target)).sum()
    cross_entropy = F.binary_cross_entropy_with_logits(student, target, weight=disagreement, reduction="sum")
    return temperature**2 * (cross_entropy - constant) / mass


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
