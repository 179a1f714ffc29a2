"""Neck-map distillation in four forms. Card: docs/techniques/distillation-features.md.

Each compares one level's maps, student and teacher both (B, C, H, W) with the same C, and gives a scalar that is 0
where they agree in the loss's own sense. `feature_loss` adds the levels up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

# Keeps a channel that is the same everywhere from being divided by 0: its correlation is then 0.
_SMALLEST_VARIANCE = 1e-6


def feature_loss(
    loss: str,
    students: Sequence[torch.Tensor],
    teachers: Sequence[torch.Tensor],
    teacher_logits: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """The sum over levels of one of the losses below.

    Args:
        loss: `cwd`, `pkd`, `mse` or `native`.
        students: the student's neck maps, projected where needed: (B, C, H, W) a level; computed in float32.
        teachers: the teacher's, without gradient.
        teacher_logits: (B, nc, A) with A the cells of all levels in their order; `native` weighs by them.
        temperature: T > 0; used by `cwd`.
    """
    # Rows of cells for both: the teacher's maps lie channels last, and mixing layouts is slow.
    pairs = [
        (student.float().flatten(2), teacher.float().flatten(2))
        for student, teacher in zip(students, teachers, strict=True)
    ]
    if loss == "cwd":
        values = [cwd_loss(student, teacher, temperature) for student, teacher in pairs]
    elif loss == "pkd":
        values = [pkd_loss(student, teacher) for student, teacher in pairs]
    elif loss == "mse":
        values = [mse_loss(student, teacher) for student, teacher in pairs]
    else:
        scores = torch.split(teacher_logits.float(), [student.shape[2] for student, _ in pairs], dim=2)
        values = [native_loss(*pair, logits) for pair, logits in zip(pairs, scores, strict=True)]
    return torch.stack(values).sum()


def cwd_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Channel-wise distillation: where in the image each channel looks.

        loss = T^2 / (B C) * sum_bc KL(softmax_cells(teacher_bc / T) || softmax_cells(student_bc / T))

    Args:
        student: (B, C, cells).
        teacher: (B, C, cells), without gradient.
        temperature: T > 0.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021), section 3.2.
    """
    ours = (student / temperature).log_softmax(dim=2)
    theirs = (teacher / temperature).log_softmax(dim=2)
    divergence = F.kl_div(ours, theirs, reduction="sum", log_target=True)
    return temperature**2 * divergence / (student.shape[0] * student.shape[1])


def pkd_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 minus the Pearson correlation of each channel over all cells of the batch, mean over channels.

    That is half the mean squared difference of maps normalised to mean 0 and variance 1.

    Args:
        student: (B, C, cells).
        teacher: (B, C, cells), without gradient.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient"
    (NeurIPS 2022), section 3.2.
    """
    variance, mean = torch.var_mean(teacher, dim=(0, 2), correction=0, keepdim=True)
    normal = (teacher - mean) * (variance + _SMALLEST_VARIANCE).rsqrt()
    # The teacher's mean is 0 now, so the student's drops out: no normalised copy of its maps, nor their gradient.
    covariance = (student * normal).mean(dim=(0, 2))
    own_variance = student.var(dim=(0, 2), correction=0)
    return 1.0 - (covariance * (own_variance + _SMALLEST_VARIANCE).rsqrt()).mean()


def mse_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean squared difference.

    Args:
        student: (B, C, cells).
        teacher: (B, C, cells), without gradient.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets" (ICLR 2015), section 2.2; without their factor 1/2, and
    as a mean instead of a sum over elements.
    """
    return F.mse_loss(student, teacher)


def native_loss(student: torch.Tensor, teacher: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """Ultralytics' own: the squared difference weighted by the teacher's top class score in each cell.

        loss = sum_bc,cell s_b,cell (student - teacher)^2 / (C sum_b,cell s + 1e-9)

    Args:
        student: (B, C, cells).
        teacher: (B, C, cells), without gradient.
        teacher_logits: (B, nc, cells), the mean over the head's branches where it has two.

    Source: `ultralytics/nn/distill_model.py`, `DistillationModel.loss_sl2`, of Ultralytics 8.4. Equal to the last bit.
    """
    score = teacher_logits.sigmoid().amax(dim=1, keepdim=True)
    squared = F.mse_loss(student, teacher, reduction="none")
    return (squared * score).sum() / (score.sum() * student.shape[1] + 1e-9)
