"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recipebox.run_dir import RunDir


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the exported run that a test may spoil."""
    shutil.copytree(exported_run.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""
