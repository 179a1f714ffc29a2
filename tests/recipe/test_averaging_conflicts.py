"""Averages of the weights in a plan."""

from __future__ import annotations

import math

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan, technique_order


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


def test_swa_ends_the_ema_and_holds_the_rate(plan):
    swa = plan("ema: {tau: 100}\n  swa: {last: 4}")
    assert swa.warnings == ()
    assert swa.estimate.ema_decay_end == pytest.approx(0.9999 * (1 - math.exp(-352 / 100)))
    text = describe_plan(swa)
    assert "SWA: mean of the ends of epochs 9 to 12, learning rate held where the schedule then stands" in text
    assert "reached when SWA begins, then SWA" in text
    assert "held at 0.0005" in describe_plan(plan("ema: {tau: 100}\n  swa: {last: 4, lr: 5e-4}"))
    assert 1.0 < swa.estimate.seconds / plan("ema: {tau: 100}").estimate.seconds < 1.05
    assert technique_order(swa.settings) == ("ema", "swa")


REFUSED = [
    (
        "ema: {tau: 5, every: 529}",
        "nbs: 16",
        r"one\.yaml:12: `ema\.every: 529`, and there are 528 optimizer steps: .*initial weights",
    ),
    ("ema: {tau: 5, every: 400}\n  swa: {last: 4}", "nbs: 16", "there are 352 optimizer steps before SWA begins"),
    ("swa: {last: 13}", "nbs: 16", r"one\.yaml:12: `swa\.last: 13`, and the run has 12 epochs"),
    ("swa: {last: 10}", "nbs: 16", "begins within the warm-up of 3"),
    ("swa: {last: 4, lr: 0.001}", "nbs: 16\n  optimizer: auto", "`swa.lr` with `optimizer: auto`"),
]


@pytest.mark.parametrize(("techniques", "train", "says"), REFUSED, ids=[case[2][-20:] for case in REFUSED])
def test_an_average_that_cannot_be_made_is_refused(write, machine, good, techniques, train, says):
    text = good.replace("ema: {tau: 100}", techniques).replace("nbs: 16", train)
    if "auto" in train:
        text = text.replace("  optimizer: AdamW\n  lr0: 1e-3\n", "")
    with pytest.raises(PlanConflict, match=says):
        make_plan(load_recipe(write("one", text)), machine())


def test_a_lever_is_taken_away_by_null_and_off_says_so(plan):
    assert plan("swa: null").settings.techniques.swa is None
    with pytest.raises(RecipeError, match=r"`techniques\.swa`: to take it away, give `null`"):
        plan("swa: off")


IDLE = [
    ("ema: {decay: 0}", "nbs: 16", "`ema.decay: 0` keeps no average"),
    ("ema: {tau: 100}\n  swa: {last: 1}", "nbs: 16", "the last epoch's weights alone"),
    ("ema: {tau: 100}\n  swa: {last: 4}", "nbs: 16\n  patience: 5", "may end the run before"),
    ("ema: {tau: 400}\n  swa: {last: 4}", "nbs: 16", "longer than the epochs before SWA: tau 400, 352 optimizer steps"),
    ("ema: {tau: 100}\n  swa: {last: 12}", "nbs: 16\n  warmup_epochs: 0", "`ema` has no epoch of its own"),
    (
        "ema: {tau: 100}\n  swa: {last: 4}\n  progressive: {stages: [{imgsz: 160, until_epoch: 9}]}",
        "nbs: 16",
        "SWA begins in epoch 9, where views are 160 px",
    ),
]


@pytest.mark.parametrize(("techniques", "train", "says"), IDLE, ids=[case[2][:30] for case in IDLE])
def test_idle_swa(plan, techniques, train, says):
    (warning,) = plan(techniques, train).warnings
    assert says in warning


def test_validating_twice_takes_longer(plan):
    once, twice = (plan(f"ema: {{tau: 100, evaluate_both: {both}}}").estimate.seconds for both in ("false", "true"))
    assert 1.05 < twice / once < 1.2
