"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from recipebox.run_dir import RunDir, write_json


@pytest.fixture(scope="session")
def exported_run(evaluated_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The evaluated run with an exported file that passed; copy it before changing it."""
    from recipebox.export.onnx import export_onnx

    root = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(evaluated_run.root, root)
    run = RunDir(root)
    sha256 = run.read_result("train")["weights"]["best"]["sha256"]
    export_onnx(run.best, run.onnx, 64, sha256=sha256)
    digest = hashlib.sha256(run.onnx.read_bytes()).hexdigest()
    write_json(run.result("export"), {"schema": 1, "sha256": digest, "weights_sha256": sha256, "passed": True})
    return run


@pytest.fixture
def shipped(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the exported run that a test may spoil."""
    shutil.copytree(exported_run.root, tmp_path / "shipped")
    return RunDir(tmp_path / "shipped")


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""
