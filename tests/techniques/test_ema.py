"""The average against its written-out recursion, and a real `off`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipebox.recipe.technique_sections import Ema
from recipebox.techniques.ema import EmaTechnique, ema_decay
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402


class Context:
    def __init__(self, model: torch.nn.Module) -> None:
        self.ema = ModelEMA(model)
        self.numbers: dict[str, float] = {}

    def record(self, key: str, value: float) -> None:
        self.numbers[key] = value


def averaged(technique: EmaTechnique | None, weights: list[float]) -> tuple[list[float], Any]:
    """The average after each of the steps that set one weight to the given values."""
    model = torch.nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(0.0)
    context = Context(model)
    if technique is not None:
        technique.on_setup(context)  # type: ignore[arg-type]
    out = []
    for value in weights:
        model.weight.data.fill_(value)
        context.ema.update(model)
        if technique is not None:
            technique.on_step(context)  # type: ignore[arg-type]
        out.append(context.ema.ema.weight.item())
    return out, context


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=20),
    st.floats(0.0, 0.99999),
    st.floats(0.5, 5000),
)
def test_recursion(weights: list[float], decay: float, tau: float) -> None:
    found, context = averaged(EmaTechnique(Ema(decay=decay, tau=tau)), weights)
    expected = 0.0
    for n, weight in enumerate(weights, start=1):
        d = decay * (1 - math.exp(-n / tau))
        expected = d * expected + (1 - d) * weight
        assert found[n - 1] == pytest.approx(expected, abs=1e-9)
    assert context.numbers["ema/decay"] == pytest.approx(decay * (1 - math.exp(-len(weights) / tau)))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_off_keeps_the_live_weights(weights: list[float]) -> None:
    found, context = averaged(EmaTechnique(None), weights)
    assert found == weights
    assert context.numbers["ema/decay"] == 0.0


def test_the_defaults_are_stock() -> None:
    weights = [1.0, 5.0, -3.0, 0.5]
    assert averaged(EmaTechnique(Ema()), weights)[0] == averaged(None, weights)[0]


def test_decay_ramps_up() -> None:
    assert ema_decay(1, 0.9999, 2000) == pytest.approx(0.0005, rel=0.01)
    assert ema_decay(10**6, 0.9999, 2000) == pytest.approx(0.9999)
