"""No lever is forgotten, and each has a value without it that is a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from recipebox.experiment.lever import Lever
from recipebox.experiment.levers import LEVERS, NOT_LEVERS, levers, without
from recipebox.experiment.window import Window
from recipebox.recipe.schema import Augment, Settings, Train
from recipebox.recipe.section import Section
from recipebox.recipe.technique_sections import MOST_TEACHERS, Techniques


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def below(key: str, section: type[BaseModel]) -> Iterator[str]:
    """A section's values, and those of the sections in it."""
    for name, field in section.model_fields.items():
        path = f"{key}.{name}"
        yield path
        if path != "techniques.progressive.stages":
            for inner in sections_of(field.annotation):
                yield from below(path, inner)


def settings_keys() -> list[str]:
    plain = [f"train.{key}" for key in Train.model_fields] + [f"augment.{key}" for key in Augment.model_fields]
    return [*below("techniques", Techniques), *plain]


@pytest.mark.parametrize("key", settings_keys())
def test_every_lever_of_the_schema_can_be_proven(key: str) -> None:
    assert (key in LEVERS) != (key in NOT_LEVERS), (
        f"`{key}`: give it an entry in experiment/*_levers.py (its zero value, an epoch in which it is active, the "
        "sign of its effect), or a reason in NOT_LEVERS why it is none"
    )


def test_no_entry_is_left_of_a_lever_that_is_gone() -> None:
    places = {f"techniques.distillation.teachers.{place}" for place in range(1, MOST_TEACHERS)}
    assert {*LEVERS, *NOT_LEVERS} <= {*settings_keys(), *places}


def plain(**train: Any) -> dict[str, Any]:
    base = {"epochs": 20, "imgsz": 64, "batch": 8, "optimizer": "SGD", "lr0": 0.01, "nbs": 8, "warmup_epochs": 3.0}
    return {
        "data": {"dataset": "pcb-synthetic"},
        "model": {"weights": "scratch", "arch": "yolov8n"},
        "train": base | train,
    }


def settings(document: dict[str, Any]) -> Settings:
    return Settings.model_validate_json(json.dumps(document), strict=True)


PULLED = {
    "techniques.p2": True,
    "techniques.anchor_head": {},
    "techniques.assigner": {"topk": 5},
    "techniques.label_smoothing": {"epsilon": 0.1},
    "techniques.ema": {"decay": 0.999, "tau": 10.0},
    "techniques.swa": {"last": 5},
    "techniques.clipping": {"max_norm": 1.0},
    "techniques.class_weights.by": "inverse",
    "techniques.class_weights.pos_weight": 2.0,
    "techniques.sampling": {"by": "inverse"},
    "techniques.progressive": {"stages": [{"imgsz": 32, "until_epoch": 5}]},
    "techniques.late.mosaic": {"from_epoch": 3},
    "train.nbs": 64,
    "train.box": 5.0,
    "train.cls": 1.0,
    "train.dfl": 1.0,
    "train.optimizer": "AdamW",
    "train.lr0": 0.001,
    "train.lrf": 0.1,
    "train.cos_lr": True,
    "train.momentum": 0.9,
    "train.weight_decay": 0.001,
    "train.warmup_epochs": 1.0,
    "train.warmup_momentum": 0.5,
    "train.warmup_bias_lr": 0.0,
    "train.close_mosaic": 2,
    "augment.mosaic": 0.5,
    "augment.mixup": 0.1,
    "augment.cutmix": 0.1,
    "augment.hsv_h": 0.1,
    "augment.hsv_s": 0.1,
    "augment.hsv_v": 0.0,
    "augment.degrees": 10.0,
    "augment.translate": 0.0,
    "augment.scale": 0.2,
    "augment.shear": 2.0,
    "augment.perspective": 0.001,
    "augment.flipud": 0.5,
    "augment.fliplr": 0.0,
    "augment.border": "reflect",
}
TEACHERS = {"teachers": [{"recipe": "x"}]}


def pull(key: str, value: Any) -> Settings:
    document = plain()
    *sections, last = key.split(".")
    node = document
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return settings(document)


@pytest.mark.parametrize("key", PULLED)
def test_a_pulled_lever_is_listed_with_its_values_alone_and_can_be_taken_away(key: str) -> None:
    pulled = pull(key, PULLED[key])
    # SGD, its rate and a batch that steps by itself are no departure, save for the nominal batch.
    usual = {"train.nbs", "train.optimizer"}
    found = {lever.key: lever for lever in levers(pulled, 400)}
    values = {one for one in found if one.startswith(f"{key}.")}
    assert found.keys() - usual - values == {key} - usual
    lever = found[key]
    assert lever.idle is None
    assert without(pulled, lever) != pulled
    assert lever.rare is None
    if key != "train.warmup_epochs":  # without it there is none, which is a departure from stock, too
        assert key not in {left.key for left in levers(without(pulled, lever), 400)} - usual
    assert 0 <= lever.window.epoch < 20


def test_the_teacher_goes_with_its_last_term() -> None:
    both = pull("techniques.distillation", {**TEACHERS, "logits": {}, "box": {}})
    found = {lever.key: lever for lever in levers(both, 4)}
    left = without(both, found["techniques.distillation.logits"]).techniques.distillation
    assert left is not None
    assert left.logits is None
    assert left.box is not None
    one = pull("techniques.distillation", {**TEACHERS, "logits": {}})
    (lever,) = (each for each in levers(one, 4) if "distillation" in each.key)
    assert without(one, lever).techniques.distillation is None


SMOOTHING = {"form": "binary", "schedule": "linear", "off_last": 2}


@pytest.mark.parametrize(("key", "zero"), [("form", "spread"), ("schedule", "constant"), ("off_last", 0)])
def test_how_targets_are_smoothed_is_a_lever_beside_that_they_are(key: str, zero: Any) -> None:
    """Compared with no smoothing at all, a form or a schedule that is lost would still act."""
    pulled = pull("techniques.label_smoothing", {"epsilon": 0.1, key: SMOOTHING[key]})
    found = {lever.key: lever for lever in levers(pulled, 4, (3, 9)) if "smoothing" in lever.key}
    path = f"techniques.label_smoothing.{key}"
    assert found.keys() == {"techniques.label_smoothing", "techniques.label_smoothing.epsilon", path}
    left = without(pulled, found[path]).techniques.label_smoothing
    assert left is not None
    assert (left.epsilon, getattr(left, key)) == (0.1, zero)
    assert found[path].window.epoch == (18 if key == "off_last" else 3), "where the two differ"
    assert path not in {lever.key for lever in levers(without(pulled, found[path]), 4, (3, 9))}


def test_an_epsilon_of_some_classes_is_a_lever_beside_that_of_all() -> None:
    pulled = pull("techniques.label_smoothing", {"epsilon": 0.1, "per_class": {"a": 0.1, "b": 0.3}})
    found = {lever.key: lever for lever in levers(pulled, 4, (3, 9)) if "smoothing" in lever.key}
    lever = found["techniques.label_smoothing.per_class"]
    assert lever.classes == ("b",), "what it says of the other is the recipe's own"
    assert found["techniques.label_smoothing"].classes == ()
    left = without(pulled, lever).techniques.label_smoothing
    assert left is not None
    assert (left.epsilon, left.per_class) == (0.1, {})


def test_the_epsilon_of_all_acts_on_classes_that_have_none_of_their_own() -> None:
    pulled = pull("techniques.label_smoothing", {"epsilon": 0.1, "per_class": {"a": 0.2, "b": 0.3}})

    def epsilon(*names: str) -> Lever:
        found = {lever.key: lever for lever in levers(pulled, 4, (3,) * len(names), names=names)}
        return found["techniques.label_smoothing.epsilon"]

    assert epsilon("a", "b", "c").classes == ("c",)
    assert epsilon("a", "b", "c").idle is None
    assert "an epsilon of its own" in (epsilon("a", "b").idle or "")


def test_one_class_is_smoothed_by_the_one_form_it_can_have() -> None:
    pulled = pull("techniques.label_smoothing", {"epsilon": 0.1, "form": "binary"})
    assert not [lever for lever in levers(pulled, 4, (3,)) if lever.key.endswith("form")], "`spread` is refused there"


@pytest.mark.parametrize("part", ["logits", "box", "features"])
def test_the_schedules_of_a_distillation_term_are_levers(part: str) -> None:
    ends = {"weight": 2.0, "weight_end": 0.5, "temperature": 2.0, "temperature_end": 4.0}
    pulled = pull("techniques.distillation", {**TEACHERS, part: ends})
    found = {lever.key: lever for lever in levers(pulled, 4) if "_end" in lever.key}
    assert {key.rpartition(".")[2] for key in found} == {"weight_end", "temperature_end"}
    for path, lever in found.items():
        left = without(pulled, lever).techniques.distillation
        term = getattr(left, part)
        assert (term.weight, term.temperature) == (2.0, 2.0)
        assert (term.weight_end, term.temperature_end) == ((None, 4.0) if "weight" in path else (0.5, None))


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ({"weight": 1.0, "weight_end": 1.0}, "it equals `weight`"),
        ({"weight": 0.0, "temperature_end": 4.0}, "0 from beginning to end"),
    ],
)
def test_a_schedule_that_goes_nowhere_is_idle(term: dict[str, Any], says: str) -> None:
    pulled = pull("techniques.distillation", {**TEACHERS, "logits": term})
    (lever,) = (each for each in levers(pulled, 4) if each.key.endswith("_end"))
    assert says in (lever.idle or "")


def values(pulled: Settings, key: str) -> dict[str, Any]:
    """The values of a technique that are levers by themselves: key -> zero."""
    return {lever.key: dict(lever.zero) for lever in levers(pulled, 4, (3, 9)) if lever.key.startswith(f"{key}.")}


@pytest.mark.parametrize(
    ("key", "section", "zeros"),
    [
        ("techniques.assigner", {"topk": 5}, {}),
        ("techniques.assigner", {"topk": 5, "beta": 4.0}, {"topk": 10, "beta": 6.0}),
        ("techniques.swa", {"last": 2, "bn_images": 16}, {"bn_images": 256}),
        ("techniques.anchor_head", {"count": 2, "obj": 2.0}, {"obj": 1.0}),
        ("techniques.anchor_head", {"anchors": [[9.0, 9.0]] * 3}, {}),
        ("techniques.anchor_head", {"pos_weight": {"cls": 2.0}}, {"pos_weight.cls": 1.0}),
        ("techniques.anchor_head", {"balance": [4.0, 1.0, 1.0], "threshold": 3.0}, {"balance": None, "threshold": 4.0}),
        ("techniques.label_smoothing", {"epsilon": 0.0, "form": "binary", "per_class": {"a": 0.1}}, {"form": "spread"}),
    ],
)
def test_a_value_that_is_set_to_something_is_a_lever(key: str, section: Any, zeros: dict[str, Any]) -> None:
    pulled = pull(key, section)
    assert values(pulled, key) == {f"{key}.{name}": {f"{key}.{name}": zero} for name, zero in zeros.items()}


def test_the_values_of_a_distillation_term_are_levers() -> None:
    key = "techniques.distillation"
    section = {"logits": {"weight": 2.0}, "box": {}, "features": {"weight": 0.0, "weight_end": 1.0}}
    pulled = pull(key, {**TEACHERS, **section})
    assert values(pulled, key).keys() - {f"{key}.{part}" for part in section} == {
        f"{key}.logits.weight",
        f"{key}.box.weight",
        f"{key}.box.temperature",
        f"{key}.features.weight",
        f"{key}.features.weight_end",
        f"{key}.features.loss",
    }
    for lever in levers(pulled, 4):
        assert without(pulled, lever) != pulled
    (swapped,) = (lever for lever in levers(pulled, 4) if lever.key.endswith("features.loss"))
    left = without(pulled, swapped).techniques.distillation
    assert left is not None
    assert left.features is not None
    assert (left.features.loss, left.features.temperature) == ("mse", None)


def test_shares_of_teachers_are_a_lever_where_they_differ() -> None:
    key = "techniques.distillation.teachers"
    two = [{"recipe": "x", "weight": 2.0}, {"recipe": "y", "weight": 1.0}]
    pulled = pull("techniques.distillation", {"teachers": two, "logits": {}})
    assert values(pulled, key)[f"{key}.weight"] == {key: [{"recipe": n, "run": None, "weight": 1.0} for n in "xy"]}
    alike = pull("techniques.distillation", {"teachers": [{**one, "weight": 2.0} for one in two], "logits": {}})
    assert values(alike, key) == {}


def test_each_of_many_teachers_is_taken_away_alone() -> None:
    key = "techniques.distillation.teachers"
    many = pull("techniques.distillation", {"teachers": [{"recipe": name} for name in "xyz"], "logits": {}})
    left = {path: [one["recipe"] for one in zero[key]] for path, zero in values(many, key).items()}
    assert left == {f"{key}.1": ["x", "z"], f"{key}.2": ["x", "y"]}
    two = pull("techniques.distillation", {"teachers": [{"recipe": name} for name in "xy"], "logits": {}})
    assert values(two, key) == {}, "with two it is what both are compared with"


def test_a_level_goes_with_what_it_needs() -> None:
    rows = [[4.0, 4.0], [8.0, 8.0], [16.0, 16.0], [32.0, 32.0]]
    head = {"anchors": rows, "balance": [4.0, 1.0, 1.0, 0.5]}
    both = {"techniques": {"p2": True, "anchor_head": head, "distillation": {**TEACHERS, "logits": {}}}}
    pulled = settings(plain() | both)
    left = without(pulled, next(lever for lever in levers(pulled, 4) if lever.key == "techniques.p2")).techniques
    assert left.anchor_head is not None
    assert left.anchor_head.anchors == ((8.0, 8.0), (16.0, 16.0), (32.0, 32.0))
    assert left.anchor_head.balance == (1.0, 1.0, 0.5)
    assert left.distillation is None, "a teacher has the levels of its student"


def test_a_value_that_cannot_matter_is_idle() -> None:
    def idle(pulled: Settings, key: str, batches: int = 4) -> str:
        return next(lever.idle or "" for lever in levers(pulled, batches) if lever.key == key)

    all_images = pull("techniques.swa", {"last": 2, "bn_images": 64})
    assert "4 batches of the epoch's 4, as 256 does" in idle(all_images, "techniques.swa.bn_images")
    assert idle(all_images, "techniques.swa.bn_images", 9) == ""
    nearly = pull("techniques.swa", {"last": 2, "bn_images": 250})
    assert "32 batches" in idle(nearly, "techniques.swa.bn_images", 90), "of 8 images each, whole batches are taken"
    yolov5 = pull("techniques.anchor_head", {"balance": [4.0, 1.0, 0.4]})
    assert "YOLOv5's own" in idle(yolov5, "techniques.anchor_head.balance")
    silent = {"cls": 0.0, "obj": 0.0, "balance": [4.0, 1.0, 1.0], "pos_weight": {"obj": 2.0, "cls": 2.0}}
    for value, gain in (("balance", "obj"), ("pos_weight.obj", "obj"), ("pos_weight.cls", "cls")):
        words = idle(pull("techniques.anchor_head", silent), f"techniques.anchor_head.{value}")
        assert f"`anchor_head.{gain}: 0` leaves no such loss" in words
    weightless = {"teachers": [{"recipe": "x", "weight": 2.0}, {"recipe": "y"}], "logits": {"weight": 0.0}}
    for part in ("", ".weight"):
        words = idle(pull("techniques.distillation", weightless), f"techniques.distillation.teachers{part}")
        assert words == "no term has any weight"
    beyond = settings(plain(close_mosaic=0) | {"techniques": {"late": {"mosaic": {"from_epoch": 30}}}})
    assert "the run ends before" in idle(beyond, "techniques.late.mosaic.from_epoch")
    closed = settings(plain(close_mosaic=15) | {"techniques": {"late": {"mosaic": {"from_epoch": 6}}}})
    assert "closed before it begins" in idle(closed, "techniques.late.mosaic.from_epoch")


def test_every_size_of_a_progressive_run_is_looked_at() -> None:
    stages = [{"imgsz": 32, "until_epoch": 4}, {"imgsz": 64, "until_epoch": 5}, {"imgsz": 96, "until_epoch": 12}]
    (lever,) = (each for each in levers(pull("techniques.progressive", {"stages": stages}), 4) if "prog" in each.key)
    assert lever.window.first_of == (0, 3, 4, 5, 11, 12, 19), "the first and the last epoch of each"
    assert lever.idle is None


def test_what_few_images_show_is_looked_for_in_many() -> None:
    """So many that missing it has a chance of one in a thousand, from all epochs in which it acts."""

    def window(mixup: float, batches: int) -> tuple[Any, str | None]:
        pulled = settings(plain(close_mosaic=5) | {"augment": {"mixup": mixup}})
        (lever,) = (each for each in levers(pulled, batches) if each.key == "augment.mixup")
        return lever.window, lever.rare

    assert window(0.5, 4) == (Window(3, views=32), None), "an epoch is enough"
    found, rare = window(0.1, 4)
    assert rare is None
    assert 0.9**found.views <= 1e-3 < 0.9 ** (found.views - 1)
    assert (found.epoch, found.epochs) == (3, 12), "until mosaic is closed"
    assert window(0.02, 40) == (Window(3, views=342, epochs=12), None)
    assert window(0.02, 3) == (Window(0, views=342, epochs=15), None), "from earlier epochs, where it takes them"
    found, rare = window(0.001, 400)
    assert found.views == 1024
    assert rare == "it shows in one of 1000 images, and in none of the 1024 that were looked at"
    assert window(0.02, 1)[0].views == 8 * 15, "the run has no more of them"
    assert "120 that were looked at" in (window(0.02, 1)[1] or "")


def test_images_are_counted_and_not_the_places_of_their_batch() -> None:
    """Ten images in a batch of 64: an epoch has no more than ten views to look at."""
    pulled = settings(plain(close_mosaic=0, batch=64, nbs=64) | {"augment": {"mixup": 0.05}})
    (lever,) = (each for each in levers(pulled, 1, (), 10) if each.key == "augment.mixup")
    assert lever.window.views == 135, "of the 170 that are left of the run"
    few = pulled.model_copy(update={"train": pulled.train.model_copy(update={"epochs": 5})})
    (lever,) = (each for each in levers(few, 1, (), 10) if each.key == "augment.mixup")
    assert lever.window.views == 50
    assert lever.rare == "it shows in one of 20 images, and in none of the 50 that were looked at"


def test_a_mosaic_that_few_images_have_is_closed_in_many_views() -> None:
    late = {"late": {"mosaic": {"from_epoch": 15}}}
    pulled = settings(plain(close_mosaic=2) | {"augment": {"mosaic": 0.05}})
    (lever,) = (each for each in levers(pulled, 4) if each.key == "train.close_mosaic")
    assert lever.window == Window(10, views=135, epochs=8), "from stock's last ten epochs to the recipe's last two"
    assert lever.rare is None
    begun = settings(plain(close_mosaic=2) | {"techniques": late})
    (lever,) = (each for each in levers(begun, 4) if each.key == "train.close_mosaic")
    assert lever.window.epoch == 14
    never = settings(plain(close_mosaic=12) | {"techniques": late})
    (lever,) = (each for each in levers(never, 4) if each.key == "train.close_mosaic")
    assert "has not begun by then" in (lever.idle or "")


@pytest.mark.parametrize(
    ("close_mosaic", "augment", "techniques", "window"),
    [
        (5, {}, {}, Window(15, views=32)),
        (0, {"mosaic": 0.0}, {}, Window(3, views=32)),
        (0, {}, {"late": {"mosaic": {"from_epoch": 3}}}, Window(0, views=32)),
        (0, {}, {}, Window(3, views=256, epochs=17)),
    ],
    ids=["closed at the end", "none", "late", "always open"],
)
def test_a_border_is_looked_for_where_no_mosaic_covers_it(
    close_mosaic: int, augment: dict[str, Any], techniques: dict[str, Any], window: Window
) -> None:
    document = plain(close_mosaic=close_mosaic) | {"augment": augment | {"border": "random"}, "techniques": techniques}
    (lever,) = (each for each in levers(settings(document), 4) if each.key == "augment.border")
    assert lever.window == window
    assert (lever.rare is not None) == (window.epochs > 1)


def test_steps_are_looked_at_where_the_run_has_them() -> None:
    """Eight batches to a step and four an epoch: of three epochs the last two have not enough for two steps."""
    short = settings(plain(epochs=3, warmup_epochs=0.5, nbs=64, lr0=0.001) | {"techniques": {"ema": {"tau": 5.0}}})
    found = {lever.key: lever.window for lever in levers(short, 4)}
    assert found["train.optimizer"] == found["techniques.ema"] == Window(0, batches=12)
    assert found["train.lr0"].epoch == 1, "a rate is one whether a step is made or not"
    longer = short.model_copy(update={"train": short.train.model_copy(update={"epochs": 5})})
    assert {lever.key: lever.window for lever in levers(longer, 4)}["techniques.ema"] == Window(1, batches=16)


def test_rates_are_looked_at_no_further_than_the_schedule_goes() -> None:
    """Twelve batches to two steps: after the fourth SWA's own rate is the same with and without `lr0`."""
    swa = {"techniques": {"swa": {"last": 4, "lr": 0.01}}}
    held = settings(plain(epochs=5, warmup_epochs=0, nbs=48, lr0=0.001, lrf=0.5) | swa)
    found = {lever.key: lever for lever in levers(held, 4)}
    assert found["train.lr0"].window == Window(0, batches=4)
    cosine = settings(plain(epochs=8, warmup_epochs=0, nbs=80, cos_lr=True))
    (lever,) = (each for each in levers(cosine, 4) if each.key == "train.cos_lr")
    assert lever.window == Window(2, batches=4), "a line and a cosine cross in epoch 5"


def test_nothing_is_smoothed_or_weighed_in_a_class_loss_that_counts_nothing() -> None:
    both = {"label_smoothing": {"epsilon": 0.1}, "class_weights": {"by": "inverse", "pos_weight": {"a": 2.0}}}
    keys = ["techniques.label_smoothing", "techniques.class_weights.by", "techniques.class_weights.pos_weight"]
    for off, head in (({"cls": 0.0}, {}), ({}, {"anchor_head": {"cls": 0.0}})):
        pulled = settings(plain(**off) | {"techniques": both | head})
        found = {lever.key: lever.idle or "" for lever in levers(pulled, 4, (3, 9))}
        assert all("cls: 0` leaves no class loss" in found[key] for key in keys)


def test_class_weights_and_the_positive_weight_are_taken_away_one_by_one() -> None:
    both = pull("techniques.class_weights", {"by": "effective_number", "beta": 0.99, "pos_weight": {"a": 2.0}})
    found = {lever.key: lever for lever in levers(both, 4, (3, 9)) if "class_weights" in lever.key}
    left = {key: without(both, lever).techniques.class_weights for key, lever in found.items()}
    by, positive = left["techniques.class_weights.by"], left["techniques.class_weights.pos_weight"]
    assert by is not None
    assert (by.by, by.beta, by.pos_weight) == (None, None, {"a": 2.0})
    assert positive is not None
    assert (positive.by, positive.beta, positive.pos_weight) == ("effective_number", 0.99, None)


def test_each_late_augmentation_is_a_lever_of_its_own() -> None:
    late = {"mosaic": {"from_epoch": 3}, "cutmix": {"from_epoch": 2}}
    pulled = settings(plain() | {"augment": {"cutmix": 0.5}, "techniques": {"late": late}})
    found = {lever.key: lever for lever in levers(pulled, 4) if "late" in lever.key}
    names = ("techniques.late.mosaic", "techniques.late.cutmix")
    assert found.keys() == {*names, *(f"{name}.from_epoch" for name in names)}, "that it waits, and that it comes"
    comes = found["techniques.late.cutmix.from_epoch"]
    assert (comes.window.epoch, dict(comes.zero)) == (1, {"techniques.late.cutmix": None, "augment.cutmix": 0.0})
    left = without(pulled, found["techniques.late.mosaic"]).techniques.late
    assert left is not None
    assert left.begins() == {"cutmix": 2}


def test_one_of_several_teachers_is_left() -> None:
    two = [{"recipe": "x", "weight": 2.0}, {"recipe": "y"}]
    pulled = pull("techniques.distillation", {"teachers": two, "logits": {}})
    (lever,) = (each for each in levers(pulled, 4) if each.key.endswith("teachers"))
    left = without(pulled, lever).techniques.distillation
    assert left is not None
    assert [(teacher.recipe, teacher.weight) for teacher in left.teachers] == [("x", 2.0)]


@pytest.mark.parametrize(
    ("key", "value", "train", "says"),
    [
        ("techniques.label_smoothing", {"epsilon": 0.0}, {}, "epsilon is 0"),
        ("techniques.assigner", {"topk": 10}, {}, "Ultralytics' own"),
        ("techniques.ema", {"decay": 0.9999, "tau": 2000.0}, {}, "Ultralytics' own"),
        ("techniques.ema", {"every": 1000}, {"epochs": 2}, None),
        ("techniques.progressive", {"stages": [{"imgsz": 64, "until_epoch": 5}]}, {}, "deployed size"),
        ("techniques.late.mixup", {"from_epoch": 3}, {}, "gain of 0"),
        ("techniques.clipping", {"max_norm": 10.0}, {}, "Ultralytics' own"),
        ("techniques.class_weights.pos_weight", {"a": 1.0}, {}, "every factor is 1"),
        ("techniques.class_weights.pos_weight", 1.0, {}, "its factor is 1"),
        ("train.cos_lr", True, {"epochs": 2}, "meet"),
        ("train.cos_lr", True, {"lrf": 1.0}, "the rate stays"),
        ("train.lrf", 0.1, {"epochs": 1}, "one epoch"),
        ("train.warmup_bias_lr", 0.0, {"warmup_epochs": 0.0}, "no warm-up"),
        ("augment.mixup", 0.5, {"close_mosaic": 20}, "closed with mosaic"),
    ],
)
def test_a_lever_that_can_never_act_is_idle(key: str, value: Any, train: dict[str, Any], says: str | None) -> None:
    pulled = pull(key, value)
    pulled = pulled.model_copy(update={"train": pulled.train.model_copy(update=train)})
    (lever,) = (each for each in levers(pulled, 4) if each.key == key)
    assert (lever.idle is None) == (says is None)
    assert (says or "") in (lever.idle or "")


@pytest.mark.parametrize(
    ("swa", "epoch"),
    [
        ({"last": 17, "lr": 0.005}, 2),
        ({"last": 17}, 3),
        ({"last": 15, "lr": 0.005}, 4),
        ({"last": 20, "lr": 0.005}, None),
    ],
)
def test_rates_are_looked_at_before_swa_has_its_own(swa: dict[str, Any], epoch: int | None) -> None:
    """`epoch` is the last one whose rate the schedule says: a held rate begins where it stands."""
    warmup = 0.0 if epoch is None else 3.0
    document = plain(lr0=0.001, lrf=0.1, cos_lr=True, warmup_epochs=warmup) | {"techniques": {"swa": swa}}
    found = {lever.key: lever for lever in levers(settings(document), 4)}
    rates = [found[f"train.{key}"] for key in ("lr0", "lrf", "cos_lr")]
    if epoch is None:
        assert all(lever.idle for lever in rates)
    else:
        assert [lever.idle for lever in rates] == [None] * 3
        assert [lever.window.epoch for lever in rates] == [min(epoch, 3), min(epoch, 3), epoch]


def test_windows_lie_where_the_lever_is_active() -> None:
    windows = {
        lever.key: lever.window
        for lever in levers(
            settings(
                plain(warmup_epochs=5.0, close_mosaic=12, momentum=0.9, nbs=16)
                | {"augment": {"mixup": 0.1}, "techniques": {"label_smoothing": {"epsilon": 0.1, "off_last": 17}}}
            ),
            4,
        )
    }
    assert windows["train.momentum"].epoch == 5, "past the warm-up, where the rate is whole"
    assert windows["train.momentum"].batches == 4, "two optimizer steps of two batches"
    assert windows["train.warmup_epochs"].epoch == 0
    assert windows["augment.mixup"].epoch == 5, "while mosaic is open"
    assert windows["train.close_mosaic"].epoch == 8, "closed for twelve epochs, and not yet for stock's ten"
    assert windows["techniques.label_smoothing"].epoch == 2, "before it is switched off"
