"""Gains, accumulation and clipping in a plan."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan


@pytest.fixture
def plan(write, machine, good):
    def make(train: str = "", techniques: str = ""):
        text = good.replace("  nbs: 16\n", f"  {train or 'nbs: 16'}\n") + (f"  {techniques}\n" if techniques else "")
        return make_plan(load_recipe(write("one", text)), machine())

    return make


IDLE = [
    ("nbs: 16\n  cls: 0", "", "`train.cls: 0` takes the cls loss away"),
    ("nbs: 40", "", "2 batches make a step, of 32 images, and weight decay is multiplied by 0.8"),
    ("nbs: 8", "", "each batch makes a step, of 16 images, and weight decay is multiplied by 2"),
    ("nbs: 1600\n  warmup_epochs: 0", "", "there are epochs without any step"),
    ("nbs: 16000\n  warmup_epochs: 0", "", "a step would take 1000 batches (`nbs: 16000`) and the run has 528"),
    ("", "clipping: {max_norm: 10}", "changes nothing"),
]


@pytest.mark.parametrize(("train", "techniques", "says"), IDLE, ids=[case[2][:30] for case in IDLE])
def test_idle(plan, train, techniques, says):
    warnings = [words for words in plan(train, techniques).warnings if "EMA's ramp" not in words]
    assert len(warnings) == 1, warnings
    assert says in warnings[0]


def test_a_batch_larger_than_the_set(write, machine, good):
    text = good.replace("batch: 16", "batch: 1000").replace("nbs: 16", "nbs: 1000\n  warmup_epochs: 0")
    warnings = make_plan(load_recipe(write("one", text)), machine()).warnings
    assert any("`batch: 1000`, and there are 700 training images: a batch is all of them" in each for each in warnings)


def test_no_gain_at_all_is_refused(plan):
    with pytest.raises(PlanConflict, match=r"one\.yaml:8: .*labels would teach nothing"):
        plan("nbs: 16\n  box: 0\n  cls: 0\n  dfl: 0")


@pytest.mark.parametrize(
    "techniques",
    [
        "clipping: {max_norm: 0}",
        "clipping: {max_norm: .inf}",
        "clipping: {max_norm: -1}",
        "clipping: {}",
        "clipping: {max_norm: on}",
    ],
)
def test_no_norm_to_clip_by(plan, techniques):
    with pytest.raises(RecipeError, match="max_norm"):
        plan("", techniques)


def test_a_gain_is_not_negative(plan):
    with pytest.raises(RecipeError, match=r"`train\.box`"):
        plan("nbs: 16\n  box: -1")


def test_the_plan_says_what_a_step_is_made_of(plan):
    assert "batch 16, AdamW" in describe_plan(plan())
    text = describe_plan(plan("nbs: 64\n  box: 10", "clipping: {max_norm: off}"))
    assert "batch 16 (4 batches make a step: 64 images)" in text
    assert "gains box 10 cls 0.5 dfl 1.5" in text
    assert "clipping off" in text
    assert "clipping at 2.5" in describe_plan(plan("", "clipping: {max_norm: 2.5}"))


def test_what_the_last_gain_takes_away_is_said_of_the_network(write, machine, good):
    text = good.replace("nbs: 16", "nbs: 16\n  dfl: 0")
    for weights, says in (("yolov8n", "how sure each edge is"), ("yolo26n", "takes the L1 loss of the edges away")):
        plan = make_plan(load_recipe(write("one", text.replace("yolov8n", weights))), machine())
        assert any(says in words for words in plan.warnings), plan.warnings
