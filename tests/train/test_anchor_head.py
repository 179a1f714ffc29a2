"""A detector with anchors, trained, fine-tuned, validated, exported with and without NMS, in a few small batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics import YOLO

from recipebox.data.archive import file_sha256
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import DataError, WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import detections
from recipebox.export.detector import OnnxDetector
from recipebox.export.onnx import export_onnx
from recipebox.export.variant import Variant
from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing
from recipebox.recipe.head_sections import AnchorHead
from recipebox.recipe.technique_sections import Clipping, Ema
from recipebox.run_dir import RunDir
from recipebox.techniques.anchor_head.technique import AnchorHeadTechnique, head_anchors
from recipebox.techniques.assigner import P2Technique
from recipebox.techniques.base import Technique
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.train.network import network_file
from recipebox.train.trainer import RecipeTrainer

SIZE = 64


def anchors(**settings: Any) -> AnchorHeadTechnique:
    return AnchorHeadTechnique(AnchorHead.model_validate(settings), SIZE, 0)


def trained(
    place: Path, data: DetectionSet, arguments: dict[str, Any], techniques: list[Technique], **changes: Any
) -> RunDir:
    run = RunDir.create("r", place)
    arguments = arguments | {"save_dir": str(run.root), "epochs": 1, "close_mosaic": 0, **changes}
    for technique in techniques:
        arguments |= technique.train_args()
    RecipeTrainer(arguments, run, data, techniques).train()
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(toy_set: DetectionSet, plain_arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """An epoch with every lever that acts on a head or its class loss."""
    arguments = plain_arguments | {"imgsz": SIZE, "batch": 8, "nbs": 8, "warmup_epochs": 0}
    techniques: list[Technique] = [
        anchors(),
        LabelSmoothingTechnique(LabelSmoothing(epsilon=0.1), epochs=1),
        ClassWeightsTechnique(ClassWeights.model_validate({"by": "inverse", "pos_weight": 2.0})),
        ClippingTechnique(Clipping(max_norm=5.0)),
        EmaTechnique(Ema(decay=0.99, tau=5)),
    ]
    return trained(tmp_path_factory.mktemp("anchors"), toy_set, arguments, techniques)


def test_it_trains_and_says_what_it_matched(run: RunDir) -> None:
    steps, epochs = lines(run.steps), lines(run.epochs)
    assert all(set(step["loss"]) == {"box_loss", "obj_loss", "cls_loss"} for step in steps)
    assert all(0.5 < step["techniques"]["anchor_head/matched"] <= 1 for step in steps)
    assert all(step["techniques"]["smoothing/moved"] > 0 for step in steps)
    assert all(step["techniques"]["clipping/clipped_norm"] <= 5.001 for step in steps)
    assert epochs[0]["techniques"]["anchor_head/recall"] == 1
    assert "class_weights/weight_red" in epochs[0]["techniques"]
    assert {"obj_loss", "mAP50"} <= set(epochs[0]["val"])


def test_the_file_detects_alike_in_torch_and_onnx_with_nms_and_without(
    run: RunDir, toy_set: DetectionSet, tmp_path: Path
) -> None:
    sha256 = file_sha256(run.best)
    torch_detector = TorchDetector(run.best, sha256=sha256, imgsz=SIZE, device="cpu")
    images = np.random.default_rng(0).random((2, 3, SIZE, SIZE)).astype(np.float32)
    expected = torch_detector(images)
    assert expected.shape == (2, 7, 3 * (64 + 16 + 4))
    plain, inside = tmp_path / "plain.onnx", tmp_path / "nms.onnx"
    export_onnx(run.best, plain, SIZE, sha256=sha256, variant=Variant(batch="dynamic"))
    export_onnx(run.best, inside, SIZE, sha256=sha256, variant=Variant(batch="dynamic", nms=True))
    raw = OnnxDetector(plain)(images)
    np.testing.assert_allclose(raw, expected, atol=2e-2)
    found = OnnxDetector(inside)(images)
    for image in range(2):
        ours = found[image][found[image][:, 4] > 0]
        theirs = detections(raw[image : image + 1], conf=0.001)[0][: len(ours)]
        np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-3)
        assert np.all(ours[:, 2:4] >= ours[:, :2]), "corners"
    assert YOLO(run.best).predict(str(toy_set.test.images[0]), imgsz=SIZE, verbose=False)[0].boxes is not None


def set_up(place: Path, data: DetectionSet, arguments: dict[str, Any], techniques: list[Technique], file: Path) -> Any:
    """The network that a training from these weights begins with."""
    run = RunDir.create("r", place)
    changes = {"save_dir": str(run.root), "model": str(file), "pretrained": True}
    trainer = RecipeTrainer(arguments | changes, run, data, techniques)
    trainer.setup_model()
    return trainer.model


def test_it_is_fine_tuned_from_its_own_weights(
    run: RunDir, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    model = set_up(tmp_path, toy_set, arguments, [anchors(count=3)], run.best)
    before = torch.load(run.best, weights_only=False)["model"].state_dict()
    own = model.state_dict()
    assert own.keys() == before.keys()
    assert [key for key, value in before.items() if not torch.equal(own[key], value)] == []


def test_such_weights_without_the_lever_are_refused(
    run: RunDir, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="head has anchors"):
        set_up(tmp_path, toy_set, arguments, [], run.best)


def test_it_has_the_level_of_stride_4_too(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    made = trained(
        tmp_path, toy_set, arguments, [anchors(count=2), P2Technique()], model=network_file("yolov8n", p2=True)
    )
    assert any(step["techniques"]["p2/share"] > 0 for step in lines(made.steps))


def test_named_anchors_are_taken_and_too_few_sizes_are_refused(toy_set: DetectionSet) -> None:
    named = AnchorHead.model_validate({"anchors": [[1, 2], [3, 4], [5, 6]]})
    assert head_anchors(named, toy_set, SIZE, 3, 0) == (((1, 2),), ((3, 4),), ((5, 6),))
    with pytest.raises(DataError, match=r"anchor_head: \{anchors: auto\}.*different sizes"):
        head_anchors(AnchorHead(count=12), toy_set, SIZE, 30, 0)
