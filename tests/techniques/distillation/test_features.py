"""The losses of neck maps against their formulas written out, and Ultralytics' own to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.techniques.distillation.features import cwd_loss, feature_loss, mse_loss, native_loss, pkd_loss
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.nn.distill_model import DistillationModel  # noqa: E402

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9), st.integers(0, 2**31))
LOSSES = ("cwd", "pkd", "mse", "native")


def maps(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 0.5


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.5, 8))
def test_cwd_is_the_formula(case: tuple[int, int, int, int], temperature: float) -> None:
    batch, channels, cells, seed = case
    student, teacher = maps((batch, channels, cells), seed), maps((batch, channels, cells), seed + 1)
    total = 0.0
    for image in range(batch):
        for channel in range(channels):
            p, q = (np.exp(m[image, channel].double().numpy() / temperature) for m in (teacher, student))
            p, q = p / p.sum(), q / q.sum()
            total += float((p * np.log(p / q)).sum())
    found = cwd_loss(student, teacher, temperature).item()
    assert found == pytest.approx(temperature**2 * total / (batch * channels), rel=1e-3, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_pkd_is_one_minus_the_correlation_of_each_channel(case: tuple[int, int, int, int]) -> None:
    batch, channels, cells, seed = case
    student, teacher = maps((batch, channels, cells), seed), maps((batch, channels, cells), seed + 1)
    rows = [m.transpose(0, 1).flatten(1).double().numpy() for m in (student, teacher)]
    expected = np.mean([1 - np.corrcoef(rows[0][c], rows[1][c])[0, 1] for c in range(channels)])
    assert pkd_loss(student, teacher).item() == pytest.approx(expected, abs=1e-3)
    # The paper's form: half the mean squared difference of normalised maps.
    normal = [(row - row.mean(1, keepdims=True)) / row.std(1, keepdims=True) for row in rows]
    assert pkd_loss(student, teacher).item() == pytest.approx(((normal[0] - normal[1]) ** 2).mean() / 2, abs=1e-3)


def test_pkd_does_not_see_scale_and_shift_and_mse_does() -> None:
    teacher = maps((2, 3, 50), 0)
    assert pkd_loss(teacher * 3 - 7, teacher).item() == pytest.approx(0.0, abs=1e-5)
    assert mse_loss(teacher * 3 - 7, teacher).item() > 1


def test_a_constant_channel_has_a_finite_gradient() -> None:
    student = torch.zeros(2, 3, 5, requires_grad=True)
    pkd_loss(student, maps((2, 3, 5), 0)).backward()
    assert student.grad is not None and torch.isfinite(student.grad).all()


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_native_is_ultralytics_own_to_the_last_bit(case: tuple[int, int, int, int]) -> None:
    batch, channels, cells, seed = case
    student = maps((batch, channels, 1, cells), seed).requires_grad_()
    teacher, logits = maps((batch, channels, 1, cells), seed + 1), maps((batch, 4, cells), seed + 2)
    scores = (logits.sigmoid().max(dim=1, keepdim=True).values,)
    stock = DistillationModel.__new__(DistillationModel)
    expected = stock.loss_sl2(student, teacher, feat_idx=0, teacher_scores=scores)
    found = native_loss(student.flatten(2), teacher.flatten(2), logits)
    assert torch.equal(found, expected)
    (ours,), (theirs,) = torch.autograd.grad(found, student), torch.autograd.grad(expected, student)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_maps_give_no_loss_and_no_gradient(loss: str) -> None:
    student = [maps((2, 3, 4, 4), 0).requires_grad_(), maps((2, 5, 2, 2), 1).requires_grad_()]
    value = feature_loss(loss, student, [m.detach().clone() for m in student], maps((2, 3, 20), 2), 1.5)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert all(m.grad is not None and m.grad.abs().max() < 1e-4 for m in student)


@pytest.mark.parametrize("loss", LOSSES)
def test_levels_are_added_up_whatever_the_memory_layout(loss: str) -> None:
    student, teacher = ([maps((2, 3, 4, 4), seed), maps((2, 5, 2, 2), seed + 1)] for seed in (0, 2))
    logits = maps((2, 3, 20), 4)
    parts = [
        feature_loss(loss, student[:1], teacher[:1], logits[:, :, :16], 2.0),
        feature_loss(loss, student[1:], teacher[1:], logits[:, :, 16:], 2.0),
    ]
    turned = [m.to(memory_format=torch.channels_last) for m in teacher]
    for theirs in (teacher, turned):
        assert feature_loss(loss, student, theirs, logits, 2.0).item() == pytest.approx(sum(parts).item(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_maps_are_compared_in_single(loss: str) -> None:
    student, teacher = maps((2, 3, 40, 40), 0).mul(100).half(), maps((2, 3, 40, 40), 1).mul(100)
    found = feature_loss(loss, [student], [teacher.half()], maps((2, 3, 1600), 2).half(), 1.0)
    assert found.dtype == torch.float32 and torch.isfinite(found)
