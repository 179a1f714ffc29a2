"""Machines that are broken on purpose: commands that lie, hang or crash, packages that do not fit together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipebox.doctor.request import default_request

FakeCommand = Callable[[str, str], Path]
FakePython = Callable[..., str]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    """`fake("nvidia-smi", "echo ...")` puts a shell script on a PATH that has little else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def asked() -> dict[str, Any]:
    """A request that names nothing of the real machine."""
    return default_request() | {"weights": {"roots": [], "given": None, "known": {}}}


@pytest.fixture
def fake_python(tmp_path: Path) -> FakePython:
    """`fake_python(torch="raise ImportError")` is a Python with these modules only; `versions` are installed."""

    def make(versions: dict[str, str] | None = None, **modules: str) -> str:
        site = tmp_path / "site"
        site.mkdir()
        for name, code in modules.items():
            path = site / name.replace("__", "/")
            path.mkdir(parents=True)
            (path / "__init__.py").write_text(code)
        for name, version in (versions or {}).items():
            info = site / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        python = tmp_path / "python with space"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" -S "$@"\n')
        python.chmod(0o755)
        return str(python)

    return make
