"""Spoiled images are found before training, once, and the set's hash sees what matters and nothing else."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from recipebox.data import check
from recipebox.data.check import check_images, set_sha256
from recipebox.data.detection_set import Split
from recipebox.errors import DataError


def _image(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def test_whole_images_pass_with_their_size(cache: Path, tmp_path: Path):
    paths = [_image(tmp_path / name) for name in ("a.jpg", "b.png", "größe.bmp")]
    checked = check_images([*paths, paths[0]])
    assert set(checked) == set(paths)
    assert {(image.width, image.height) for image in checked.values()} == {(48, 64)}


def test_a_folder_whose_name_is_no_utf_8_is_checked_and_remembered(cache: Path, tmp_path: Path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    image = _image(folder / "a.png")
    first = check_images([image])
    monkeypatch.setattr(check, "_decode", None)  # not decoded again
    assert check_images([image]) == first


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("missing", [16, 400, 2000])
def test_a_truncated_image_is_found(cache: Path, tmp_path: Path, suffix: str, missing: int):
    good, bad = _image(tmp_path / f"good{suffix}"), _image(tmp_path / f"bad{suffix}")
    bad.write_bytes(bad.read_bytes()[:-missing])
    with pytest.raises(DataError, match="1 of 2 images cannot be used") as raised:
        check_images([good, bad])
    assert f"bad{suffix}: " in str(raised.value) and f"good{suffix}" not in str(raised.value)


def test_a_process_wide_tolerance_does_not_hide_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from PIL import ImageFile

    bad = _image(tmp_path / "bad.jpg")
    bad.write_bytes(bad.read_bytes()[:-400])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=r"bad\.jpg"):
        check_images([bad])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_what_is_no_image_is_named(cache: Path, tmp_path: Path, content: bytes):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png"):
        check_images([tmp_path / "x.png", _image(tmp_path / "y.png")])


def test_missing_and_many_spoiled_images_are_counted(cache: Path, tmp_path: Path):
    with pytest.raises(DataError, match="30 of 30") as raised:
        check_images([tmp_path / f"{index}.jpg" for index in range(30)])
    assert str(raised.value).count(".jpg") == check.MAX_LISTED and "10 more" in str(raised.value)


def test_the_outcome_is_remembered_until_a_file_changes(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    decoded: list[Path] = []
    really = check._decode
    monkeypatch.setattr(check, "_decode", lambda path: decoded.append(path) or really(path))
    paths = [_image(tmp_path / f"{index}.png", index) for index in range(3)]
    first = check_images(paths)
    assert sorted(decoded) == paths
    decoded.clear()
    assert check_images(paths) == first and decoded == []
    _image(paths[1], 99)
    os.utime(paths[1], ns=(1, 2))
    second = check_images(paths)
    assert decoded == [paths[1]] and second[paths[1]].sha256 != first[paths[1]].sha256


def test_spoiled_files_are_not_remembered_as_good(cache: Path, tmp_path: Path):
    bad = _image(tmp_path / "bad.jpg")
    bad.write_bytes(bad.read_bytes()[:-400])
    for _ in range(2):
        with pytest.raises(DataError):
            check_images([bad])


def test_a_spoiled_memory_or_a_read_only_cache_costs_time_only(
    cache: Path, tmp_path: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch
):
    path = _image(tmp_path / "a.png")
    first = check_images([path])
    for memory in (cache / "prepared/checked").iterdir():
        memory.write_text('{"version": 1, "images": [')
    assert check_images([path]) == first
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only))
    assert check_images([path]) == first


def test_the_hash_sees_names_membership_bytes_and_boxes_but_not_paths(cache: Path, tmp_path: Path):
    a, b, other = _image(tmp_path / "a.png", 1), _image(tmp_path / "b.png", 2), _image(tmp_path / "c.png", 3)
    box = np.array([[0, 0.5, 0.5, 0.2, 0.2]], np.float32)
    empty = np.zeros((0, 5), np.float32)
    train, val = Split((a, b), (box, empty)), Split((other,), (box,))

    def digest(train: Split = train, val: Split = val, names: tuple[str, ...] = ("x", "y")) -> str:
        splits = [("train", train), ("val", val)]
        return set_sha256(names, splits, check_images([path for _, split in splits for path in split.images]))

    same = digest()
    copy = tmp_path / "elsewhere.png"
    copy.write_bytes(a.read_bytes())
    assert digest(train=dataclasses.replace(train, images=(copy, b))) == same
    changed = {
        digest(names=("x", "z")),
        digest(train=Split((b, a), (empty, box))),
        digest(train=dataclasses.replace(train, boxes=(box + np.float32(1e-3), empty))),
        digest(train=dataclasses.replace(train, boxes=(empty, box))),
        digest(train=dataclasses.replace(train, images=(other, b))),
        digest(train=Split((a,), (box,)), val=Split((b, other), (empty, box))),
    }
    assert len(changed) == 6 and same not in changed
