"""A student with another backbone, drawn by a YAML of ours: trained, distilled, shipped as any other."""

from __future__ import annotations

import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from recipebox.data.detection_set import DetectionSet
from recipebox.recipe.estimate import GFLOPS_AT_640, MILLION_PARAMETERS
from recipebox.recipe.technique_sections import Distillation
from recipebox.run_dir import RunDir
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.train.network import network_file
from recipebox.train.trainer import RecipeTrainer

NAME = "yolov8-mobilenetv3"


def test_the_network_is_what_the_estimate_says(monkeypatch: Any) -> None:
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)  # fetching weights would fail
    model = DetectionModel(network_file(NAME), nc=80, verbose=False)
    from ultralytics.utils.torch_utils import get_flops

    assert model.stride.tolist() == [8, 16, 32]
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == MILLION_PARAMETERS[NAME][""]
    assert round(get_flops(model, 640), 1) == GFLOPS_AT_640[NAME][""]
    loss = sum(v.square().mean() for k, v in model.train()(torch.rand(2, 3, 64, 64)).items() if k != "feats")
    loss.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None], "dead weight"


def test_only_our_own_network_is_a_file_of_ours() -> None:
    assert network_file("yolov8n") == "yolov8n.yaml"
    assert Path(network_file(NAME)).is_file()


def pickled_modules(path: Path) -> set[str]:
    """The packages whose code a weights file needs."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        operations = list(pickletools.genops(archive.read(name)))
    found, words = set(), []
    for operation, argument, _ in operations:
        if operation.name == "GLOBAL":
            found.add(str(argument).split(".")[0].split(" ")[0])
        elif operation.name == "STACK_GLOBAL":
            found.add(words[-2].split(".")[0])
        elif isinstance(argument, str):
            words.append(argument)
    return found


def test_it_is_distilled_and_ships_as_a_stock_model(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    def teacher(device: torch.device) -> Teacher:
        model = DetectionModel("yolov8s.yaml", nc=3, verbose=False)
        model.names = {0: "red", 1: "green", 2: "blue"}
        return Teacher(model, device)

    terms = {"logits": {}, "box": {}, "features": {"loss": "cwd", "weight": 5}}
    settings = Distillation.model_validate({"teachers": [{"recipe": "t"}], **terms})
    run = RunDir.create("r", tmp_path)
    arguments |= {"model": network_file(NAME), "epochs": 1, "close_mosaic": 0, "save_dir": str(run.root)}
    RecipeTrainer(arguments, run, toy_set, [DistillationTechnique(settings, [teacher])]).train()
    steps = [json.loads(line) for line in run.steps.read_text().splitlines()]
    assert all(step["loss"][f"kd_{term}_loss"] > 0 for step in steps for term in ("logits", "features"))

    packages = pickled_modules(run.best)
    assert {"torch", "torchvision", "ultralytics"} <= packages and "recipebox" not in packages
    content = run.best.read_bytes()
    assert str(Path(network_file(NAME)).parent).encode() not in content and str(tmp_path).encode() not in content
    loaded = YOLO(run.best)
    assert loaded.predict(str(toy_set.test.images[0]), imgsz=64, verbose=False)[0].boxes is not None
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain = YOLO(run.best).model.eval()(images)[0]
        fused = YOLO(run.best).model.fuse(verbose=False).eval()(images)[0]
    assert torch.allclose(plain, fused, atol=1e-3, rtol=1e-3)
