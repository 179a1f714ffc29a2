"""Sizes, late augmentations and borders that cannot work or do nothing."""

from __future__ import annotations

import pytest

from recipebox.errors import PlanConflict
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan, plan_from_yaml, plan_to_yaml, technique_order

STAGED = """\
  progressive: {stages: [{imgsz: 160, until_epoch: 4}, {imgsz: 224, until_epoch: 8}]}
  late: {mixup: {from_epoch: 5}}
augment: {mixup: 0.1}
"""


def plan(write, machine, text):
    return make_plan(load_recipe(write("one", text)), machine())


def test_a_plan_with_stages(write, machine, good):
    stock, found = plan(write, machine, good), plan(write, machine, good + STAGED)
    assert found.warnings == ()
    assert technique_order(found.settings) == ("progressive", "late", "ema")
    words = describe_plan(found)
    assert "progressive 160 px to epoch 4, 224 px to epoch 8, then 320 px" in words
    assert "mixup 0.1 from epoch 5" in words
    assert plan_from_yaml(plan_to_yaml(found)) == found
    assert found.estimate.seconds < 0.7 * stock.estimate.seconds


REFUSED = [
    ("until_epoch: 8", "until_epoch: 12", "no epoch is left at the deployed 320 px"),
    ("until_epoch: 8", "until_epoch: 4", "ends with epoch 4 after one that ended with epoch 4"),
]


@pytest.mark.parametrize(("right", "wrong", "says"), REFUSED)
def test_stages_without_epochs_are_refused(write, machine, good, right, wrong, says):
    with pytest.raises(PlanConflict) as caught:
        plan(write, machine, good + STAGED.replace(right, wrong))
    (line,) = str(caught.value).splitlines()
    assert "one.yaml:13: " in line and says in line


def test_a_stage_too_small_for_batch_normalisation_is_refused(write, machine, good):
    text = (good + STAGED).replace("imgsz: 160", "imgsz: 32").replace("batch: 16", "batch: 3").replace("nbs: 16", "")
    with pytest.raises(PlanConflict, match=r"one image of 32 px.* stages of `progressive` of 64"):
        plan(write, machine, text)


IDLE = [
    ("imgsz: 224", "imgsz: 320", "until epoch 8 does nothing: 320 px is the deployed size"),
    ("mixup: 0.1", "mixup: 0", "`late.mixup` does nothing, since `augment.mixup` is 0"),
    ("from_epoch: 5", "from_epoch: 1", "begins with the first epoch"),
    ("from_epoch: 5", "from_epoch: 13", "begins with epoch 13 of 12"),
    ("from_epoch: 5", "from_epoch: 10", "`close_mosaic: 3` ends mosaic, mixup and cutmix after epoch 9"),
    ("{mixup: {from_epoch: 5}}", "{}", "`late` names no augmentation"),
]


@pytest.mark.parametrize(("right", "wrong", "says"), IDLE, ids=[case[1] for case in IDLE])
def test_what_does_nothing_is_warned_about(write, machine, good, right, wrong, says):
    (warning,) = plan(write, machine, good + STAGED.replace(right, wrong)).warnings
    assert says in warning


def test_a_teacher_at_a_size_it_never_saw_is_warned_about(write, machine, good):
    write("teacher", good)
    text = good + STAGED.replace("imgsz: 160", "imgsz: 128") + "evaluate: {iou: 0.5}\n"
    text = text.replace("techniques:", "techniques:\n  distillation: {teachers: [{recipe: teacher}], logits: {}}")
    (warning,) = plan(write, machine, text).warnings
    assert "objects are 0.4 times as large" in warning


def test_a_border_is_a_technique_unless_it_is_grey(write, machine, good):
    for border in ("reflect", "random"):
        found = plan(write, machine, good + f"augment: {{border: {border}}}\n")
        assert found.warnings == ()
        assert technique_order(found.settings) == ("border", "ema")
        assert f"{border} border" in describe_plan(found)
    stock = plan(write, machine, good + "augment: {border: grey}\n")
    assert technique_order(stock.settings) == ("ema",)


def test_ultralytics_is_not_told_of_the_border(write, machine, good, tmp_path):
    from recipebox.run_dir import RunDir
    from recipebox.train.run import stock_arguments

    settings = plan(write, machine, good + "augment: {border: reflect}\n").settings
    assert "border" not in stock_arguments(settings, "cpu", RunDir.create("r", tmp_path), None)


def test_a_hundred_mirror_images_are_refused(write, machine, good):
    with pytest.raises(PlanConflict, match="some hundred mirror images"):
        plan(write, machine, good + "augment: {border: reflect, scale: 0.8}\n")


def test_a_border_that_nothing_shows_is_warned_about(write, machine, good):
    text = good.replace("close_mosaic: 3", "close_mosaic: 0")
    (warning,) = plan(write, machine, text + "augment: {border: random, mosaic: 0, scale: 0, translate: 0}\n").warnings
    assert "acts on images that are not square only" in warning


def test_the_plan_names_augmentations_that_are_not_the_defaults(write, machine, good):
    assert "  augment " not in describe_plan(plan(write, machine, good))
    words = describe_plan(plan(write, machine, good + "augment: {scale: 0.1, hsv_h: 0, mosaic: 1.0, fliplr: 0.5}\n"))
    assert "  augment    hsv_h 0, scale 0.1, else Ultralytics' defaults\n" in words
