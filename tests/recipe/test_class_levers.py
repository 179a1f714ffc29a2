"""What the plan says of label smoothing, class weights and sampling."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict, RecipeError
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


def test_smoothing_and_one_class(planned):
    with pytest.raises(PlanConflict, match=r"one class \(car\) gives back.*form: binary"):
        planned("{epsilon: 0.1}", data="cars")
    planned("{epsilon: 0.1, form: binary}", data="cars")
    planned("{epsilon: 0.1}", data="cars", classes=None)  # classes not known yet: training looks at them


def test_smoothing_with_distillation_is_refused(write, machine, good):
    write("teacher", good)
    levers = "  label_smoothing: {epsilon: 0.1}\n  distillation: {teachers: [{recipe: teacher}], logits: {}}\n"
    with pytest.raises(PlanConflict, match="both soften the class target"):
        make_plan(load_recipe(write("one", good + levers)), machine())


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


def test_smoothing_in_words(planned):
    plan = planned("{epsilon: 0.1, per_class: {spur: 0.05}, schedule: linear, off_last: 2}")
    assert plan.warnings == ()
    assert "label smoothing 0.1 (spread), spur 0.05, down to 0, off for the last 2 epochs" in describe_plan(plan)
    assert technique_order(plan.settings) == ("label_smoothing", "ema")


@pytest.mark.parametrize(
    ("section", "lever", "says"),
    [
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
