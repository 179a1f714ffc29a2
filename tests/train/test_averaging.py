"""Averages of the weights in real trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.technique_sections import Ema
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.ema import EmaTechnique
from recipebox.train.records import validated
from recipebox.train.trainer import RecipeTrainer


@pytest.fixture
def short(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> Any:
    def train(techniques: list[Technique], **changes: Any) -> tuple[RecipeTrainer, list[dict[str, Any]]]:
        run = RunDir.create("r", tmp_path)
        two = {"epochs": 2, "close_mosaic": 0, "nbs": 8, "warmup_epochs": 0}
        trainer = RecipeTrainer(arguments | two | changes | {"save_dir": str(run.root)}, run, toy_set, techniques)
        trainer.train()
        return trainer, [json.loads(line) for line in run.epochs.read_text().splitlines()]

    return train


def state(trainer: RecipeTrainer) -> dict[str, torch.Tensor]:
    """Live weights, average and optimizer."""
    found = {f"live/{key}": value for key, value in trainer.network.state_dict().items()}
    found |= {f"average/{key}": value for key, value in trainer.ema.ema.state_dict().items()}
    for number, moments in trainer.optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{number}/{key}": value for key, value in moments.items() if torch.is_tensor(value)}
    return found


def differing(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    assert left.keys() == right.keys()
    return [key for key in left if not torch.equal(left[key], right[key])]


@pytest.mark.parametrize(("model", "epochs"), [("yolov8n.yaml", 2), ("yolo26n.yaml", 1)])
def test_validating_the_live_weights_changes_nothing_else(short: Any, model: str, epochs: int) -> None:
    one, alone = short([EmaTechnique(Ema(tau=5))], model=model, epochs=epochs)
    both, beside = short([EmaTechnique(Ema(tau=5, evaluate_both=True))], model=model, epochs=epochs)
    assert differing(state(one), state(both)) == []
    assert one.run_dir.best.read_bytes() == both.run_dir.best.read_bytes()
    live = [line.pop("val_live") for line in beside]
    for left, right, measured in zip(alone, beside, live, strict=True):
        assert {k: v for k, v in left.items() if k != "seconds"} == {k: v for k, v in right.items() if k != "seconds"}
        assert measured.keys() >= {"mAP50", "mAP50-95", "box_loss", "cls_loss"}
        assert measured["box_loss"] != left["val"]["box_loss"]
    both.ema.ema.load_state_dict(both.network.state_dict())
    again = both.validator(both)
    again.pop("fitness")
    assert validated(both, again) == live[-1], "what is said of the live weights is what they measure"


def test_without_an_average_both_measure_the_same(short: Any) -> None:
    _, epochs = short([EmaTechnique(Ema(decay=0.0, evaluate_both=True))])
    assert all(line["val"] == line["val_live"] for line in epochs)


def test_an_average_every_other_step_differs_and_training_does_not(short: Any) -> None:
    each, _ = short([EmaTechnique(Ema(tau=5))])
    other, epochs = short([EmaTechnique(Ema(tau=5, every=2))])
    different = differing(state(each), state(other))
    assert different
    assert all(key.startswith("average/") for key in different)
    assert epochs[-1]["optimizer_steps"] == other.ema.updates == 6
