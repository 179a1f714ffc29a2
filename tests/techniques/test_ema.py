"""The average against its written-out recursion, and a real `off`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipebox.recipe.technique_sections import Ema
from recipebox.techniques.ema import EmaTechnique
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402


class Context:
    def __init__(self, model: torch.nn.Module) -> None:
        self.ema = ModelEMA(model)
        self.numbers: dict[str, float] = {}
        self.evaluate_live = False

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
    st.integers(1, 4),
)
def test_recursion(weights: list[float], decay: float, tau: float, every: int) -> None:
    """Written out: only every so many steps count, and they count from 1."""
    found, context = averaged(EmaTechnique(Ema(decay=decay, tau=tau, every=every)), weights)
    expected, in_force = 0.0, 1.0
    for step, weight in enumerate(weights, start=1):
        if step % every == 0:
            in_force = decay * (1 - math.exp(-(step // every) / tau))
            expected = in_force * expected + (1 - in_force) * weight
        assert found[step - 1] == pytest.approx(expected, abs=1e-9)
    assert context.numbers["ema/decay"] == pytest.approx(in_force)


def test_between_updates_the_average_keeps_its_bits() -> None:
    found, _ = averaged(EmaTechnique(Ema(decay=0.7, tau=1.3, every=3)), [1.1, -7.3, 5.7, 1e30, -3.3])
    assert found[:2] == [0.0, 0.0]
    assert found[2] == found[3] == found[4]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_off_keeps_the_live_weights(weights: list[float]) -> None:
    found, context = averaged(EmaTechnique(None), weights)
    assert found == weights
    assert context.numbers["ema/decay"] == 0.0


def test_the_defaults_are_stock() -> None:
    weights = [1.0, 5.0, -3.0, 0.5]
    assert averaged(EmaTechnique(Ema()), weights)[0] == averaged(None, weights)[0]


def test_decay_ramps_up() -> None:
    technique = EmaTechnique(Ema())
    assert technique.decay(1) == pytest.approx(0.0005, rel=0.01)
    assert technique.decay(10**6) == pytest.approx(0.9999)
