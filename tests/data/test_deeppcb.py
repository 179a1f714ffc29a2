"""DeepPCB: the published counts or an error that says what is missing; val boards never share a group with train."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from recipebox.data import deeppcb
from recipebox.data.datasets import known, prepare, prepare_from
from recipebox.errors import DataError, StorageError

GROUPS = {"trainval": ("group00041", "group77000", "group20085"), "test": ("group90100",)}


@pytest.fixture
def small(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in DeepPCB's layout with two boards a group, and the published counts replaced by its own."""
    root = tmp_path / "DeepPCB/PCBData"
    for name, groups in GROUPS.items():
        lines = []
        for group in groups:
            number = group.removeprefix("group")
            for index in range(2):
                stem = f"{number}{index:03d}"
                (root / group / number).mkdir(parents=True, exist_ok=True)
                (root / group / f"{number}_not").mkdir(exist_ok=True)
                board = np.random.default_rng((int(number), index)).integers(0, 2, (640, 640), dtype=np.uint8) * 255
                for kind in ("test", "temp"):
                    cv2.imwrite(str(root / group / number / f"{stem}_{kind}.jpg"), board)
                (root / group / f"{number}_not/{stem}.txt").write_text("100 200 140 240 1\n600,600,639,639,6\n")
                lines.append(f"{group}/{number}/{stem}.jpg {group}/{number}_not/{stem}.txt")
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(deeppcb, "_LISTS", {"trainval.txt": (6, 12), "test.txt": (2, 4)})
    boards = [deeppcb._boards(root, name, root) for name in deeppcb._LISTS]
    monkeypatch.setattr(deeppcb, "CONTENT_SHA256", deeppcb.content_sha256(*boards))
    return root


def _pack(root: Path, out: Path) -> Path:
    with tarfile.open(out, "w:gz" if out.name.endswith("gz") else "w") as packed:
        packed.add(root.parent, "DeepPCB-master")
    return out


def test_folder_and_archive_give_the_same_set(small: Path, tmp_path: Path, cache: Path, monkeypatch):
    from_folder = prepare_from("deeppcb", small.parent)
    data = tmp_path / "data"
    data.mkdir()
    _pack(small, data / "deeppcb.tar")
    monkeypatch.setenv("RECIPEBOX_DATA", str(data))
    before = sorted(data.rglob("*"))
    from_archive = prepare("deeppcb", allow_fetch=False)
    assert from_archive.sha256 == from_folder.sha256 and from_archive.notes == ()
    assert sorted(data.rglob("*")) == before, "RECIPEBOX_DATA is never written"
    assert [len(from_archive.split(split)) for split in ("train", "val", "test")] == [2, 4, 2]
    assert {path.parent.name for path in from_archive.train.images} == {"20085"}
    assert not list((cache / "prepared").rglob("*_temp.jpg")), "templates are not unpacked"
    expected = np.array(
        [[0, 120 / 640, 220 / 640, 40 / 640, 40 / 640], [5, 619.5 / 640, 619.5 / 640, 39 / 640, 39 / 640]]
    )
    np.testing.assert_allclose(from_archive.train.boxes[0], expected, rtol=1e-6)
    assert prepare("deeppcb", allow_fetch=False).sha256 == from_archive.sha256


def test_an_archive_given_by_hand_is_found_by_name_afterwards(small: Path, tmp_path: Path, cache: Path):
    with pytest.raises(DataError, match="deeppcb: not found") as raised:
        prepare("deeppcb", allow_fetch=False)
    assert deeppcb.ADDRESS in str(raised.value)
    assert known("deeppcb").available is False and known("deeppcb").download_bytes
    made = prepare_from("deeppcb", _pack(small, tmp_path / "by-hand.tar.gz"))
    assert known("deeppcb").available and known("deeppcb").download_bytes is None
    assert prepare("deeppcb", allow_fetch=False).sha256 == made.sha256


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: (root / "group77000/77000/77000001_test.jpg").unlink(), r"77000001_test\.jpg: missing"),
        (lambda root: (root / "group77000/77000_not/77000001.txt").unlink(), r"77000001\.txt: missing"),
        (lambda root: (root / "test.txt").unlink(), r"no PCBData folder with trainval\.txt and test\.txt"),
        (lambda root: (root / "trainval.txt").write_text(""), "0 boards, published are 6"),
        (lambda root: _label(root, "100 200 140 240 1\n"), "11 boxes, published are 12"),
        (lambda root: _label(root, "100 200 140 240 7\n"), r"77000001\.txt:1: type 7 is out of range 1\.\.6"),
        (lambda root: _label(root, "100 200 90 240 1\n"), "is not inside"),
        (lambda root: _label(root, "100 200 140 1\n"), "4 fields"),
        (lambda root: (root / "test.txt").write_text("../../x.jpg y.txt\n" * 2), "expected an image and a label file"),
    ],
)
def test_what_is_missing_is_said(small: Path, spoil, told: str):
    spoil(small)
    with pytest.raises(DataError, match=told):
        prepare_from("deeppcb", small.parent)


def _label(root: Path, text: str) -> None:
    (root / "group77000/77000_not/77000001.txt").write_text(text)


def test_changed_labels_are_noted_locally_and_refused_when_fetched(
    small: Path, tmp_path: Path, cache: Path, monkeypatch
):
    _label(small, "100 200 140 241 1\n600 600 639 639 6\n")
    (note,) = prepare_from("deeppcb", small.parent).notes
    assert "not those known as DeepPCB" in note
    archive = _pack(small, tmp_path / "served.tar.gz")

    def served(url: str, out: Path, sha256: str | None, description: str) -> Path:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(archive, out)
        return out

    monkeypatch.setattr("recipebox.data.fetch.download", served)
    with pytest.raises(DataError, match="not those known as DeepPCB"):
        prepare("deeppcb")
    assert not (cache / "data/deeppcb.tar.gz").exists(), "a spoiled download is not kept"


def test_a_truncated_board_is_named(small: Path):
    board = small / "group90100/90100/90100000_test.jpg"
    board.write_bytes(board.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"90100000_test\.jpg: "):
        prepare_from("deeppcb", small.parent)


def test_a_full_disk_leaves_nothing_half_unpacked(small: Path, tmp_path: Path, small_disk, monkeypatch):
    archive = _pack(small, tmp_path / "deeppcb.tar")
    disk = small_disk(256)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    with pytest.raises(StorageError, match="the disk is full"):
        prepare_from("deeppcb", archive)
    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_a_read_only_cache_is_told(small: Path, tmp_path: Path, read_only: Path, monkeypatch):
    archive = _pack(small, tmp_path / "deeppcb.tar")
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only))
    with pytest.raises(StorageError, match="read-only"):
        prepare_from("deeppcb", archive)


def test_only_what_a_detector_needs_is_unpacked():
    wanted = deeppcb._wanted
    inside = PurePosixPath("DeepPCB-master/PCBData/group1/1/1_test.jpg")
    assert wanted(inside) == PurePosixPath("PCBData/group1/1/1_test.jpg")
    assert wanted(PurePosixPath("DeepPCB-master/PCBData/group1/1/1_temp.jpg")) is None
    assert wanted(PurePosixPath("DeepPCB-master/evaluation/readme.txt")) is None


def test_the_real_set(real_data: Path):
    if not any((real_data / f"deeppcb{suffix}").exists() for suffix in ("", ".tar", ".tar.gz", ".tgz", ".zip")):
        pytest.skip("RECIPEBOX_DATA holds no deeppcb")
    boards = prepare("deeppcb", allow_fetch=False)
    assert {split: len(boards.split(split)) for split in ("train", "val", "test")} == deeppcb.COUNTS  # type: ignore[arg-type]
    assert sum(map(len, boards.train.boxes)) + sum(map(len, boards.val.boxes)) == 6873
    assert sum(map(len, boards.test.boxes)) == 3140
    groups = {split: {path.parent.parent.name for path in boards.split(split).images} for split in ("train", "val")}
    assert not groups["train"] & groups["val"] and groups["val"] == set(deeppcb.VAL_GROUPS)
    assert boards.notes == ()
