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
    student, teacher = student_logits.float() / temperature, teacher_logits.float() / temperature
    target = teacher.sigmoid()
    disagreement = (student.detach().sigmoid() - target).abs()
    # BCE(q, p) = softplus(student) - p * student, and H(p) is the same of the teacher: no logarithm, exact where equal.
    divergence = F.softplus(student) - F.softplus(teacher) + target * (teacher - student)
    return temperature**2 * (disagreement * divergence).sum() / mass
