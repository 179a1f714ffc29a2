"""The small detector of tests/tiny_detector.py, made once for all folders that use it."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipebox.run_dir import RunDir, write_json


@pytest.fixture(scope="session")
def make() -> Any:
    """The module tests/tiny_detector.py. tests/ is no package, so it is loaded by path, once."""
    name = "recipebox_tests_tiny_detector"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "tiny_detector.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make.build_tiny(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def evaluated_run(make: Any, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run: RunDir = make.build_evaluated_run(tmp_path_factory.getbasetemp())
    return run


@pytest.fixture
def run(evaluated_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the evaluated run that a test may spoil."""
    shutil.copytree(evaluated_run.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.fixture(autouse=True)
def one_thread(make: Any) -> Iterator[None]:
    with make.one_thread():
        yield


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
