"""What a job takes from outside, and what it says about it before anything is trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from recipebox.errors import DataError
from recipebox.recipe.load import load_recipe
from recipebox.recipe.schema import Settings
from recipebox.supplies import Supplies, probe, settled_plan


@pytest.fixture
def plates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "plates"
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        pixels = np.random.default_rng(len(split)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"images/{split}/0.png"), pixels)
        (root / f"labels/{split}/0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [scratch]\ntrain: images/train\nval: images/val\n")
    return root


def settings_of(root: Path, **data: str) -> Settings:
    return Settings.model_validate(
        {
            "data": {"dataset": str(root), **data},
            "model": {"weights": "scratch", "arch": "yolov8n"},
            "train": {"epochs": 1, "imgsz": 32, "batch": 1, "optimizer": "SGD", "lr0": 0.01},
        }
    )


def test_what_is_unusual_about_the_data_is_said_once(plates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supplies = Supplies()
    for _ in range(2):
        supplies.detection_set(settings_of(plates))
    assert capsys.readouterr().err.count("plates: there is no test split: val serves as test") == 1


def test_a_set_with_errors_is_refused_unless_the_recipe_says_otherwise(
    plates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plates / "images/train/1.png").write_bytes(b"spoiled")
    with pytest.raises(DataError, match=r"1\.png.*\n.*data\.errors: leave_out"):
        Supplies().detection_set(settings_of(plates))
    taken = Supplies().detection_set(settings_of(plates, errors="leave_out"))
    assert [path.name for path in taken.train.images] == ["0.png"]
    assert "1 images left out" in capsys.readouterr().err


def test_a_teachers_teacher_falls_back_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One learns from another, which learns from a third; only that one's weights cannot be had."""
    body = (
        "data: {{dataset: pcb-synthetic, images: 8}}\nmodel: {model}\n"
        "train: {{epochs: 1, imgsz: 64, batch: 4, optimizer: SGD, lr0: {lr0}}}\n"
    )
    scratch = "{weights: scratch, arch: yolov8n}"
    learning = "techniques: {{distillation: {{teachers: [{{recipe: {teacher}.yaml}}], logits: {{weight: 1.0}}}}}}\n"
    texts = {
        "first": body.format(model="{weights: yolov8x.pt, fallback: scratch}", lr0=0.01),
        "second": body.format(model=scratch, lr0=0.02) + learning.format(teacher="first"),
        "third": body.format(model=scratch, lr0=0.03) + learning.format(teacher="second"),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    loaded = load_recipe(tmp_path / "third.yaml")
    plan = settled_plan(loaded, probe("cpu"), Supplies(allow_fetch=False), None, {})
    (first,) = plan.teachers[0].teachers
    assert first.settings.model.weights == "scratch"
    assert [taken.split()[1] for taken in first.fallbacks] == ["yolov8x.pt"]
    assert capsys.readouterr().err.count("cannot be had") == 1
