"""The levers on pixels in real trainings: they act, are seen in the telemetry, and resume to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.recipe.pixel_sections import Late, Progressive
from recipebox.recipe.technique_sections import Distillation
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.border import BorderTechnique
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.techniques.late import LateTechnique
from recipebox.techniques.progressive import ProgressiveTechnique
from recipebox.train.checkpoint import load_checkpoint
from recipebox.train.trainer import RecipeTrainer


@pytest.fixture
def few(toy_set: DetectionSet) -> DetectionSet:
    """Ten training images: three batches."""
    train = Split(toy_set.train.images[:10], toy_set.train.boxes[:10])
    return replace(toy_set, train=train)


def progressive(imgsz: int = 32, until: int = 1) -> ProgressiveTechnique:
    stages = {"stages": [{"imgsz": imgsz, "until_epoch": until}]}
    return ProgressiveTechnique(Progressive.model_validate(stages))


def late(**begins: int) -> LateTechnique:
    return LateTechnique(Late.model_validate({name: {"from_epoch": epoch} for name, epoch in begins.items()}))


def train(
    root: Path, data: DetectionSet, arguments: dict[str, Any], techniques: list[Technique], **how: Any
) -> tuple[RunDir, dict[str, Any]]:
    run = how.pop("run", None) or RunDir.create("r", root)
    kind = how.pop("trainer", RecipeTrainer)
    kind(arguments | {"save_dir": str(run.root)}, run, data, techniques, **how).train()
    return run, load_checkpoint(run.checkpoint, torch.device("cpu"))


def numbers(path: Path, key: str) -> list[Any]:
    return [json.loads(line)["techniques"][key] for line in path.read_text().splitlines()]


def same_weights(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return all(torch.equal(value, right["model"][key]) for key, value in left["model"].items())


class StoppedInTheSecondEpoch(RecipeTrainer):
    def _on_train_batch_start(self) -> None:
        super()._on_train_batch_start()
        if int(self.epoch) == 1 and self.step > len(self.train_loader) + 1:
            raise KeyboardInterrupt


def test_stages_act_are_seen_and_resume_exactly_across_their_boundary(
    few: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    def levers() -> list[Technique]:
        return [BorderTechnique("random"), progressive(), late(mixup=2)]

    arguments |= {"epochs": 2, "close_mosaic": 0, "mixup": 0.5}
    run, whole = train(tmp_path, few, arguments, levers())
    assert numbers(run.steps, "progressive/imgsz") == [32] * 3 + [64] * 3
    assert numbers(run.steps, "late/mixup") == [0.0] * 3 + [0.5] * 3
    shares = numbers(run.steps, "border/share")
    assert min(shares) >= 0 and 0 < max(shares) < 1
    assert numbers(run.epochs, "progressive/imgsz") == [32, 64]
    _, stock = train(tmp_path, few, arguments, [])
    assert not same_weights(whole, stock)

    stopped = RunDir.create("stopped", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, few, arguments, levers(), run=stopped, trainer=StoppedInTheSecondEpoch)
    _, resumed = train(tmp_path, few, arguments, levers(), run=stopped, resume=True)
    assert same_weights(resumed, whole)
    assert stopped.best.read_bytes() == run.best.read_bytes()


def test_levers_without_an_effect_are_stock_to_the_last_bit(
    few: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments |= {"epochs": 2}
    _, stock = train(tmp_path, few, arguments, [])
    _, idle = train(tmp_path, few, arguments, [progressive(imgsz=64), late(mixup=1)])
    assert same_weights(idle, stock)


@pytest.mark.parametrize("kind", ["reflect", "random"])
def test_a_border_changes_the_training_images_and_not_the_validation(
    kind: str, few: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    found = []
    for techniques in ([], [BorderTechnique(kind)]):
        run = RunDir.create("r", tmp_path)
        trainer = RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, few, techniques)
        trainer._setup_train()
        trainer.model.train()
        trainer.train_loader.set_epoch(0)
        loss, _ = trainer.model(trainer.preprocess_batch(next(iter(trainer.train_loader))))
        found.append((loss, next(iter(trainer.test_loader))["img"]))
    (stock_loss, stock_val), (loss, val) = found
    assert torch.isfinite(loss).all() and not torch.equal(loss, stock_loss)
    assert torch.equal(val, stock_val)


def test_a_teacher_sees_the_stage_that_the_student_sees(
    few: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    from ultralytics.nn.tasks import DetectionModel

    sizes: list[int] = []

    class Watched(Teacher):
        def __call__(self, images: torch.Tensor) -> dict[str, Any]:
            sizes.append(images.shape[-1])
            return super().__call__(images)

    def load(device: torch.device) -> Teacher:
        model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
        model.names = dict(enumerate(few.names))
        return Watched(model, device)

    settings = Distillation.model_validate({"teachers": [{"recipe": "t"}], "logits": {}, "box": {}})
    arguments |= {"epochs": 2, "close_mosaic": 0}
    run, _ = train(tmp_path, few, arguments, [progressive(), DistillationTechnique(settings, [load])])
    assert sizes == [32] * 3 + [64] * 3
    losses = [json.loads(line)["loss"]["kd_loss"] for line in run.steps.read_text().splitlines()]
    assert all(loss > 0 for loss in losses)
