"""The train stage as a whole: what it ends with, and what it refuses in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import PlanConflict, TrainingFailed
from recipebox.recipe.estimate import optimizer_steps
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir
from recipebox.techniques import build
from recipebox.techniques.base import Technique
from recipebox.train.run import make_trainer, train
from recipebox.train.trainer import RecipeTrainer


def planned(techniques: dict[str, Any] | None = None, **changes: Any) -> Any:
    """What the stage asks of a plan."""
    values = {"epochs": 4, "imgsz": 64, "batch": 4, "nbs": 20, "optimizer": "AdamW", "lr0": 0.002} | changes
    document = {"data": {"dataset": "toy"}, "model": {"weights": "scratch", "arch": "yolov8n"}, "train": values}
    settings = Settings.model_validate(document | {"techniques": techniques or {}})
    return SimpleNamespace(settings=settings, device="cpu", name="r", teachers=())


def test_a_run_that_stopped_early_stays_stopped(
    toy_set: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It also ends within its warm-up, so its steps are those of a part of a run."""
    measure = RecipeTrainer.validate
    monkeypatch.setattr(RecipeTrainer, "validate", lambda self: (measure(self)[0], 0.5))
    plan, run = planned(patience=1, warmup_epochs=2.0), RunDir.create("r", tmp_path)
    done = train(plan, run, toy_set, weights=None)
    assert done["epochs"] == 2, "the second epoch is no better than the first"
    assert done["optimizer_steps"] == optimizer_steps(6, 4, 4, 20, 2.0, until=2)
    again = train(plan, run, toy_set, weights=None, resume=True)
    assert (again["epochs"], again["resumed"]) == (2, 2)
    assert again["weights"] == done["weights"]


def test_a_batch_too_small_for_a_stage_is_told_in_words(toy_set: DetectionSet, tmp_path: Path) -> None:
    """22 images in batches of 7 leave one, and 32 px leave the last level one cell."""
    plan = planned({"progressive": {"stages": [{"imgsz": 32, "until_epoch": 1}]}}, batch=7, epochs=2)
    with pytest.raises(TrainingFailed, match=r"a single image.*Choose another train\.batch"):
        train(plan, RunDir.create("r", tmp_path), toy_set, weights=None)


def test_a_gpu_that_torch_does_not_see_is_told_in_words(toy_set: DetectionSet, tmp_path: Path) -> None:
    plan = planned()
    plan.device = "cuda:77"
    with pytest.raises(PlanConflict, match=r"cuda:77.*recipebox doctor"):
        make_trainer(plan, RunDir.create("r", tmp_path), toy_set, weights=None)


def test_two_techniques_do_not_set_the_same_argument(
    toy_set: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setting(name: str, **arguments: Any) -> Technique:
        technique = Technique()
        technique.name = name
        monkeypatch.setattr(technique, "train_args", lambda: arguments)
        return technique

    pair = [setting("one", cls_pw=1.0, mixup=0.5), setting("other", cls_pw=1.0)]
    monkeypatch.setattr(build, "build_techniques", lambda *given: pair)
    with pytest.raises(PlanConflict, match="`one` and `other` both set Ultralytics' `cls_pw`"):
        make_trainer(planned(), RunDir.create("r", tmp_path), toy_set, weights=None)
