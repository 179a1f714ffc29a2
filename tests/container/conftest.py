"""One engine, one image and one project for all container tests; what each step took is printed at the end.

RECIPEBOX_CONTAINER_ROOT names a folder whose engine data is kept between sessions; by default everything goes. With
RECIPEBOX_CONTAINER_TESTS=required a machine that cannot start an engine fails instead of skipping.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import container_engine as own
import pytest
from container_devbox import CALLER, SECONDS, Devbox

ROOT = Path(__file__).resolve().parents[2]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, seconds in SECONDS.items():
        terminalreporter.write_line(f"measured: {name}: {seconds:.2f} s")


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which `docker` and make reach an engine of the tests' own."""
    kept = os.environ.get("RECIPEBOX_CONTAINER_ROOT")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("engine")
    folder.mkdir(parents=True, exist_ok=True)
    reason = own.reason_against(folder)
    if reason:
        if os.environ.get("RECIPEBOX_CONTAINER_TESTS") == "required":
            pytest.fail(f"{reason}. Here these tests are required.", pytrace=False)
        pytest.skip(reason)
    with own.engine(folder) as environment:
        yield environment | {"ENGINE_FOLDER": str(folder)}
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def devbox(docker: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devbox]:
    """The image built by `make image` on the stand-in base, and a devbox that `make up` started."""
    project = tmp_path_factory.mktemp("project") / "recipe box"  # with a space: a path is no name
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listing.split("\0")):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    subprocess.run(["chown", "-R", f"{CALLER}:{CALLER}", str(project)], check=True)
    hidden = {"RECIPEBOX_DATA", "RECIPEBOX_WEIGHTS", "RECIPEBOX_RUNS", "PYTHONPATH", "RECIPEBOX_VENV", "MAKEFLAGS"}
    port = own.free_port()
    environment = {key: value for key, value in docker.items() if key not in hidden} | {
        "RECIPEBOX_UID": str(CALLER), "RECIPEBOX_GID": str(CALLER), "RECIPEBOX_SSH_PORT": str(port),
        "TENSORRT": "none", "BUILD_NETWORK": "host", "BASE_IMAGE": own.BASE,
    }  # fmt: skip
    made = Devbox(project, environment, port)
    with own.package_folders() as pip:
        own.make_base(Path(docker["ENGINE_FOLDER"]), environment, pip)
        started = time.monotonic()
        smoke = made.make("image")
        SECONDS["make image, smoke included"] = time.monotonic() - started
    assert "ok    onnx export" in smoke.stdout, smoke.stdout
    started = time.monotonic()
    made.make("up")
    made.ssh("true")
    SECONDS["make up to an answer over ssh (first start)"] = time.monotonic() - started
    yield made
    made.make("down", check=False)
