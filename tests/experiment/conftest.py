"""Recipes as small as can be, planned in this process; the drawn data set is shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recipebox.recipe.changes import parse_set
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import Plan
from recipebox.supplies import Supplies, probe, settled_plan

TINY = """\
# purpose: as small as can be
data: {dataset: pcb-synthetic, images: 8}
model: {weights: scratch, arch: yolov8n}
train: {epochs: 3, imgsz: 64, batch: 4, nbs: 4, optimizer: AdamW, lr0: 0.002, warmup_epochs: 1, close_mosaic: 1}
techniques: {ema: {tau: 10}}
bench: {images: 2}
"""
STUDENT = """\
# purpose: a student as small as can be
extends: tiny
techniques: {distillation: {teachers: [{recipe: tiny}], logits: {weight: 1.0}, box: {weight: 0.5}}}
"""


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder with `tiny` and `student`."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (folder / "student.yaml").write_text(STUDENT, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def supplies() -> Supplies:
    return Supplies(allow_fetch=False)


@pytest.fixture
def planned(recipes: Path, supplies: Supplies) -> Callable[..., Plan]:
    """planned("tiny", "train.epochs=2", ...)"""

    def make(name: str, *changes: str) -> Plan:
        loaded = load_recipe(recipes / f"{name}.yaml")
        return settled_plan(loaded, probe("cpu"), supplies, None, parse_set(changes))

    return make
