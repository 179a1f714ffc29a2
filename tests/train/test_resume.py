"""Stopped after any epoch and resumed, a run ends with the same bits as one that was never stopped."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import RunError
from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing, Sampling
from recipebox.recipe.head_sections import AnchorHead
from recipebox.recipe.technique_sections import Distillation, Ema, Swa
from recipebox.run_dir import RunDir
from recipebox.techniques.anchor_head.technique import AnchorHeadTechnique
from recipebox.techniques.base import Technique
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.techniques.sampling import SamplingTechnique
from recipebox.techniques.swa import SwaTechnique
from recipebox.train.checkpoint import load_checkpoint, save_checkpoint
from recipebox.train.trainer import RecipeTrainer


def no_technique() -> list[Technique]:
    return []


def distillation_and_ema() -> list[Technique]:
    from ultralytics.nn.tasks import DetectionModel

    def load(device: torch.device) -> Teacher:
        torch.manual_seed(11)
        model = DetectionModel("yolov8s.yaml", nc=3, verbose=False)
        model.names = {0: "red", 1: "green", 2: "blue"}
        return Teacher(model, device)

    settings = Distillation.model_validate(
        {
            "teachers": [{"recipe": "t"}],
            "logits": {"weight": 1.0, "weight_end": 0.2},
            "box": {},
            "features": {"loss": "cwd", "temperature": 1, "temperature_end": 2},
        }
    )
    average = Ema(decay=0.99, tau=5, every=2, evaluate_both=True)
    return [DistillationTechnique(settings, [load]), EmaTechnique(average)]


def class_levers_sampling_and_swa() -> list[Technique]:
    return [
        SamplingTechnique(Sampling(by="inverse")),
        LabelSmoothingTechnique(LabelSmoothing(epsilon=0.1, schedule="linear"), epochs=3),
        ClassWeightsTechnique(ClassWeights.model_validate({"by": "effective_number", "beta": 0.9, "pos_weight": 2.0})),
        EmaTechnique(Ema(decay=0.99, tau=5)),
        SwaTechnique(Swa(last=2, bn_images=6), epochs=3, lr0=0.002),
    ]


def anchors_and_ema() -> list[Technique]:
    return [AnchorHeadTechnique(AnchorHead(), 64, 0), EmaTechnique(Ema(decay=0.99, tau=5))]


CASES = {
    "yolov8n, a head with anchors": ("yolov8n.yaml", anchors_and_ema, 2),
    "yolov8n": ("yolov8n.yaml", no_technique, 3),
    "yolov8n distilled": ("yolov8n.yaml", distillation_and_ema, 2),
    "yolov8n, class levers and sampling, before and within SWA": ("yolov8n.yaml", class_levers_sampling_and_swa, 3),
    "yolo26n, two inner losses": ("yolo26n.yaml", no_technique, 2),
}


def train(run: RunDir, data: DetectionSet, arguments: dict[str, Any], techniques: Any, **how: Any) -> RecipeTrainer:
    trainer = how.pop("trainer", RecipeTrainer)(arguments | {"save_dir": str(run.root)}, run, data, techniques(), **how)
    trainer.train()
    return trainer


def stopping_at(epoch: int, batch: int) -> type[RecipeTrainer]:
    """A trainer that is interrupted in the given epoch (from 0), after `batch` of its batches."""

    class Stopping(RecipeTrainer):
        def _on_train_batch_start(self) -> None:
            super()._on_train_batch_start()
            if int(self.epoch) == epoch and self.step > len(self.train_loader) * epoch + batch:
                raise KeyboardInterrupt

    return Stopping


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        return [d for key in left for d in differences(left[key], right[key], f"{path}/{key}")]
    if isinstance(left, list | tuple):
        assert len(left) == len(right)
        return [d for i, pair in enumerate(zip(left, right, strict=True)) for d in differences(*pair, f"{path}/{i}")]
    same = torch.equal(left, right) if torch.is_tensor(left) else left == right
    return [] if same else [path]


def records(run: RunDir) -> list[Any]:
    """Everything measured, times left out."""
    lines = [json.loads(line) for path in (run.steps, run.epochs) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("case", CASES)
def test_resume_is_exact_after_every_epoch(
    case: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    model, techniques, epochs = CASES[case]
    arguments |= {"model": model, "epochs": epochs}
    whole = RunDir.create("whole", tmp_path)
    train(whole, toy_set, arguments, techniques)
    expected = load_checkpoint(whole.checkpoint, torch.device("cpu"))
    assert expected["step"] == 6 * epochs
    waiting = 0
    for epoch in range(1, epochs):
        run = RunDir.create("stopped", tmp_path)
        with pytest.raises(KeyboardInterrupt):
            train(run, toy_set, arguments, techniques, trainer=stopping_at(epoch, batch=epoch - 1))
        stopped = load_checkpoint(run.checkpoint, torch.device("cpu"))
        assert stopped["epoch"] == epoch
        waiting += stopped["pending"]
        assert differences(stopped["model"], expected["model"]), "the run must not have been finished already"
        train(run, toy_set, arguments, techniques, resume=True)
        assert differences(load_checkpoint(run.checkpoint, torch.device("cpu")), expected) == []
        assert records(run) == records(whole)
        for name in ("best.pt", "last.pt"):
            assert (run.root / "weights" / name).read_bytes() == (whole.root / "weights" / name).read_bytes()
    assert waiting > 0, "no stop had gradients waiting for the next optimizer step"


def test_resume_before_the_first_checkpoint_starts_over(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments |= {"epochs": 1, "close_mosaic": 0}
    whole, run = RunDir.create("whole", tmp_path), RunDir.create("stopped", tmp_path)
    train(whole, toy_set, arguments, no_technique)
    with pytest.raises(KeyboardInterrupt):
        train(run, toy_set, arguments, no_technique, trainer=stopping_at(0, batch=2))
    assert not run.checkpoint.exists()
    train(run, toy_set, arguments, no_technique, resume=True)
    assert run.best.read_bytes() == whole.best.read_bytes()
    assert records(run) == records(whole)


def test_an_interrupt_within_a_save_is_not_lost_and_spoils_nothing(tmp_path: Path) -> None:
    """Ultralytics' torch.save tries again at a RuntimeError, which is what an interrupt within a write becomes."""

    class Stop(Exception):
        pass

    def stop(number: int, frame: Any) -> None:
        raise Stop

    path, state = tmp_path / "state.pt", {key: torch.zeros(2**20) for key in "abcdefghij"}
    began = time.monotonic()
    save_checkpoint(path, state)
    seconds = time.monotonic() - began
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for part in range(1, 13):
            with pytest.raises(Stop):
                signal.setitimer(signal.ITIMER_REAL, seconds * part / 12)
                save_checkpoint(path, state)
                time.sleep(5)  # where the save was faster this time
            assert torch.load(path, weights_only=True).keys() > state.keys()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("spoil", ["truncated", "garbage", "other"])
def test_spoiled_checkpoint_is_refused(spoil: str, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"some": "thing"}, path)
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif spoil == "garbage":
        path.write_bytes(b"no checkpoint at all")
    with pytest.raises(RunError, match="Start a new run"):
        load_checkpoint(path, torch.device("cpu"))
