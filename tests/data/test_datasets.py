"""Names and folders: quick answers for a plan, the same set every time, and a helpful no."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from recipebox.data.coco8 import NAMES as COCO_NAMES
from recipebox.data.datasets import known, prepare, prepare_from
from recipebox.errors import DataError


def test_a_plan_loads_nothing_heavy(yolo_folder: Path):
    program = (
        "import sys; from recipebox.data.datasets import known; from recipebox.data.weights import weights_available\n"
        f"for name in ('deeppcb', 'pcb-synthetic', 'coco8', {str(yolo_folder)!r}, 'nothing'): known(name)\n"
        "weights_available('yolov8n.pt')\n"
        "heavy = {'torch', 'ultralytics', 'cv2', 'numpy', 'PIL', 'matplotlib', 'onnx'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_known_is_what_is_prepared(yolo_folder: Path):
    facts, boards = known(str(yolo_folder), images=4), prepare(str(yolo_folder), images=4)
    assert facts.names == boards.names and facts.available and facts.download_bytes is None
    assert facts.counts == {split: len(boards.split(split)) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    assert known("no-such-set").available is False
    assert len(known("coco8").names or ()) == 80 and known("coco8").download_bytes


def test_what_is_known_is_what_is_prepared_where_val_is_split_off(yolo_folder: Path):
    """Names that are classes are seen from the labels alone."""
    (yolo_folder / "images/steel").mkdir()
    (yolo_folder / "labels/steel").mkdir()
    for number in range(60):
        stem = f"{'abcdef'[number % 6] * 3}_{number:02}"
        shutil.copy(yolo_folder / "images/train/train_0.png", yolo_folder / f"images/steel/{stem}.png")
        (yolo_folder / f"labels/steel/{stem}.txt").write_text(f"{number % 6} 0.5 0.5 0.25 0.5\n")
    (yolo_folder / "data.yaml").write_text("names: [a, b, c, d, e, f]\ntrain: images/steel\n")
    facts, steel = known(str(yolo_folder)), prepare(str(yolo_folder))
    assert facts.counts == {split: len(steel.split(split)) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    assert {int(boxes[0, 0]) for boxes in steel.train.boxes} == set(range(6))


def test_a_subset_is_seeded_and_leaves_val_and_test(yolo_folder: Path):
    whole = prepare(str(yolo_folder))
    some = prepare(str(yolo_folder), images=3, seed=1)
    assert len(some.train) == 3 and set(some.train.images) < set(whole.train.images)
    assert some.val is not some.test and some.val.images == whole.val.images and some.test.images == whole.test.images
    assert some.sha256 != whole.sha256
    assert prepare(str(yolo_folder), images=3, seed=1).sha256 == some.sha256
    assert len({prepare(str(yolo_folder), images=3, seed=seed).sha256 for seed in range(6)}) > 1
    assert any("3 of 6 training images" in note for note in some.notes)
    assert prepare(str(yolo_folder), images=600).sha256 == whole.sha256


def test_a_folder_or_archive_in_the_data_folder_is_found_by_name(yolo_folder: Path, tmp_path: Path, monkeypatch):
    by_path = prepare(str(yolo_folder))
    monkeypatch.setenv("RECIPEBOX_DATA", str(yolo_folder.parent))
    assert prepare("boards").sha256 == by_path.sha256
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "plates.tgz", "w:gz") as archive:
        archive.add(yolo_folder, "whatever")
    monkeypatch.setenv("RECIPEBOX_DATA", str(packed))
    assert known("plates").available
    assert prepare("plates").sha256 == by_path.sha256
    assert [path.name for path in packed.iterdir()] == ["plates.tgz"]


@pytest.mark.parametrize(
    "beside", ["classes.txt", "__MACOSX/boards/._data.yaml", "README.md", "docs/how.txt", ".DS_Store"]
)
def test_what_lies_beside_the_one_folder_of_an_archive_does_not_count(yolo_folder: Path, tmp_path: Path, beside: str):
    by_path = prepare(str(yolo_folder))
    (tmp_path / "file").write_text("of somebody")
    with tarfile.open(tmp_path / "plates.tar", "w") as archive:
        archive.add(tmp_path / "file", beside)
        archive.add(yolo_folder, "boards")
    assert prepare_from("plates", tmp_path / "plates.tar").sha256 == by_path.sha256


def test_an_archive_with_a_description_at_its_top_is_read_from_there(yolo_folder: Path, tmp_path: Path):
    by_path = prepare(str(yolo_folder))
    with tarfile.open(tmp_path / "plates.tar", "w") as archive:
        archive.add(yolo_folder, ".")
        archive.add(yolo_folder, "earlier")
    assert prepare_from("plates", tmp_path / "plates.tar").sha256 == by_path.sha256


def test_an_archive_of_two_sets_is_not_guessed_at(yolo_folder: Path, tmp_path: Path):
    with tarfile.open(tmp_path / "plates.tar", "w") as archive:
        archive.add(yolo_folder, "monday")
        archive.add(yolo_folder, "tuesday")
    with pytest.raises(DataError, match=r"no data\.yaml"):
        prepare_from("plates", tmp_path / "plates.tar")


def test_a_subset_without_a_box_is_refused_like_a_set_without_one(yolo_folder: Path):
    for number in range(1, 6):
        (yolo_folder / f"labels/train/train_{number}.txt").write_text("")
    refused = 0
    for seed in range(6):
        try:
            assert any(map(len, prepare(str(yolo_folder), images=2, seed=seed).train.boxes))
        except DataError as error:
            assert "none of the 2 train images has a box" in str(error) and "data.images" in str(error)
            refused += 1
    assert 0 < refused < 6


@pytest.mark.parametrize("name", ["deepcb", "no/such/folder", ""])
def test_an_unknown_name_is_answered_with_what_there_is(cache: Path, name: str):
    with pytest.raises(DataError, match="Known by name: deeppcb, pcb-synthetic, coco8") as raised:
        prepare(name)
    assert ("Did you mean deeppcb?" in str(raised.value)) == (name == "deepcb")


def test_prepare_by_hand_refuses_what_it_cannot_read(cache: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        prepare_from("deeppcb", tmp_path / "nowhere.tar")
    (tmp_path / "set.rar").touch()
    with pytest.raises(DataError, match="not an archive that can be read"):
        prepare_from("deeppcb", tmp_path / "set.rar")
    (tmp_path / "set.tar").write_bytes(b"not a tar")
    with pytest.raises(DataError, match="damaged or incomplete"):
        prepare_from("deeppcb", tmp_path / "set.tar")
    with pytest.raises(DataError, match="is drawn"):
        prepare_from("pcb-synthetic", tmp_path / "set.tar")
    assert not list(cache.rglob("*.tar"))


def test_coco8_from_its_archive(real_data: Path):
    if not (real_data / "coco8.tar").exists():
        pytest.skip("RECIPEBOX_DATA holds no coco8.tar")
    eight = prepare("coco8", allow_fetch=False)
    assert len(eight.train) == len(eight.val) == 4 and eight.names == COCO_NAMES
    assert sum(map(len, eight.train.boxes)) == 13 and sum(map(len, eight.val.boxes)) == 17


def test_an_incomplete_coco8_is_told(cache: Path, tmp_path: Path):
    (tmp_path / "coco8/images/train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"0 \+ 0 images"):
        prepare_from("coco8", tmp_path / "coco8")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-this-name/set"])
def test_impossible_names_are_not_found(cache: Path, name: str):
    assert not known(name).available
    with pytest.raises(DataError, match="no such data set"):
        prepare(name)


def test_a_name_that_resembles_another_says_which(cache: Path):
    assert known("deepcb").meant == "deeppcb" and known("deeppcb").meant is None
