"""Initial weights are used as a whole or refused; stock copies what fits and says nothing of the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

from recipebox.errors import WeightsError
from recipebox.train.trainer import RecipeTrainer


def build(cfg: str, weights: Any) -> Any:
    trainer = object.__new__(RecipeTrainer)
    trainer.techniques = []
    trainer.args = SimpleNamespace(model=cfg, pretrained="mine.pt")
    trainer.data = {"names": {0: "open", 1: "short"}, "nc": 2, "channels": 3}
    return trainer.get_model(cfg=cfg, weights=weights, verbose=False)


def test_weights_of_other_classes_are_taken() -> None:
    model = build("yolov8n.yaml", DetectionModel("yolov8n.yaml", nc=80, verbose=False))
    assert model.model[-1].nc == 2


@pytest.mark.parametrize("other", ["yolov8s.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_weights_of_another_network_are_refused(other: str) -> None:
    with pytest.raises(WeightsError, match=r"mine.pt: these are the weights of another network"):
        build(other, DetectionModel("yolov8n.yaml", nc=2, verbose=False))


def test_weights_of_another_task_are_refused() -> None:
    with pytest.raises(WeightsError, match="holds a SegmentationModel, not a detector"):
        build("yolov8n.yaml", SegmentationModel("yolov8n-seg.yaml", nc=2, verbose=False))
