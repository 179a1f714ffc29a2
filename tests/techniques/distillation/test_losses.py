"""The distillation losses against their formulas written out, and the properties they must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.techniques.distillation.box import SCORE_FLOOR, box_loss
from recipebox.techniques.distillation.logits import logits_loss, teacher_mass

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31), st.floats(0.5, 12))


def logits(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(3).float()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def written_out_logits_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    total = mass = 0.0
    for image in range(student.shape[0]):
        for anchor in range(student.shape[2]):
            mass += max(sigmoid(v) for v in teacher[image, :, anchor].tolist())
            for label in range(student.shape[1]):
                q = sigmoid(student[image, label, anchor].item() / temperature)
                p = sigmoid(teacher[image, label, anchor].item() / temperature)
                divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
                total += abs(q - p) * divergence
    return temperature**2 * total / max(mass, 1.0)


@settings(deadline=None, max_examples=50)
@given(shapes)
def test_logits_loss_is_the_formula(case: tuple[int, int, int, int, float]) -> None:
    batch, classes, anchors, seed, temperature = case
    student, teacher = logits((batch, classes, anchors), seed), logits((batch, classes, anchors), seed + 1)
    found = logits_loss(student, teacher, temperature, teacher_mass(teacher)).item()
    assert found == pytest.approx(written_out_logits_loss(student, teacher, temperature), rel=1e-3, abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(shapes)
def test_logits_gradient_is_the_formula(case: tuple[int, int, int, int, float]) -> None:
    """d loss / d student = T * |q - p| * (q - p) / mass: no gradient runs through the weight."""
    batch, classes, anchors, seed, temperature = case
    student = logits((batch, classes, anchors), seed).requires_grad_()
    teacher = logits((batch, classes, anchors), seed + 1)
    mass = teacher_mass(teacher)
    logits_loss(student, teacher, temperature, mass).backward()
    q, p = (student.detach() / temperature).sigmoid(), (teacher / temperature).sigmoid()
    assert student.grad is not None
    assert torch.allclose(student.grad, temperature * (q - p).abs() * (q - p) / mass, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_equal_outputs_give_no_loss_and_no_gradient(case: tuple[int, int, int, int, float]) -> None:
    batch, classes, anchors, seed, temperature = case
    student = logits((batch, classes, anchors), seed).requires_grad_()
    loss = logits_loss(student, student.detach().clone(), temperature, torch.tensor(1.0))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert student.grad is not None and not student.grad.any()


def test_one_class_and_a_common_shift_are_seen() -> None:
    """Where a softmax over classes would see nothing."""
    teacher = logits((2, 1, 5), 0)
    assert logits_loss(teacher - 2, teacher, 1.0, teacher_mass(teacher)).item() > 0.01
    many = logits((2, 4, 5), 0)
    assert logits_loss(many - 20, many, 1.0, teacher_mass(many)).item() > 0.1


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_stay_finite(value: float) -> None:
    student = torch.full((1, 2, 3), -value).requires_grad_()
    loss = logits_loss(student, torch.full((1, 2, 3), value), 1.0, torch.tensor(1.0))
    loss.backward()
    assert torch.isfinite(loss) and student.grad is not None and torch.isfinite(student.grad).all()


def softmax(values: np.ndarray) -> np.ndarray:
    exponent = np.exp(values - values.max())
    return np.asarray(exponent / exponent.sum())


def written_out_box_loss(student: torch.Tensor, teacher: torch.Tensor, scores: torch.Tensor, t: float) -> float:
    bins = student.shape[1] // 4
    total = weights = 0.0
    for image in range(student.shape[0]):
        for anchor in range(student.shape[2]):
            score = max(sigmoid(v) for v in scores[image, :, anchor].tolist())
            if score <= SCORE_FLOOR:
                continue
            divergence = 0.0
            for side in range(4):
                rows = slice(side * bins, (side + 1) * bins)
                q = softmax(student[image, rows, anchor].double().numpy() / t)
                p = softmax(teacher[image, rows, anchor].double().numpy() / t)
                divergence += float((p * np.log(p / q)).sum()) / 4
            total += score * divergence
            weights += score
    return t**2 * total / weights if weights else 0.0


@settings(deadline=None, max_examples=50)
@given(shapes, st.integers(2, 6), st.floats(-4, 0))
def test_box_loss_is_the_formula(case: tuple[int, int, int, int, float], bins: int, shift: float) -> None:
    batch, classes, anchors, seed, temperature = case
    student, teacher = (logits((batch, 4 * bins, anchors), seed + i) for i in (0, 1))
    scores = logits((batch, classes, anchors), seed + 2) + shift
    found = box_loss(student, teacher, scores, temperature).item()
    assert found == pytest.approx(written_out_box_loss(student, teacher, scores, temperature), rel=1e-3, abs=1e-4)


def test_box_loss_of_equal_boxes_and_of_a_blind_teacher_is_zero() -> None:
    bins = logits((2, 16, 5), 0).requires_grad_()
    scores = logits((2, 3, 5), 1)
    loss = box_loss(bins, bins.detach().clone(), scores, 10.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert bins.grad is not None and bins.grad.abs().max() < 1e-6
    blind = torch.full((2, 3, 5), -20.0)
    assert box_loss(bins, logits((2, 16, 5), 3), blind, 10.0).item() == 0.0
