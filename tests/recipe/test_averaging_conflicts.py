"""Averages of the weights in a plan."""

from __future__ import annotations

import pytest

from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan


@pytest.fixture
def plan(write, machine, good):
    """A plan with other averaging settings: 12 epochs of 44 steps."""

    def make(techniques: str, train: str = "nbs: 16"):
        text = good.replace("ema: {tau: 100}", techniques).replace("nbs: 16", train)
        return make_plan(load_recipe(write("one", text)), machine())

    return make


def test_the_ramp_counts_updates(plan):
    estimate = plan("ema: {tau: 100, every: 4}").estimate
    assert estimate.ema_decay_end == pytest.approx(plan("ema: {tau: 400}").estimate.ema_decay_end)
    (warning,) = plan("ema: {tau: 200, every: 4}").warnings
    assert "tau 200, 528 optimizer steps, 132 updates, decay 0.483 at the end" in warning


def test_an_epoch_without_an_update_is_warned_about(plan):
    assert plan("ema: {tau: 5, every: 44}").warnings == ()
    (warning,) = plan("ema: {tau: 5, every: 45}").warnings
    assert "there are about 44 optimizer steps an epoch" in warning


def test_described(plan):
    text = describe_plan(plan("ema: {tau: 100, every: 4, evaluate_both: true}"))
    assert "EMA decay 0.9999 tau 100 every 4 steps, live weights validated too" in text


def test_validating_twice_takes_longer(plan):
    once, twice = (plan(f"ema: {{tau: 100, evaluate_both: {both}}}").estimate.seconds for both in ("false", "true"))
    assert 1.05 < twice / once < 1.2
