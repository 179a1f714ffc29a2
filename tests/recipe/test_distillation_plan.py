"""Several teachers, and teachers that know other classes: what plan lets through, and what it says."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.changes import parse_set
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.lock import lock_difference, lock_digest, make_lock
from recipebox.recipe.plan import make_plan, plan_from_yaml, plan_to_yaml
from recipebox.run_dir import RunDir, write_json

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


def test_what_another_teacher_knows_is_not_left_to_the_labels(write, machine, shelf):
    write("first", BASE)
    write("second", BASE.replace("deeppcb", "cars"))
    text = STUDENT + "data: {dataset: pcb-synthetic}\n"
    (said,) = make_plan(load_recipe(write("one", text)), machine(shelf=shelf(classes=("spur", "car")))).warnings
    assert said == (
        "the teacher second knows 1 of 6 classes: spur are distilled, open, short, mousebite, copper, pin-hole left to "
        "the other teachers."
    )


def test_the_same_classes_in_another_order_are_all_distilled(write, machine, shelf):
    classes = ("pin-hole", "spur", "copper", "short", "mousebite", "open", "car")
    assert partly(write, machine, shelf, classes).warnings == ()


def test_no_common_class_is_refused(write, machine, shelf):
    with pytest.raises(
        PlanConflict, match=r"one\.yaml:5: the teacher first knows the classes car, .* nothing to distil"
    ):
        partly(write, machine, shelf, ("car", "lorry"))


def test_a_teacher_is_the_neighbour_of_the_recipe_that_names_it(write, machine, two, tmp_path, monkeypatch):
    """Extended from another folder, which may hold a recipe of that name."""
    write("one", STUDENT)
    below = tmp_path / "mine"
    below.mkdir()
    (below / "child.yaml").write_text("extends: ../one.yaml\ntrain: {seed: 9}\n", encoding="utf-8")
    (below / "second.yaml").write_text("extends: ../first.yaml\ntrain: {seed: 5}\n", encoding="utf-8")
    monkeypatch.chdir(below)
    plan = make_plan(load_recipe(below / "child.yaml"), machine())
    assert [teacher.settings.train.seed for teacher in plan.teachers] == [0, 4]
    (below / "child.yaml").write_text(
        "extends: ../one.yaml\ntechniques: {distillation: {teachers: [{recipe: second}]}}\n", encoding="utf-8"
    )
    plan = make_plan(load_recipe(below / "child.yaml"), machine())
    assert [teacher.settings.train.seed for teacher in plan.teachers] == [5]


@pytest.fixture
def finished(write, machine, two, tmp_path):
    """A finished run of `first`, measured on three classes."""
    run = RunDir.create("first", tmp_path / "runs")
    plan = make_plan(load_recipe(tmp_path / "first.yaml"), machine())
    run.plan.write_text(plan_to_yaml(plan), encoding="utf-8")
    write_json(run.result("evaluate"), {"names": ["short", "open", "spur"]})
    run.set_state("finished")
    return run


def learner(write, teacher: str, terms: str = "logits: {}"):
    text = STUDENT.replace("{recipe: first, weight: 3}, {recipe: second}", teacher).replace("logits: {}", terms)
    return load_recipe(write("one", text))


def test_a_finished_run_teaches_what_it_learned(write, machine, finished):
    """Its data set has six classes by now, and may be gone: nothing of the teacher runs again."""
    plan = make_plan(learner(write, f"{{run: {finished.root}}}"), machine())
    (teacher,) = plan.teachers
    assert teacher.run == str(finished.root) and list(plan.forerunners()) == []
    assert plan.warnings == (
        "the teacher first knows 3 of 6 classes: open, short, spur are distilled, mousebite, copper, pin-hole learned "
        "from labels alone.",
    )
    assert plan_from_yaml(plan_to_yaml(plan)) == plan
    said = describe_plan(plan)
    assert f"Teaches as it is, and is not trained again: {finished.root}" in said and "Runs first" not in said
    beside = make_plan(learner(write, f"{{run: runs/first/{finished.id}}}"), machine())
    assert beside.teachers == plan.teachers, "a path relative to the recipe"


def test_set_does_not_reach_a_finished_run(write, machine, finished):
    plan = make_plan(
        learner(write, f"{{run: {finished.root}}}"), machine(), overrides=parse_set(["train.seed=7", "data.images=90"])
    )
    assert (plan.settings.train.seed, plan.teachers[0].settings.train.seed) == (7, 0)
    assert plan.teachers[0].settings.data.images is None


def test_a_finished_run_that_cannot_teach_is_refused(write, machine, finished):
    with pytest.raises(
        PlanConflict, match=r"one\.yaml:5: the teacher first is trained at 320 px and the student at 640"
    ):
        make_plan(learner(write, f"{{run: {finished.root}}}"), machine(), overrides=parse_set(["train.imgsz=640"]))
    with pytest.raises(PlanConflict, match=r"one\.yaml:5: the teachers first and first are one and the same run"):
        make_plan(learner(write, f"{{run: {finished.root}}}, {{run: {finished.root}}}"), machine())
    write_json(finished.result("evaluate"), {"names": ["car"]})
    with pytest.raises(
        PlanConflict, match=r"one\.yaml:5: the teacher first knows the classes car .* nothing to distil"
    ):
        make_plan(learner(write, f"{{run: {finished.root}}}"), machine())
    finished.set_state("stopped", "stopped by hand")
    with pytest.raises(RecipeError, match=r"one\.yaml:5: teacher .* this run is stopped \(stopped by hand\)"):
        make_plan(learner(write, f"{{run: {finished.root}}}"), machine())


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ("{run: nowhere}", "teacher nowhere: not a run folder"),
        ("{recipe: RUN}", "that is the folder of a run: say `run`"),
        ("{recipe: yolov8s.pt}", "weights alone do not say"),
        ("{recipe: first, run: RUN}", "either a `recipe` or a `run`"),
        ("{weight: 2}", "either a `recipe` or a `run`"),
    ],
)
def test_what_is_no_teacher_is_refused_with_its_line(write, machine, finished, teacher, words):
    with pytest.raises(RecipeError, match=rf"one\.yaml:5: .*{words}"):
        make_plan(learner(write, teacher.replace("RUN", str(finished.root))), machine())
