"""What the plan says of label smoothing, class weights and sampling."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
from recipebox.recipe.changes import parse_set
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan, technique_order


@pytest.fixture
def planned(write, machine, shelf, good):
    """planned("{epsilon: 0.1}") -> plan of the good recipe with this lever; `cars` have one class."""

    def plan(lever: str, section: str = "label_smoothing", data: str = "deeppcb", classes=("car",)):
        text = good.replace("deeppcb", data) + f"  {section}: {lever}\n"
        return make_plan(load_recipe(write("one", text)), machine(shelf=shelf(classes=classes)))

    return plan


@pytest.mark.parametrize(
    ("lever", "says"),
    [
        ("{epsilon: 0.6}", r"one\.yaml:13: label smoothing of 0\.6 takes more than half"),
        ("{epsilon: 0.1, per_class: {spur: 0.7}}", r"one\.yaml:13: label smoothing of 0\.7 takes more than half"),
        ("{epsilon: 0.1, per_class: {spurr: 0.2}}", r"`spurr` is no class of the data set; did you mean `spur`"),
    ],
)
def test_smoothing_that_is_refused(planned, lever, says):
    with pytest.raises(PlanConflict, match=says):
        planned(lever)


def test_classes_that_nobody_knows_are_told_in_their_own_lines(planned):
    lever = "\n    epsilon: 0.1\n    per_class:\n      spurr: 0.2\n      open: 0.1\n      burr: 0.1"
    with pytest.raises(PlanConflict) as caught:
        planned(lever)
    first, second = str(caught.value).splitlines()
    assert first.endswith("one.yaml:16: `spurr` is no class of the data set; did you mean `spur`?")
    assert "one.yaml:18: `burr` is no class" in second
    with pytest.raises(PlanConflict, match=r"one\.yaml:15: `cra` is no class"):
        planned("\n    pos_weight:\n      cra: 2", "class_weights", data="cars")


def test_smoothing_and_one_class(planned):
    with pytest.raises(PlanConflict, match=r"one class \(car\) gives back.*form: binary"):
        planned("{epsilon: 0.1}", data="cars")
    planned("{epsilon: 0.1, form: binary}", data="cars")
    planned("{epsilon: 0.1}", data="cars", classes=None)  # classes not known yet: training looks at them


def test_smoothing_with_distillation_is_refused(write, machine, good):
    write("teacher", good)
    levers = "  label_smoothing: {epsilon: 0.1}\n  distillation: {teachers: [{recipe: teacher}], logits: {}}\n"
    with pytest.raises(PlanConflict, match=r"`label_smoothing` together with `distillation\.logits`: both soften"):
        make_plan(load_recipe(write("one", good + levers)), machine())
    boxes = levers.replace("logits: {}", "box: {}, features: {}")
    plan = make_plan(load_recipe(write("one", good + boxes)), machine())
    assert technique_order(plan.settings) == ("label_smoothing", "distillation", "ema"), "the class target is its own"


@pytest.mark.parametrize(
    ("lever", "says"),
    [
        ("{epsilon: 0}", "every epsilon is 0"),
        ("{epsilon: 0.1, off_last: 12}", "off for the last 12 of 12 epochs"),
        ("{epsilon: 0.3}", "takes 0.3 from a positive; more than 0.2"),
        ("{epsilon: 0.1, per_class: {spur: 0.4}}", "takes 0.4 from a positive"),
    ],
)
def test_smoothing_that_is_warned_about(planned, lever, says):
    warnings = planned(lever).warnings
    assert len(warnings) == 1
    assert says in warnings[0]


def test_levers_on_a_class_loss_that_is_not_there(write, machine, good):
    levers = "  label_smoothing: {epsilon: 0.1}\n  class_weights: {by: inverse_sqrt}\n"
    text = good.replace("close_mosaic: 3", "close_mosaic: 3\n  cls: 0") + levers
    warnings = make_plan(load_recipe(write("one", text)), machine()).warnings
    for lever in ("label_smoothing", "class_weights"):
        assert any(line.startswith(f"`{lever}` does nothing: `train.cls: 0`") for line in warnings), warnings


def test_levers_on_a_class_loss_that_the_head_with_anchors_has_not(write, machine, good):
    levers = "  anchor_head: {cls: 0}\n  label_smoothing: {epsilon: 0.1}\n  class_weights: {by: inverse_sqrt}\n"
    warnings = make_plan(load_recipe(write("one", good + levers)), machine()).warnings
    for lever in ("label_smoothing", "class_weights"):
        assert any(line.startswith(f"`{lever}` does nothing: `anchor_head.cls: 0`") for line in warnings), warnings


def test_smoothing_in_words(planned):
    plan = planned("{epsilon: 0.1, per_class: {spur: 0.05}, schedule: linear, off_last: 2}")
    assert plan.warnings == ()
    assert "label smoothing 0.1 (spread), spur 0.05, down to 0, off for the last 2 epochs" in describe_plan(plan)
    assert technique_order(plan.settings) == ("label_smoothing", "ema")


def test_a_class_is_set_by_its_name(write, machine, good):
    asked = parse_set(
        ["techniques.label_smoothing={epsilon: 0.1}", "techniques.label_smoothing.per_class.pin-hole=0.2"]
    )
    assert asked == {"techniques": {"label_smoothing": {"epsilon": 0.1, "per_class": {"pin-hole": 0.2}}}}
    asked = parse_set(["techniques.class_weights.pos_weight.spur=2"])
    plan = make_plan(load_recipe(write("one", good)), machine(), overrides=asked)
    assert plan.settings.techniques.class_weights.pos_weight == {"spur": 2.0}
    for wrong in ("techniques.label_smoothing.epsilon.spur=1", "techniques.label_smoothing.per_class.spur.x=1"):
        with pytest.raises(RecipeError, match="is a value, not a section"):
            parse_set([wrong])


def test_weights_and_sampling_in_words(planned, write, machine, good):
    plan = planned("{by: inverse, power: 0.7, pos_weight: {spur: 2}}", "class_weights")
    assert "class weights inverse power 0.7, positives of spur x 2" in describe_plan(plan)
    assert technique_order(plan.settings) == ("class_weights", "ema")
    plan = planned("{by: repeat_factor, threshold: 0.3}", "sampling")
    assert "images drawn by repeat_factor threshold 0.3" in describe_plan(plan)
    assert "positives x 2" in describe_plan(planned("{pos_weight: 2}", "class_weights"))
    levers = "  class_weights: {pos_weight: 2}\n  sampling: {by: inverse}\n  label_smoothing: {epsilon: 0.1}\n"
    plan = make_plan(load_recipe(write("all", good + levers)), machine())
    order = ("sampling", "label_smoothing", "class_weights", "ema")
    assert technique_order(plan.settings) == order, "smoothing changes the targets that weights then weigh"


@pytest.mark.parametrize(
    ("section", "lever", "says"),
    [
        ("class_weights", "{by: inverse}", r"one\.yaml:13: `class_weights\.by` with one class \(car\)"),
        ("sampling", "{by: inverse_sqrt}", r"one\.yaml:13: `sampling\.by` with one class"),
        ("class_weights", "{pos_weight: {cra: 2}}", "`cra` is no class of the data set; did you mean `car`"),
    ],
)
def test_weights_that_are_refused(planned, section, lever, says):
    with pytest.raises(PlanConflict, match=says):
        planned(lever, section, data="cars")


def test_what_acts_with_one_class_is_let_through(planned):
    planned("{pos_weight: 2}", "class_weights", data="cars")
    planned("{by: repeat_factor, threshold: 0.3}", "sampling", data="cars")


def test_weights_that_are_warned_about(planned, write, machine, good):
    assert "every factor is 1" in planned("{pos_weight: {spur: 1.0}}", "class_weights").warnings[0]
    for weights, sampling, count in (("inverse", "inverse_sqrt", 1), ("inverse_sqrt", "inverse_sqrt", 0)):
        levers = f"  class_weights: {{by: {weights}}}\n  sampling: {{by: {sampling}}}\n"
        warnings = make_plan(load_recipe(write("both", good + levers)), machine()).warnings
        assert len(warnings) == count
        assert all("with the power 1.5 of the inverse frequency" in each for each in warnings)
    effective = "effective_number, beta: 0.999"
    for weights, sampling, says in (
        (effective, effective, "together with up to the power 2 of"),
        ("inverse_sqrt", effective, "together with up to the power 1.5 of"),
        ("inverse", "repeat_factor, threshold: 0.1", None),
    ):
        levers = f"  class_weights: {{by: {weights}}}\n  sampling: {{by: {sampling}}}\n"
        warnings = make_plan(load_recipe(write("both", good + levers)), machine()).warnings
        assert len(warnings) == (says is not None) and all(says in each for each in warnings)


@pytest.mark.parametrize(
    ("section", "lever", "says"),
    [
        ("class_weights", "{}", "give `by`"),
        ("class_weights", "{by: inverse, beta: 0.9}", "`beta` belongs to `by: effective_number`"),
        ("class_weights", "{by: effective_number}", "needs `beta`"),
        ("class_weights", "{by: inverse_sqrt, power: 0.5}", "`power` belongs to `by: inverse`"),
        ("class_weights", "{pos_weight: many}", "`techniques.class_weights.pos_weight` must be a number"),
        ("class_weights", "{pos_weight: 0}", "must be more than 0"),
        ("class_weights", "{pos_weight: {spur: x}}", "`techniques.class_weights.pos_weight.spur` must be a number"),
        ("sampling", "{by: repeat_factor}", "needs `threshold`"),
        ("sampling", "{by: inverse, threshold: 0.1}", "`threshold` belongs to"),
        ("sampling", "{by: inverted}", "did you mean `inverse`?"),
        ("label_smoothing", "{epsilon: much}", "`techniques.label_smoothing.epsilon` must be a number"),
        ("label_smoothing", "{epsilon: 0.1, form: softmax}", "must be spread or binary"),
        ("label_smoothing", "0.1", "`techniques.label_smoothing` must be a section"),
        ("label_smoothing", "{}", "`techniques.label_smoothing.epsilon` is missing"),
    ],
)
def test_mistakes_are_said_with_their_line(planned, section, lever, says):
    with pytest.raises(RecipeError) as caught:
        planned(lever, section)
    assert len(caught.value.problems) == 1, caught.value.problems
    assert says in str(caught.value)
    assert "one.yaml:13" in str(caught.value)


@pytest.mark.parametrize(("own", "left"), [("{spur: null}", {"open": 0.1}), ("{spur: 0.3}", None), ("null", {})])
def test_a_class_of_the_recipe_that_is_extended_is_taken_away(write, machine, good, own, left):
    write("base", good + "  label_smoothing: {epsilon: 0.1, per_class: {spur: 0.2, open: 0.1}}\n")
    child = f"extends: base\ntechniques: {{label_smoothing: {{per_class: {own}}}}}\n"
    smoothing = make_plan(load_recipe(write("one", child)), machine()).settings.techniques.label_smoothing
    assert smoothing.per_class == (left if left is not None else {"spur": 0.3, "open": 0.1})
    asked = parse_set(["techniques.class_weights.pos_weight={spur: null, open: 2}"])
    plan = make_plan(load_recipe(write("two", good)), machine(), overrides=asked)
    assert plan.settings.techniques.class_weights.pos_weight == {"open": 2.0}
