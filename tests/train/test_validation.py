"""Training's validation says the same on a machine that is in no hurry and on one that is."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.run_dir import RunDir
from recipebox.train.trainer import RecipeTrainer
from recipebox.train.validation import without_clock
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.models.yolo.detect import DetectionValidator  # noqa: E402
from ultralytics.utils import nms  # noqa: E402


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour goes by between any two looks of the NMS at its clock."""
    hours = itertools.count(0, 3600)
    monkeypatch.setattr(nms, "time", SimpleNamespace(time=lambda: float(next(hours))))


def validator() -> DetectionValidator:
    stock = DetectionValidator.__new__(DetectionValidator)
    stock.args = SimpleNamespace(conf=0.001, iou=0.7, task="detect", single_cls=False, agnostic_nms=False, max_det=300)
    stock.end2end, stock.nc = False, 3
    return stock


@pytest.fixture
def raw() -> torch.Tensor:
    """(4 images, 4 + 3, 50 anchors)"""
    source = torch.Generator().manual_seed(0)
    boxes = torch.rand(4, 4, 50, generator=source) * 40 + 10
    return torch.cat([boxes, torch.rand(4, 3, 50, generator=source)], dim=1)


def test_it_is_the_stock_validation(raw: torch.Tensor) -> None:
    ours, stock = (each.postprocess(raw.clone()) for each in (without_clock(validator()), validator()))
    assert [each.keys() for each in ours] == [each.keys() for each in stock]
    assert all(torch.equal(a[key], b[key]) for a, b in zip(ours, stock, strict=True) for key in a)
    assert min(len(each["conf"]) for each in ours) > 10


def test_no_image_is_left_out_for_want_of_time(raw: torch.Tensor, slow_machine: None) -> None:
    """Stock gives up after the first image, and what it did not look at counts as empty."""
    found = [len(each["conf"]) for each in validator().postprocess(raw.clone())]
    assert found[0] > 10 and found[1:] == [0, 0, 0]
    assert min(len(each["conf"]) for each in without_clock(validator()).postprocess(raw)) > 10


def test_a_training_validates_without_a_clock(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    run = RunDir.create("slow", tmp_path)
    trainer = RecipeTrainer(arguments | {"save_dir": str(run.root), "epochs": 1}, run, toy_set, [])
    trainer.train()
    assert trainer.validator.postprocess.func is without_clock(validator()).postprocess.func
