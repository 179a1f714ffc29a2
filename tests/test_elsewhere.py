"""`evaluate RUN --dataset NAME`: a detector measured where it was not trained."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

RECIPE = """\
data: {dataset: %s}
model: {weights: scratch, arch: yolov8n}
train: {epochs: 1, imgsz: 32, batch: 4, optimizer: SGD, lr0: 0.01, warmup_epochs: 0, close_mosaic: 0}
"""


def draw(root: Path, names: str) -> None:
    for split, seed in (("train", 1), ("val", 2), ("test", 3)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(4):
            image = np.random.default_rng(seed + number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{number}.png"), image)
            (root / "labels" / split / f"{number}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(
        f"train: images/train\nval: images/val\ntest: images/test\nnames: [{names}]\n", encoding="utf-8"
    )


def recipebox(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    from conftest import run_command_line

    return run_command_line(*arguments, cwd=folder, RECIPEBOX_RUNS=str(folder / "runs"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("elsewhere")
    for name, names in (("here", "dent, hole"), ("there", "dent, hole"), ("strange", "hole, dent")):
        draw(root / name, names)
    (root / "toy.yaml").write_text(RECIPE % (root / "here"), encoding="utf-8")
    done = recipebox(root, "train", str(root / "toy.yaml"), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return root


def test_another_set_is_measured_and_nothing_written(trained: Path) -> None:
    (run,) = (trained / "runs" / "toy").iterdir()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = recipebox(trained, "evaluate", "toy", "--dataset", str(trained / "there"), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["dataset"]["name"] == "there" and document["test"]["images"] == 4
    assert document["weights_sha256"] == json.loads((run / "train.json").read_text())["weights"]["best"]["sha256"]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    table = recipebox(trained, "evaluate", "toy", "--dataset", str(trained / "there"))
    assert "there: 4 test images" in table.stdout and "dent" in table.stdout


def test_another_vocabulary_is_refused(trained: Path) -> None:
    done = recipebox(trained, "evaluate", "toy", "--dataset", str(trained / "strange"))
    assert done.returncode == 2
    assert "class 0 is 'dent', in the data set it is 'hole'" in done.stderr and "Traceback" not in done.stderr
