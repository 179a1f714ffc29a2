"""The small detector of tests/tiny_detector.py, made once for all folders that use it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipebox.run_dir import RunDir


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
