"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recipebox.run_dir import RunDir

CommandLineHere = Callable[..., tuple[int, str, str]]
"""`(exit code, stdout, stderr)` of `recipebox ...`, in this process."""


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""


@pytest.fixture
def recipebox_here(capfd: pytest.CaptureFixture[str]) -> CommandLineHere:
    """The command line without a process of its own, which would import PyTorch each time."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from recipebox.cli import app

        capfd.readouterr()
        code = app(list(arguments), standalone_mode=False)
        return (code if isinstance(code, int) else 0, *capfd.readouterr())

    return call


def plant_an_outlier(model: Any) -> None:
    """One channel of what the finest score layer reads is large and always the same, and its bias undoes that.

    INT8 has one scale for all channels of an activation: beside 1000 the others are rounded to nothing. The coarser
    levels are silent and the boxes small, so that they lie in the image.
    """
    head = model.model[-1]
    for level in head.cv3[1:]:
        level[-1].bias.data -= 20
    head.cv2[0][-1].bias.data = -4 * (torch.arange(head.reg_max) - 0.45).square().repeat(4)
    before, last = head.cv3[0][-2:]
    before.conv.weight.data[0] = 0
    before.bn.running_mean.data[0], before.bn.bias.data[0] = 0, 1000
    last.bias.data -= last.weight.data[:, 0, 0, 0] * 1000


OUTLIER = "/model.22/cv3.0/cv3.0.2/Conv"
"""The convolution that reads it."""


@pytest.fixture(scope="session")
def planted(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run of a detector with an outlier, its data set in a folder, and a plan that names both."""
    from recipebox.data.datasets import prepare
    from recipebox.data.detection_set import DetectionSet
    from recipebox.evaluate.detector import TorchDetector
    from recipebox.evaluate.run import evaluate

    place = tmp_path_factory.mktemp("planted")
    with make.one_thread():
        every_second = slice(1, None, 2)  # the square ones: nothing is detected on a border
        # Test shows what val shows, in other files: a network this random has no accuracy that holds for other images.
        drawn = {
            name: make.draw_images(place / name, 24, seed)[every_second]
            for name, seed in (("train", 0), ("val", 1), ("test", 1))
        }
        sha256 = make.save_detector(place / "best.pt", drawn["train"], spoil=plant_an_outlier)
        detector = TorchDetector(place / "best.pt", sha256=sha256, imgsz=make.IMGSZ, device="cpu")
        splits = {name: make.split_that_fits(detector, images, above=0.5) for name, images in drawn.items()}
        write_folder(place / "data", DetectionSet("tiny", make.NAMES, **splits, sha256="0" * 64))
        run = make.trained_run(place / "runs", place / "best.pt", sha256)
        write_plan(place, run)
        settings = make.tiny_settings(data={"dataset": str(place / "data")})
        evaluate(run, settings, prepare(str(place / "data")), device="cpu")
    run.set_state("finished")
    return run


def write_folder(place: Path, data: Any) -> None:
    """A data set as a folder in YOLO layout."""
    for name in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (place / kind / name).mkdir(parents=True)
        for path, boxes in data.split(name):
            shutil.copy(path, place / "images" / name / f"{name}-{path.name}")
            rows = [f"{int(box[0])} " + " ".join(f"{value:.7f}" for value in box[1:]) for box in boxes]
            (place / "labels" / name / f"{name}-{path.stem}.txt").write_text("\n".join(rows))
    splits = {name: f"images/{name}" for name in ("train", "val", "test")}
    (place / "data.yaml").write_text(
        yaml.safe_dump({"path": str(place), **splits, "names": dict(enumerate(data.names))})
    )


def write_plan(place: Path, run: RunDir) -> None:
    from recipebox.recipe.load import load_recipe
    from recipebox.recipe.plan import make_plan, plan_to_yaml
    from recipebox.supplies import probe

    (place / "tiny.yaml").write_text(
        f"data: {{dataset: {place / 'data'}}}\n"
        "model: {weights: scratch, arch: yolov8n}\n"
        "train: {epochs: 1, imgsz: 64, batch: 2, optimizer: auto}\n"
        "export: {max_map_drop: 0.63, calibration: {images: 6}}\n"
    )
    plan = make_plan(load_recipe(str(place / "tiny.yaml")), probe("cpu"), profile=None, overrides={})
    run.plan.write_text(plan_to_yaml(plan), encoding="utf-8")


@pytest.fixture
def planted_run(planted: Any, tmp_path: Path) -> RunDir:
    """A copy that a test may spoil."""
    shutil.copytree(planted.root, tmp_path / "runs" / "tiny" / planted.id)
    return RunDir(tmp_path / "runs" / "tiny" / planted.id)
