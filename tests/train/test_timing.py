"""`plan --time`: the estimate comes from steps that were really taken, the teacher's pass among them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from recipebox.errors import PlanConflict
from recipebox.recipe.load import load_recipe
from recipebox.recipe.machine import Machine
from recipebox.recipe.plan import Plan, make_plan, plan_from_yaml, plan_to_yaml
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.train import timing

if TYPE_CHECKING:
    from conftest import CommandLine

RECIPES = Path(__file__).parents[2] / "recipes"


def smoke_plan(name: str, **overrides: Any) -> Plan:
    counts = {"train": 48, "val": 12, "test": 24}
    known = SimpleNamespace(names=tuple("abcdef"), counts=counts, download_bytes=None, available=True, meant=None)
    machine = Machine("cpu", None, 2, 10**12, lambda *_: known, lambda *_: True, lambda *_: 0)
    loaded = load_recipe(str(RECIPES / f"{name}.yaml"))
    return make_plan(loaded, machine, profile="smoke", overrides={"train": {"imgsz": 64, "batch": 2}, **overrides})


def test_steps_are_timed_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    answer = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, images: asked.append(images.shape) or answer(self, images))
    plan = timing.timed(smoke_plan("pcb-distill"), steps=2)
    assert asked == [(2, 3, 64, 64)] * 3, "one step to warm up, two that count"
    for each in (plan, plan.teachers[0]):
        step = each.estimate.step_seconds
        assert step is not None and step > 0
        batches = 48 // each.settings.train.batch
        # Two epochs; a validated image costs 0.3 of a trained one.
        assert each.estimate.seconds == pytest.approx(step * batches * 2 * (1 + 0.3 * 12 / 48))
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


@pytest.mark.parametrize("name", ["pcb-baseline", "pcb-small", "pcb-anchors"])
def test_the_network_that_is_timed_is_the_one_that_is_trained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a level of stride 4 a step takes about twice as long."""
    made: list[Any] = []
    whole = timing._detector

    def noted(*given: Any) -> Any:
        made.append(whole(*given))
        return made[-1]

    monkeypatch.setattr(timing, "_detector", noted)
    assert (timing.timed(smoke_plan(name), steps=1).estimate.step_seconds or 0) > 0
    head = made[0].model[-1]
    assert head.stride.tolist() == ([4, 8, 16, 32] if name == "pcb-small" else [8, 16, 32])
    assert (type(head).__name__ == "AnchorDetect") == (name == "pcb-anchors")


def test_a_network_nobody_named_cannot_be_timed() -> None:
    plan = smoke_plan("pcb-baseline", model={"weights": "mine.pt", "fallback": None})
    with pytest.raises(PlanConflict, match=r"Add `model\.arch`"):
        timing.timed(plan)


def test_time_on_the_command_line(command_line: CommandLine) -> None:
    command = ["plan", str(RECIPES / "pcb-baseline.yaml"), "--profile", "smoke", "--time"]
    command += ["--set", "train.imgsz=64", "--set", "train.batch=2"]
    answered = command_line(*command, "--json")
    assert answered.returncode == 0, answered.stderr
    estimate = json.loads(answered.stdout)["estimate"]
    assert estimate["seconds"] > estimate["step_seconds"] > 0
    shown = command_line(*command).stdout
    assert "from steps timed here" in shown and "rough: scaled" not in shown
