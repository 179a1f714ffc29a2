"""The norm after clipping, against PyTorch's own and in a training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipebox.techniques.clipping import clipped_norm


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8),
    st.floats(0.01, 200) | st.none(),
)
def test_the_norm_after_clipping_is_what_pytorch_leaves(values: list[float], max_norm: float | None) -> None:
    parameter = torch.nn.Parameter(torch.zeros(len(values), dtype=torch.float64))
    parameter.grad = torch.tensor(values, dtype=torch.float64)
    limit = float("inf") if max_norm is None else max_norm
    before = float(torch.nn.utils.clip_grad_norm_([parameter], max_norm=limit))
    assert clipped_norm(before, max_norm) == pytest.approx(float(parameter.grad.norm()), rel=1e-9, abs=1e-12)


def test_worked_by_hand() -> None:
    assert clipped_norm(20.0, 10.0) == pytest.approx(10.0)
    assert clipped_norm(3.0, 10.0) == 3.0
    assert clipped_norm(1e6, None) == 1e6
