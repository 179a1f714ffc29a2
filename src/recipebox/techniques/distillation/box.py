"""Localisation distillation over DFL bins. Card: docs/techniques/distillation-box.md."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Anchors where the teacher's best class scores less say nothing about a box and are left out.
SCORE_FLOOR = 0.05


def box_loss(
    student_bins: torch.Tensor, teacher_bins: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL divergence between the teacher's and the student's edge distributions, weighted by the teacher's score.

        loss = T^2 * sum_i s_i * mean_sides KL(softmax(teacher_i / T) || softmax(student_i / T)) / sum_i s_i

    over anchors i with s_i, the teacher's top class score, above SCORE_FLOOR. 0 where there are none.

    Args:
        student_bins: (B, 4 * reg_max, A) DFL logits; computed in float32.
        teacher_bins: (B, 4 * reg_max, A), without gradient.
        teacher_logits: (B, nc, A).
        temperature: T > 0.

    Source: Zheng et al., "Localization Distillation for Dense Object Detection" (CVPR 2022), on the distillation of
    edge distributions.
    """
    score = teacher_logits.float().sigmoid().amax(dim=1).flatten()
    chosen = (score > SCORE_FLOOR).nonzero().flatten()
    weight = score[chosen]
    student = _edges(student_bins, chosen, temperature)
    teacher = _edges(teacher_bins, chosen, temperature)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * (weight * divergence.mean(dim=-1)).sum() / weight.sum().clamp(min=1e-9)


def _edges(bins: torch.Tensor, chosen: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log probabilities (n, 4, reg_max) of the chosen anchors.

    Whole rows by index_select: on a CPU the gradient of indexing with (image, :, anchor) costs 20 times as much.
    """
    reg_max = bins.shape[1] // 4
    rows = bins.transpose(1, 2).reshape(-1, 4 * reg_max).index_select(0, chosen)
    return (rows.float().view(-1, 4, reg_max) / temperature).log_softmax(dim=-1)
