"""Prepared folders are whole or absent, whoever else is at work and however full the disk is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recipebox.data.places import (
    cache_root,
    data_root,
    find_source,
    folder_writer,
    make_folder,
    new_folder,
    weights_roots,
)
from recipebox.errors import BadInput, StorageError


def test_the_environment_says_where_things_are(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert data_root() == cache / "data" and cache_root() == cache / "prepared"
    assert weights_roots() == (cache / "weights",)
    monkeypatch.setenv("RECIPEBOX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RECIPEBOX_WEIGHTS", str(tmp_path / "weights"))
    assert data_root() == tmp_path / "data" and cache_root() == cache / "prepared"
    assert weights_roots() == (tmp_path / "weights", cache / "weights")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache/recipebox/prepared"


def test_sources_are_found_in_the_data_folder_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert find_source("deeppcb") is None
    fetched = cache / "data/deeppcb.tar.gz"
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    assert find_source("deeppcb") == fetched
    given = tmp_path / "data"
    (given / "deeppcb").mkdir(parents=True)
    monkeypatch.setenv("RECIPEBOX_DATA", str(given))
    assert find_source("deeppcb") == given / "deeppcb"
    (given / "deeppcb.tar").touch()
    assert find_source("deeppcb") == given / "deeppcb.tar"


def test_an_error_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError), folder_writer(tmp_path / "set") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path: Path):
    target = tmp_path / "set"
    with folder_writer(target) as slow:
        (slow / "a").write_text("slow")
        with folder_writer(target) as quick:
            (quick / "a").write_text("quick")
    assert (target / "a").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_leftovers_of_killed_processes_are_swept_after_a_day(tmp_path: Path):
    old, young = tmp_path / ".set.1-aa.part", tmp_path / ".set.2-bb.part"
    for path in (old, young):
        path.mkdir()
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    with folder_writer(tmp_path / "set"):
        pass
    assert not old.exists() and young.exists()


def test_a_place_of_the_users_is_never_written_over_nor_swept(tmp_path: Path):
    old, target = tmp_path / ".theirs.part", tmp_path / "copy"
    old.mkdir()
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    with pytest.raises(BadInput, match="came to be while this ran"), new_folder(target) as slow:
        (slow / "a").write_text("ours")
        target.mkdir()
        (target / "a").write_text("theirs")
    assert (target / "a").read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".theirs.part", "copy"]


def test_a_full_disk_leaves_nothing(small_disk: Callable[[int], Path]):
    disk = small_disk(64)
    with pytest.raises(StorageError, match="the disk is full"), folder_writer(disk / "set") as folder:
        for index in range(100):
            (folder / str(index)).write_bytes(bytes(4096))
    assert list(disk.iterdir()) == []


def test_a_read_only_place_is_named(read_only: Path):
    with pytest.raises(StorageError, match="read-only"), folder_writer(read_only / "a/set"):
        pass


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            make_folder(path)


def test_two_processes_prepare_the_same_set_at_once(cache: Path):
    program = (
        "from recipebox.data.datasets import prepare; s = prepare('pcb-synthetic', images=8, seed=3); "
        "print(s.sha256, s.train.images[0].parent.parent.name)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert [path.name for path in (cache / "prepared").iterdir() if path.name != "checked"] == [told[0][0].split()[1]]
