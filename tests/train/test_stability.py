"""Clipping and loss gains in real trainings: they act, and their stock values are stock to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.technique_sections import Clipping
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.train.trainer import RecipeTrainer


@pytest.fixture
def one_epoch(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> Any:
    def train(techniques: list[Technique], **changes: Any) -> tuple[RecipeTrainer, list[dict[str, Any]]]:
        run = RunDir.create("r", tmp_path)
        short = {"epochs": 1, "close_mosaic": 0, "nbs": 4, "optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 0}
        trainer = RecipeTrainer(arguments | short | changes | {"save_dir": str(run.root)}, run, toy_set, techniques)
        trainer.train()
        return trainer, [json.loads(line) for line in run.steps.read_text().splitlines()]

    return train


def clipping(max_norm: float | bool) -> list[Technique]:
    return [ClippingTechnique(Clipping.model_validate({"max_norm": max_norm}))]


def same(left: RecipeTrainer, right: RecipeTrainer) -> bool:
    one, other = left.model.state_dict(), right.model.state_dict()
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_clipping_acts_and_its_zero_value_is_stock(one_epoch: Any) -> None:
    stock, steps = one_epoch([])
    norms = [step["techniques"]["gradient/norm"] for step in steps]
    assert max(norms) > 10 > min(norms) or min(norms) > 10, "some gradient must be longer than stock lets through"
    ten, _ = one_epoch(clipping(10.0))
    assert same(ten, stock)
    for max_norm in (0.5, False):
        other, steps = one_epoch(clipping(max_norm))
        assert not same(other, stock)
        numbers = [step["techniques"] for step in steps]
        assert numbers[0]["clipping/norm"] == norms[0], "the first gradient is the same"
        for line in numbers:
            expected = min(0.5, line["clipping/norm"]) if max_norm else line["clipping/norm"]
            assert line["clipping/clipped_norm"] == pytest.approx(expected, rel=1e-4)


def test_gradients_are_clipped_once_a_step_not_once_a_batch(one_epoch: Any) -> None:
    _, steps = one_epoch(clipping(0.5), nbs=12)
    assert ["clipping/norm" in step["techniques"] for step in steps] == [False, False, True] * 2


def test_gains_scale_the_losses(one_epoch: Any) -> None:
    """The first batch's losses are proportional to their gains, and the stock gains are stock."""
    stock, steps = one_epoch([])
    explicit, _ = one_epoch([], box=7.5, cls=0.5, dfl=1.5)
    assert same(explicit, stock)
    first = steps[0]["loss"]
    _, steps = one_epoch([], box=15.0, cls=0.25, dfl=0.0)
    changed = steps[0]["loss"]
    assert changed["box_loss"] == pytest.approx(2 * first["box_loss"], rel=1e-6)
    assert changed["cls_loss"] == pytest.approx(first["cls_loss"] / 2, rel=1e-6)
    assert changed["dfl_loss"] == 0.0
