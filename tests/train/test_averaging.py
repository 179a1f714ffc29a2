"""Averages of the weights in real trainings."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox import progress
from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.technique_sections import Ema, Swa
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique, TrainingContext
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.swa import SwaTechnique
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
    _, epochs = short([EmaTechnique(Ema(decay=0.0, evaluate_both=True))], epochs=1)
    assert all(line["val"] == line["val_live"] for line in epochs)


def test_the_decay_in_force_is_told_without_any_lever(
    short: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SHOW_AFTER_S", 0.0)  # the line is wanted however quick this machine is
    trainer, _ = short([], epochs=1)
    steps = [json.loads(line)["techniques"]["ema/decay"] for line in trainer.run_dir.steps.read_text().splitlines()]
    stock = [0.9999 * (1 - math.exp(-n / 2000)) for n in (1, 2, 3)]
    assert steps == pytest.approx([1.0, stock[0], stock[0], stock[1], stock[1], stock[2]])
    assert "ema 0.0015" in capfd.readouterr().err


def test_off_ships_the_live_weights_and_their_statistics(short: Any) -> None:
    """Four batches make a step and an epoch has six, so two wait at its end: statistics moved on, weights did not."""
    trainer, _ = short([EmaTechnique(None)], epochs=1, nbs=16)
    assert trainer.pending == 2
    live = trainer.network.state_dict()
    shipped = torch.load(trainer.run_dir.last, weights_only=False)["model"].state_dict()
    assert differing(live, shipped) == []
    assert all(value.dtype in (torch.float32, torch.int64) for value in shipped.values())


def test_swa_averages_where_the_ema_is_off(short: Any) -> None:
    watching = Watching()
    trainer, _ = short([watching, EmaTechnique(None), SwaTechnique(Swa(last=2, bn_images=4), epochs=2, lr0=0.002)])
    key = "model.0.conv.weight"
    expected = torch.stack([end[key] for end in watching.ends]).mean(0)
    assert torch.allclose(trainer.ema.ema.state_dict()[key], expected, rtol=1e-5, atol=1e-7)


def test_an_average_every_other_step_differs_and_training_does_not(short: Any) -> None:
    each, _ = short([EmaTechnique(Ema(tau=5))], epochs=1, nbs=4)
    other, epochs = short([EmaTechnique(Ema(tau=5, every=2))], epochs=1, nbs=4)
    different = differing(state(each), state(other))
    assert different
    assert all(key.startswith("average/") for key in different)
    assert epochs[-1]["optimizer_steps"] == other.ema.updates == 6


class Watching(Technique):
    """Keeps the live weights of every epoch's end, and the images that a context offers for statistics."""

    name = "watching"

    def __init__(self) -> None:
        self.ends: list[dict[str, torch.Tensor]] = []
        self.batches: list[torch.Tensor] = []
        self.offered: list[torch.Tensor] = []

    def on_batch(self, batch: Any) -> None:
        self.batches.append(batch["img"].clone())

    def on_epoch_end(self, context: TrainingContext) -> None:
        self.ends.append({key: value.clone() for key, value in context.model.state_dict().items()})
        self.offered = list(context.training_images(6))


def statistics(key: str) -> bool:
    return "running_" in key or "num_batches" in key


def test_swa_ships_the_mean_of_the_last_epochs_ends(short: Any) -> None:
    """Weights, learning rate, statistics and telemetry of three averaged epochs after one of EMA."""
    watching = Watching()
    swa = SwaTechnique(Swa(last=3, bn_images=6), epochs=4, lr0=0.002)
    trainer, epochs = short([watching, EmaTechnique(Ema(tau=5)), swa], epochs=4, nbs=4)
    average = trainer.ema.ema.state_dict()
    for key, value in average.items():
        if value.is_floating_point() and not statistics(key):
            expected = torch.stack([end[key].double() for end in watching.ends[1:]]).mean(0)
            assert torch.allclose(value.double(), expected, rtol=1e-5, atol=1e-7), key
    assert len(watching.ends) == 4

    numbers = [line["techniques"] for line in epochs]
    assert "swa/averaged" not in numbers[0]
    assert [line.get("swa/averaged") for line in numbers[1:]] == [1, 2, 3]
    assert [line["ema/decay"] for line in numbers[1:]] == pytest.approx([0, 1 / 2, 2 / 3])
    assert numbers[3]["swa/bn_images"] == 8, "whole batches of four"
    assert epochs[-1]["optimizer_steps"] == trainer.ema.updates == 24

    rates = [line["lr"] for line in epochs]
    stock = [0.002 * ((1 - epoch / 4) * 0.99 + 0.01) for epoch in range(4)]
    assert rates == pytest.approx([stock[0], stock[1], stock[1], stock[1]])

    assert all(torch.equal(a, b) for a, b in zip(watching.offered, watching.batches[-6:-4], strict=True))
    first = deepcopy(trainer.ema.ema).train()
    norm = next(module for module in first.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for images in watching.offered:
            first(images)
    handle.remove()
    means = torch.stack([values.mean((0, 2, 3)) for values in seen]).mean(0)
    name = next(key for key in average if key.endswith("running_mean"))
    assert torch.allclose(average[name], means, rtol=1e-4, atol=1e-5)


def test_until_it_begins_swa_changes_nothing(short: Any) -> None:
    one, _ = short([EmaTechnique(Ema(tau=5))], epochs=1)

    class OneEpoch(SwaTechnique):
        def on_epoch_end(self, context: TrainingContext) -> None:
            super().on_epoch_end(context)
            context.stop = True  # type: ignore[attr-defined]

    other, more = short([EmaTechnique(Ema(tau=5)), OneEpoch(Swa(last=1), epochs=2, lr0=0.002)], epochs=2)
    assert len(more) == 1
    assert differing(state(one), state(other)) == []


def test_a_rate_of_ones_own(short: Any) -> None:
    _, epochs = short([SwaTechnique(Swa(last=1, lr=0.005, bn_images=4), epochs=2, lr0=0.002)])
    assert [line["lr"] for line in epochs] == pytest.approx([0.002, 0.005])
