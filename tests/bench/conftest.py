"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""
