"""How a run came about: the command that repeats it makes the same lock, and what it says of interruptions."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from recipebox.experiment.grid import Arm, parse_over, plan_arms
from recipebox.recipe.changes import parse_set
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.recipe.load import load_recipe
from recipebox.recipe.lock import deciding_settings
from recipebox.recipe.plan import Change, Plan, make_plan, plan_from_yaml
from recipebox.report.provenance import repeat_section, training_section
from recipebox.report.source import read_run
from recipebox.run_dir import RunDir
from recipebox.supplies import Supplies, probe

if TYPE_CHECKING:
    from conftest import CommandLine

Edit = Callable[..., None]
BODY = """\
# purpose: as small as can be
data: {dataset: pcb-synthetic, images: 8}
model: {weights: scratch, arch: yolov8n}
train: {epochs: 9, imgsz: 64, batch: 4, optimizer: SGD, lr0: 0.01}
profiles: {short: {train: {epochs: 8}}}
"""
LEARNING = "techniques: {distillation: {teachers: [{recipe: teacher.yaml}], logits: {weight: 1.0}}}\n"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "teacher.yaml").write_text(BODY, encoding="utf-8")
    (folder / "plain.yaml").write_text(BODY, encoding="utf-8")
    (folder / "student.yaml").write_text(BODY + LEARNING, encoding="utf-8")
    return folder


def deciding(plan: Plan) -> object:
    """What of a plan decides its lock; data, weights and code are those that are here."""
    return plan.device, deciding_settings(plan.settings), [deciding(teacher) for teacher in plan.teachers]


def printed(run: RunDir, plan: Plan) -> list[str]:
    """The command that the report of a run with this plan prints first, as a shell takes it apart."""
    section = repeat_section(replace(read_run(run), plan=plan), [])
    line = next(line for line in section.splitlines() if line.startswith("recipebox "))
    return shlex.split(line)[1:]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["techniques.swa.last=3"],
        ["techniques.label_smoothing={epsilon: 0.05, per_class: {open: 0.1}}", "train.lr0=1e-5", "data.images=16"],
        ["techniques.class_weights.pos_weight.open=2", "model.arch=yolov8s", "evaluate.compare=[plain]"],
    ],
    ids=str,
)
def test_the_printed_command_plans_the_same_run(
    make_run: Callable[..., RunDir], recipes: Path, command_line: CommandLine, changes: list[str]
) -> None:
    loaded = load_recipe(recipes / "plain.yaml")
    plan = make_plan(loaded, probe("cpu"), profile="short", overrides=parse_set(changes))
    verb, *rest = printed(make_run("plain"), plan)
    assert verb == "train"
    again = command_line("plan", *rest, "--json")
    assert again.returncode == 0, again.stderr
    made = plan_from_yaml(yaml.safe_dump(json.loads(again.stdout)))
    assert (deciding(made), made.profile) == (deciding(plan), plan.profile)


def test_a_name_with_a_dot_is_set_with_those_beside_it(make_run: Callable[..., RunDir], recipes: Path) -> None:
    plan = make_plan(load_recipe(recipes / "plain.yaml"), probe("cpu"))
    smoothing = LabelSmoothing(epsilon=0.1, per_class={"no. 5": 0.3, "open": 0.2})
    techniques = plan.settings.techniques.model_copy(update={"label_smoothing": smoothing})
    settings = plan.settings.model_copy(update={"techniques": techniques})
    change = Change("techniques.label_smoothing.per_class.no. 5", 0.1, 0.3, "--set")
    options = printed(make_run("plain"), replace(plan, settings=settings, changes=(change,)))
    again = parse_set([options[options.index("--set") + 1]])
    assert again["techniques"]["label_smoothing"] == {"per_class": smoothing.per_class}


def test_a_run_of_a_sweep_is_repeated_with_its_seed(make_run: Callable[..., RunDir], recipes: Path) -> None:
    seeded = arm(recipes, "plain").seeded(7)
    verb, name, *options = printed(make_run("plain"), seeded)
    assert verb == "train"
    again = make_plan(load_recipe(name), probe("cpu"), overrides=parse_set(options[3::2]))
    assert deciding(again) == deciding(seeded)
    assert again.settings.train.seed == 7


def test_a_student_of_a_sweep_keeps_its_teacher(make_run: Callable[..., RunDir], recipes: Path) -> None:
    """`--set train.seed` gives teachers another seed too, so only a sweep makes this run."""
    seeded = arm(recipes, "student").seeded(7)
    verb, name, *options = printed(make_run("student"), seeded)
    assert verb == "sweep"
    assert options[options.index("--seeds") + 1] == "7"
    assert "train.seed" not in " ".join(options)
    changes = [value for option, value in zip(options[::2], options[1::2], strict=True) if option == "--set"]
    loaded = load_recipe(name)
    (again,) = plan_arms(loaded, probe("cpu"), Supplies(), over={}, profile=None, changes=changes)
    assert deciding(again.seeded(7)) == deciding(seeded)


def arm(recipes: Path, name: str) -> Arm:
    over, _ = parse_over(["train.lr0=0.02"], [])
    (only,) = plan_arms(
        load_recipe(recipes / f"{name}.yaml"), probe("cpu"), Supplies(), over=over, profile=None, changes=[]
    )
    return only


@pytest.mark.parametrize(("after", "words"), [(7, "went on after epoch 7"), (0, "in one go")])
def test_it_is_said_where_training_went_on(run: RunDir, edit_result: Edit, after: int, words: str) -> None:
    edit_result(run, "train", ("resumed",), after)
    text = training_section(read_run(run), {})
    assert words in text
    assert "time(s)" not in text


def test_what_had_changed_when_training_went_on_is_said(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "train", ("differences",), ["torch 2.14.1 -> 2.11.0", "<b>"])
    text = training_section(read_run(run), {})
    assert "**not as its lock says**: torch 2.14.1 -&gt; 2.11.0; &lt;b&gt;" in text


def test_the_printed_values_are_json(make_run: Callable[..., RunDir], recipes: Path) -> None:
    plan = make_plan(load_recipe(recipes / "plain.yaml"), probe("cpu"), overrides=parse_set(["techniques.ema=off"]))
    words = printed(make_run("plain"), plan)
    assert words[words.index("--device") + 1] == "cpu"
    key, _, value = words[words.index("--set") + 1].partition("=")
    assert (key, json.loads(value)) == ("techniques.ema", False)
