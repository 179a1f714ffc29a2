"""The levers on the head: what they exclude, what is idle, and what a plan says of them."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan, plan_from_yaml, plan_to_yaml, technique_order

ANCHORS = "  anchor_head: {}\n"
ROWS = "  anchor_head: {anchors: [[10,13, 16,30], [30,61, 62,45], [116,90, 156,198]]}\n"
BOTH = "  p2: true\n  assigner: {topk: 5}\nanchors: {analyse: true}\n"


def plan(write, machine, text):
    return make_plan(load_recipe(write("one", text)), machine())


def test_a_plan_with_an_assigner_and_a_level_more(write, machine, good):
    stock, found = plan(write, machine, good), plan(write, machine, good + BOTH)
    assert technique_order(found.settings)[:2] == ("p2", "assigner")
    words = describe_plan(found)
    assert "P2: a level of stride 4" in words and "assigner topk 5 alpha 0.5 beta 6" in words
    assert plan_from_yaml(plan_to_yaml(found)) == found
    assert found.settings.anchors.analyse
    assert found.estimate.seconds > stock.estimate.seconds


@pytest.mark.parametrize("text", [ANCHORS, ROWS])
def test_a_plan_with_anchors(write, machine, good, text):
    found = plan(write, machine, good + text)
    assert technique_order(found.settings)[0] == "anchor_head"
    assert plan_from_yaml(plan_to_yaml(found)) == found
    assert "a head with anchors" in describe_plan(found)
    sizes = found.settings.techniques.anchor_head.sizes()
    assert sizes is None if text == ANCHORS else sizes[0] == ((10, 13), (16, 30))


REFUSED = [
    (ANCHORS + "  assigner: {topk: 5}\n", "by its anchors' sizes"),
    (ANCHORS + "  distillation: {teachers: [{recipe: other}], logits: {}}\n", "There is nothing to compare"),
    (ANCHORS.replace("{}", "{pos_weight: {cls: 2}}") + "  class_weights: {pos_weight: 2}\n", "act twice"),
    (ROWS + "  p2: true\n", "`anchors` has 3 rows, and the network 4 levels (strides 4, 8, 16, 32)"),
    (ANCHORS.replace("{}", "{balance: [1, 1]}"), "`balance` has 2 factors"),
    (
        "  assigner: {topk: 22}\n  progressive: {stages: [{imgsz: 32, until_epoch: 2}]}\n",
        "`assigner.topk: 22`: at 32 px, the smallest size of this run, the network has 21 cells",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_excludes_each_other_is_refused_with_the_reason(write, machine, good, text, says):
    write("other", good)
    with pytest.raises(PlanConflict) as caught:
        plan(write, machine, good + text)
    assert says in str(caught.value)


@pytest.mark.parametrize(("more", "topk"), [("", 21), ("  p2: true\n", 85)])
def test_the_assigner_may_choose_every_cell_there_is(write, machine, good, more, topk):
    """At 32 px: 4 x 4, 2 x 2 and 1 of strides 8, 16 and 32, and 8 x 8 of stride 4."""
    small = f"{more}  progressive: {{stages: [{{imgsz: 32, until_epoch: 2}}]}}\n  assigner: {{topk: "
    plan(write, machine, good + small + f"{topk}}}\n")
    with pytest.raises(PlanConflict, match=rf"one\.yaml:\d+: `assigner\.topk: {topk + 1}`"):
        plan(write, machine, good + small + f"{topk + 1}}}\n")


def test_the_gains_of_the_other_head_are_refused(write, machine, good):
    text = good.replace("batch: 16", "batch: 16\n  box: 5\n  dfl: 1") + ANCHORS
    with pytest.raises(PlanConflict) as caught:
        plan(write, machine, text)
    assert "its gain is `anchor_head.box`" in str(caught.value)
    assert "`anchor_head` has no such loss" in str(caught.value)


@pytest.mark.parametrize(("of", "says"), [(ANCHORS, "has a head with anchors"), ("  p2: true\n", "cells do not match")])
def test_a_teacher_with_another_head_is_refused(write, machine, good, of, says):
    write("other", good + of)
    with pytest.raises(PlanConflict) as caught:
        plan(write, machine, good + "  distillation: {teachers: [{recipe: other}], logits: {}}\n")
    assert says in str(caught.value)


def test_p2_is_drawn_for_yolov8_only(write, machine, good):
    with pytest.raises(PlanConflict, match="drawn for yolov8 n, s, m, l and x"):
        plan(write, machine, good.replace("yolov8n", "yolo11n") + "  p2: true\n")


@pytest.mark.parametrize(
    "wrong",
    ["[[1, 2, 3]]", "[[1, 2], [1, 2, 3, 4], [1, 2]]", "[[1, -2], [1, 2], [1, 2]]", "[]", "some", "3"],
)
def test_anchors_that_are_no_pairs_are_refused_in_their_line(write, wrong, good):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write("one", good + ANCHORS.replace("{}", f"{{anchors: {wrong}}}")))
    assert all(problem.line > 0 for problem in caught.value.problems)


IDLE = [
    ("  assigner: {topk: 10}\n", "`assigner` does nothing"),
    (ROWS.replace("anchors:", "count: 2, anchors:"), "`anchor_head.count` does nothing"),
    (ROWS.replace("198", "19800"), "a side of 19800 px"),
    (ANCHORS.replace("{}", "{obj: 0}"), "takes that loss away"),
]


@pytest.mark.parametrize(("text", "says"), IDLE)
def test_what_does_nothing_is_said(write, machine, good, text, says):
    assert says in "\n".join(plan(write, machine, good + text).warnings)
