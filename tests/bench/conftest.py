"""The small detector, made once for the tests of this folder."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recipebox.data.detection_set import DetectionSet
from recipebox.run_dir import RunDir


def _load_tiny() -> ModuleType:
    # tests/ is no package: what its folders share is loaded by path.
    spec = importlib.util.spec_from_file_location("tiny_detector", Path(__file__).parents[1] / "tiny_detector.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Tiny:
    """The weights, their hash, a data set they fit, and the module that made them."""

    weights: Path
    sha256: str
    data: DetectionSet
    make: Any


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a network this small more than they give."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    make = _load_tiny()
    root = tmp_path_factory.mktemp("tiny")
    images = make.draw_images(root / "images", 8, seed=1)
    sha256 = make.save_detector(root / "best.pt", images)
    from recipebox.evaluate.detector import TorchDetector

    detector = TorchDetector(root / "best.pt", sha256=sha256, imgsz=make.IMGSZ, device="cpu")
    return Tiny(root / "best.pt", sha256, make.set_that_fits(detector, images), make)


@pytest.fixture(scope="session")
def evaluated_run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    from recipebox.evaluate.run import evaluate

    run = tiny.make.trained_run(tmp_path_factory.mktemp("runs"), tiny.weights, tiny.sha256)
    evaluate(run, tiny.make.tiny_settings(), tiny.data, device="cpu")
    return run


@pytest.fixture
def run(evaluated_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of the evaluated run that a test may spoil."""
    shutil.copytree(evaluated_run.root, tmp_path / "run")
    return RunDir(tmp_path / "run")
