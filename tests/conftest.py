"""What every test gets: its own places to write, and the command line in a process of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked_process
import hypothesis
import numpy as np
import pytest

import recipebox  # noqa: F401  # before torch: it decides how threads wait
from recipebox.progress import set_quiet

# Each of several workers, and what it starts, keeps to one core (before torch, which reads it once).
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("recipebox", deadline=None)
hypothesis.settings.load_profile("recipebox")

REPOSITORY = Path(__file__).resolve().parents[1]

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    """A suite started in the background (`make test &`) inherits Ctrl-C as ignored and hands that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_dice() -> None:
    """What a test draws does not depend on the tests before it, nor on the worker it runs in."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def own_voice() -> None:
    """Progress speaks, even where a test before this one asked for --json in this process."""
    set_quiet(False)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared data goes to a cache that the session's tests share and nobody else sees."""
    before = os.environ.get("XDG_CACHE_HOME")
    cache = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    yield cache
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs made by a test go to its own folder."""
    runs = tmp_path / "runs"
    monkeypatch.setenv("RECIPEBOX_RUNS", str(runs))
    return runs


def command_line_environment(**changes: str) -> dict[str, str]:
    """The environment for a recipebox process: real data and weights are not seen unless `changes` name them."""
    hidden = {"RECIPEBOX_DATA", "RECIPEBOX_WEIGHTS", "RECIPEBOX_DEBUG"}
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return kept | {"PYTHONPATH": str(REPOSITORY / "src"), "COLUMNS": "120"} | changes


def run_command_line(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`recipebox *arguments` in `cwd`.

    An interpreter of its own only where the environment changes what libraries read while they are imported.
    """
    changed = command_line_environment(**environment)
    if all(name.startswith("RECIPEBOX_") for name in environment):
        return forked_process.run(arguments, cwd, changed)
    return subprocess.run(
        [sys.executable, "-m", "recipebox.cli", *arguments],
        cwd=cwd, env=changed, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """`command_line("plan", "x", cwd=..., RECIPEBOX_DATA=...)` runs `recipebox plan x` and returns what came of it."""

    def call(*arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_command_line(*arguments, cwd=cwd, **environment)

    return call


@pytest.fixture(scope="session")
def make() -> Any:
    """The module tests/tiny_detector.py, which needs torch: imported by the tests that ask for it."""
    import tiny_detector

    return tiny_detector


@pytest.fixture(scope="session")
def tiny(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small detector, made once for all folders that use it."""
    return make.build_tiny(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def evaluated_run(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small detector's run after the evaluate stage; copy it before changing it."""
    return make.build_evaluated_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def run(evaluated_run: Any, tmp_path: Path) -> Any:
    """A copy of the evaluated run that a test may spoil."""
    shutil.copytree(evaluated_run.root, tmp_path / "run")
    return type(evaluated_run)(tmp_path / "run")


@pytest.fixture(scope="session")
def exported_run(make: Any, tiny: Any, evaluated_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small detector's run after the export stage; copy it before changing it."""
    from recipebox.export.run import export

    run = type(evaluated_run)(tmp_path_factory.mktemp("exported") / "run")
    shutil.copytree(evaluated_run.root, run.root)
    with make.one_thread():
        export(run, make.tiny_settings(), tiny.data)
    return run


@pytest.fixture(scope="session")
def shipped_run(exported_run: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The exported run with a plan and a data set that the command line finds; copy it before changing it."""
    import yaml

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
    run = type(exported_run)(place / "runs" / "tiny" / "20260101-000000-aaaa")
    shutil.copytree(exported_run.root, run.root)
    plan = make_plan(load_recipe(str(place / "tiny.yaml")), probe("cpu"), profile=None, overrides={})
    run.plan.write_text(plan_to_yaml(plan), encoding="utf-8")
    run.set_state("finished")
    return run


@pytest.fixture
def shipped(shipped_run: Any, tmp_path: Path) -> Any:
    """A copy of the shipped run that a test may spoil."""
    shutil.copytree(shipped_run.root, tmp_path / "runs" / "tiny" / shipped_run.id)
    return type(shipped_run)(tmp_path / "runs" / "tiny" / shipped_run.id)


@pytest.fixture
def one_thread(make: Any) -> Iterator[None]:
    """Small networks on one thread; a folder asks for it in its own conftest."""
    with make.one_thread():
        yield
