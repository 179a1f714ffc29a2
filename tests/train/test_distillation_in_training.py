"""Neck distillation in the real loop: it acts, its projector trains along and does not ship, its zero is stock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.technique_sections import Distillation
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.train.telemetry import read_json_lines
from recipebox.train.trainer import RecipeTrainer

PROJECTOR = "recipebox_projector."


def teacher(device: torch.device) -> Teacher:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = DetectionModel("yolov8s.yaml", nc=3, verbose=False)
    model.names = {0: "red", 1: "green", 2: "blue"}
    return Teacher(model, device)


def trained(
    arguments: dict[str, Any], data: DetectionSet, folder: Path, **terms: dict[str, Any]
) -> tuple[RecipeTrainer, RunDir]:
    """Two epochs with these terms of distillation; none: without."""
    run = RunDir.create("r", folder)
    techniques: list[Technique] = []
    if terms:
        settings = Distillation.model_validate({"teachers": [{"recipe": "t"}], **terms})
        techniques = [DistillationTechnique(settings, [teacher])]
    trainer = RecipeTrainer(arguments | {"epochs": 2, "save_dir": str(run.root)}, run, data, techniques)
    trainer.train()
    return trainer, run


def test_features_train_a_projector_that_does_not_ship(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    stock, stock_run = trained(arguments, toy_set, tmp_path)
    zero, zero_run = trained(arguments, toy_set, tmp_path, features={"loss": "cwd", "weight": 0.0})
    for mine, theirs in ((zero.model, stock.model), (zero.ema.ema, stock.ema.ema)):
        left, right = mine.state_dict(), theirs.state_dict()
        assert {key for key in left if not key.startswith(PROJECTOR)} == right.keys()
        assert [key for key in right if not torch.equal(left[key], right[key])] == []
    assert zero_run.best.read_bytes() == stock_run.best.read_bytes(), "weight 0 is stock to the last bit"

    begin = {key: value.clone() for key, value in zero.model.state_dict().items() if key.startswith(PROJECTOR)}
    taught, run = trained(arguments, toy_set, tmp_path, features={"loss": "cwd", "weight": 5.0})
    live, average = taught.model.state_dict(), taught.ema.ema.state_dict()
    assert any(not torch.equal(live[key], stock.model.state_dict()[key]) for key in stock.model.state_dict())
    assert begin and all(not torch.equal(live[key], begin[key]) for key in begin), "the projector is trained"
    assert all(not torch.equal(average[key], live[key]) for key in begin), "and averaged"
    steps = [json.loads(line) for line in run.steps.read_text().splitlines()]
    assert all(step["loss"]["kd_features_loss"] > 0 for step in steps)
    assert all(step["techniques"]["distillation/features_weight"] == 5.0 for step in steps)
    shipped = YOLO(run.best).model
    assert not [key for key in shipped.state_dict() if key.startswith(PROJECTOR)]
    assert shipped.state_dict().keys() == stock.model.state_dict().keys()


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo26n.yaml"])
def test_what_is_not_validated_has_no_number(
    model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """Ultralytics reports 0 for a loss that validation does not compute."""
    _, run = trained(arguments | {"model": model}, toy_set, tmp_path, logits={})
    for line in read_json_lines(run.epochs):
        assert line["train"]["kd_logits_loss"] > 0
        assert {key for key in line["val"] if key.endswith("_loss")} == {
            key for key in line["train"] if key.endswith("_loss") and not key.startswith("kd_")
        }
