"""Several teachers, and teachers that know other classes: what plan lets through, and what it says."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.changes import parse_set
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.lock import lock_difference, lock_digest, make_lock
from recipebox.recipe.plan import make_plan, plan_from_yaml, plan_to_yaml

BASE = """\
data: {dataset: deeppcb}
model: {weights: yolov8s.pt}
train: {epochs: 12, imgsz: 320, batch: 16, nbs: 16, optimizer: AdamW, lr0: 0.001, close_mosaic: 3}
techniques: {ema: {tau: 50}}
"""
STUDENT = """\
extends: first
model: {weights: yolov8n.pt}
techniques:
  distillation:
    teachers: [{recipe: first, weight: 3}, {recipe: second}]
    logits: {}
"""


@pytest.fixture
def two(write):
    write("first", BASE)
    write("second", "extends: first\ntrain: {seed: 4}\n")


def test_two_teachers_are_planned_in_the_recipes_order(write, machine, two):
    plan = make_plan(load_recipe(write("one", STUDENT)), machine())
    assert [teacher.name for teacher in plan.teachers] == ["first", "second"]
    assert plan.warnings == ()
    said = describe_plan(plan)
    assert "distillation from first (weight 3), second (weight 1) logits" in said
    assert said.count("Runs first, unless") == 2
    assert plan_from_yaml(plan_to_yaml(plan)) == plan
    alone = make_plan(load_recipe(write("one", STUDENT.replace(", {recipe: second}", ""))), machine())
    assert plan.estimate.seconds - alone.estimate.seconds == pytest.approx(12 * 40, rel=0.05)


def test_seeds_keep_their_distance_under_set(write, machine, two):
    plan = make_plan(load_recipe(write("one", STUDENT)), machine(), overrides=parse_set(["train.seed=7"]))
    assert [each.settings.train.seed for each in (plan, *plan.teachers)] == [7, 7, 11]
    late = STUDENT + "train: {seed: 5}\n"
    plan = make_plan(load_recipe(write("one", late)), machine(), overrides=parse_set(["train.seed=1"]))
    seeds = [each.settings.train.seed for each in plan.teachers]
    assert len(set(seeds)) == 2 and min(seeds) >= 0


@pytest.mark.parametrize("second", ["extends: first\n", "extends: first\nbench: {images: 3}\n"])
def test_one_run_is_not_asked_twice(write, machine, two, second):
    write("second", second)
    with pytest.raises(PlanConflict, match=r"one\.yaml:5: the teachers first and second are one and the same run"):
        make_plan(load_recipe(write("one", STUDENT)), machine())


def test_students_of_different_teachers_are_different_teachers(write, machine, two):
    taught = "extends: first\ntechniques: {distillation: {teachers: [{recipe: %s}], logits: {}}}\n"
    write("third", taught % "first")
    write("fourth", taught % "second")
    text = STUDENT.replace("recipe: first,", "recipe: third,").replace("recipe: second", "recipe: fourth")
    assert len(make_plan(load_recipe(write("one", text)), machine()).teachers) == 2


@pytest.mark.parametrize("weight", ["0", "-1"])
def test_a_teacher_without_weight_is_refused(write, weight):
    with pytest.raises(RecipeError, match="weight"):
        load_recipe(write("one", BASE + STUDENT[STUDENT.index("  dist") :].replace("weight: 3", f"weight: {weight}")))


def test_the_lock_holds_the_shares(write, machine, two):
    def lock(text: str):
        plan = make_plan(load_recipe(write("one", text)), machine())
        return make_lock(plan, data_sha256="d", weights_sha256=None)

    one = lock(STUDENT)
    assert one["settings"]["techniques"]["distillation"]["teachers"] == [0.75, 0.25]
    doubled = STUDENT.replace("weight: 3", "weight: 6").replace("recipe: second", "recipe: second, weight: 2")
    assert lock_digest(lock(doubled)) == lock_digest(one)
    other = lock(STUDENT.replace("weight: 3", "weight: 1"))
    assert lock_difference(one, other) == ["techniques.distillation.teachers: [0.75, 0.25] -> [0.5, 0.5]"]


def partly(write, machine, shelf, classes, terms="logits: {}"):
    write("first", BASE.replace("deeppcb", "cars"))
    text = STUDENT.replace(", {recipe: second}", "").replace("logits: {}", terms) + "data: {dataset: deeppcb}\n"
    return make_plan(load_recipe(write("one", text)), machine(shelf=shelf(classes=classes)))


def test_a_teacher_of_some_classes_teaches_those(write, machine, shelf):
    (said,) = partly(write, machine, shelf, ("spur", "car", "open")).warnings
    assert said == (
        "the teacher first knows 2 of 6 classes: open, spur are distilled, short, mousebite, copper, pin-hole learned "
        "from labels alone."
    )


def test_whole_maps_of_such_a_teacher_are_warned_about(write, machine, shelf):
    warnings = partly(write, machine, shelf, ("spur",), "features: {loss: pkd}").warnings
    assert len(warnings) == 2 and "look like background" in warnings[1]
    assert len(partly(write, machine, shelf, ("spur",), "features: {loss: native}").warnings) == 1


def test_the_same_classes_in_another_order_are_all_distilled(write, machine, shelf):
    classes = ("pin-hole", "spur", "copper", "short", "mousebite", "open", "car")
    assert partly(write, machine, shelf, classes).warnings == ()


def test_no_common_class_is_refused(write, machine, shelf):
    with pytest.raises(
        PlanConflict, match=r"one\.yaml:5: the teacher first knows the classes car, .* nothing to distil"
    ):
        partly(write, machine, shelf, ("car", "lorry"))
