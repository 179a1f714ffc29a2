"""The levers on the class loss and on sampling, within the real trainer."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.train.telemetry import read_json_lines
from recipebox.train.trainer import RecipeTrainer

MODELS = ["yolov8n.yaml", "yolo26n.yaml"]


def trainer_with(
    techniques: list[Technique], data: DetectionSet, arguments: dict[str, Any], place: Path
) -> RecipeTrainer:
    run = RunDir.create("r", place)
    for technique in techniques:
        arguments = arguments | technique.train_args()
    return RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, data, techniques)


def first_losses(trainer: RecipeTrainer) -> tuple[torch.Tensor, torch.Tensor]:
    """(ours, stock) loss terms of the first batch."""
    trainer._setup_train()
    trainer.model.train()
    trainer.step = 1
    criterion, trainer.model.criterion = trainer.model.criterion, None
    stock = deepcopy(trainer.model)  # makes its own criterion
    trainer.model.criterion = criterion
    vars(stock).pop("class_weights", None)
    trainer.train_loader.set_epoch(0)
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    return trainer.model(batch)[0].detach(), stock(batch)[0].detach()


def smoothing(**settings: Any) -> list[Technique]:
    return [LabelSmoothingTechnique(LabelSmoothing.model_validate(settings), epochs=1)]


@pytest.mark.parametrize("model", MODELS)
def test_smoothing_changes_the_class_loss_alone(
    model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours, stock = first_losses(trainer_with(smoothing(epsilon=0.1), toy_set, arguments | {"model": model}, tmp_path))
    assert ours[1] != stock[1]
    assert torch.equal(ours[[0, 2]], stock[[0, 2]])


@pytest.mark.parametrize("model", MODELS)
def test_no_smoothing_is_stock(model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    ours, stock = first_losses(trainer_with(smoothing(epsilon=0.0), toy_set, arguments | {"model": model}, tmp_path))
    assert torch.equal(ours, stock)


def test_smoothing_is_seen_in_the_records(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Validation keeps the stock loss; what is taken from a positive is epsilon (1 - 1/nc) of its score."""
    arguments |= {"epochs": 1, "close_mosaic": 0}
    trainer = trainer_with(smoothing(epsilon=0.3, schedule="linear"), toy_set, arguments, tmp_path)
    trainer.train()
    seen = [line["techniques"] for line in read_json_lines(trainer.run_dir.steps)]
    assert [each["smoothing/epsilon"] for each in seen] == pytest.approx([0.3 * (1 - n / 5) for n in range(6)])
    assert 0 < seen[0]["smoothing/moved"] < 0.3 * 2 / 3
    assert seen[-1]["smoothing/moved"] == 0.0
    batch = next(iter(trainer.test_loader))
    batch = {key: value.float() / 255 if key == "img" else value for key, value in batch.items()}
    model = trainer.ema.ema.eval()
    stock = deepcopy(model)
    stock.criterion = None
    assert torch.equal(model.loss(batch, model(batch["img"]))[0], stock.loss(batch, model(batch["img"]))[0])
