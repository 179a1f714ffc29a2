"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipebox.run_dir import RunDir


@pytest.fixture(scope="session")
def exported_run(make: Any, tiny: Any, evaluated_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    from recipebox.export.run import export

    run = RunDir(tmp_path_factory.mktemp("exported") / "run")
    shutil.copytree(evaluated_run.root, run.root)
    with make.one_thread():
        export(run, make.tiny_settings(), tiny.data)
    return run


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the exported run that a test may spoil."""
    shutil.copytree(exported_run.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.fixture(scope="session")
def shipped_run(exported_run: RunDir, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The exported run with a plan and a data set that the command line finds; copy it before changing it."""
    from recipebox.recipe.load import load_recipe
    from recipebox.recipe.plan import make_plan, plan_to_yaml
    from recipebox.supplies import probe

    place = tmp_path_factory.mktemp("shipped")
    for split in ("train", "val", "test"):
        (place / "data" / "images" / split).mkdir(parents=True)
        (place / "data" / "labels" / split).mkdir(parents=True)
        for path in tiny.data.test.images:
            name = f"{split}-{path.name}"
            shutil.copy(path, place / "data" / "images" / split / name)
            (place / "data" / "labels" / split / name).with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    (place / "data" / "data.yaml").write_text(
        yaml.safe_dump({"path": str(place / "data"), **splits, "names": dict(enumerate(tiny.data.names))})
    )
    (place / "tiny.yaml").write_text(
        f"data: {{dataset: {place / 'data'}}}\n"
        "model: {weights: scratch, arch: yolov8n}\n"
        "train: {epochs: 1, imgsz: 64, batch: 2, optimizer: auto}\n"
        "bench: {images: 6, min_fps: 0.5}\n"
    )
    run = RunDir(place / "runs" / "tiny" / "20260101-000000-aaaa")
    shutil.copytree(exported_run.root, run.root)
    plan = make_plan(load_recipe(str(place / "tiny.yaml")), probe("cpu"), profile=None, overrides={})
    run.plan.write_text(plan_to_yaml(plan), encoding="utf-8")
    run.set_state("finished")
    return run


@pytest.fixture
def shipped(shipped_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the shipped run that a test may spoil."""
    shutil.copytree(shipped_run.root, tmp_path / "runs" / "tiny" / shipped_run.id)
    return RunDir(tmp_path / "runs" / "tiny" / shipped_run.id)


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""
