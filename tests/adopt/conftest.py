"""The user's folder and a workplace; the folder has to stay as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from adopt_folders import fingerprint

from recipebox.adopt.run import Adopted, Wishes, adopt_folder

Init = Callable[..., Adopted]
Called = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Called:
    """`called("init", ...)`: the command line in this process, without its start; a cache of its own."""
    from recipebox.cli import app

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECIPEBOX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> CompletedProcess[str]:
        capfd.readouterr()
        code = app(list(arguments), standalone_mode=False) or 0
        out, err = capfd.readouterr()
        return CompletedProcess(list(arguments), code, out, err)

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The user's folder, to be filled."""
    folder = tmp_path / "Line 3 – fotos"
    folder.mkdir()
    return folder


@pytest.fixture
def init(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Init]:
    """`init(name=..., split=...)` adopts `source` from a workplace of its own; the folder has to be the same after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECIPEBOX_DATA", raising=False)
    (tmp_path / "workplace").mkdir()
    monkeypatch.chdir(tmp_path / "workplace")
    before: list[dict[str, Any]] = []

    def call(path: Path | str | None = None, **wishes: Any) -> Adopted:
        before.append(fingerprint(source))
        return adopt_folder(str(source if path is None else path), Wishes(**({"name": "line-3"} | wishes)))

    yield call
    if before:
        assert fingerprint(source) == before[-1], "the user's folder was changed"
