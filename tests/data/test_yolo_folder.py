"""A user's folder: read in place, every problem told with file and line, nothing guessed without a note."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipebox.data.split_off import group_of
from recipebox.data.yolo_folder import find_layout, load
from recipebox.data.yolo_labels import MAX_BOXES, LabelReader, label_path
from recipebox.errors import DataError


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_in_order_is_read_and_not_touched(yolo_folder: Path):
    before = _tree(yolo_folder)
    boards = load(yolo_folder)
    assert _tree(yolo_folder) == before
    assert (boards.name, boards.names, boards.notes) == ("boards", ("scratch", "dent"), ())
    assert [len(boards.split(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    np.testing.assert_array_equal(boards.train.boxes[1], np.array([[1, 0.5, 0.5, 0.25, 0.5]], np.float32))
    assert boards.train.boxes[1].dtype == np.float32
    assert load(yolo_folder).sha256 == boards.sha256


def test_splits_as_lists_files_and_absolute_paths(yolo_folder: Path):
    (yolo_folder / "train.txt").write_text(
        "".join(f"./images/train/train_{index}.png\n" for index in (0, 1)) + f"{yolo_folder}/images/train/train_2.png\n"
    )
    (yolo_folder / "data.yaml").write_text(
        "path: .\nnames: {0: scratch, 1: dent}\nnc: 2\ntrain: [train.txt, images/test]\n"
        f"val: {yolo_folder}/images/val\n"
    )
    layout = find_layout(yolo_folder / "data.yaml")
    assert [path.name for path in layout.train] == [
        *("train_0.png", "train_1.png", "train_2.png"),
        *("test_0.png", "test_1.png"),
    ]
    assert len(layout.val) == 2 and layout.test == layout.val
    assert len(load(yolo_folder).train) == 5


def test_without_a_test_split_val_serves_and_it_is_said(yolo_folder: Path):
    (yolo_folder / "data.yaml").write_text("names: [scratch, dent]\ntrain: images/train\nval: images/val\n")
    boards = load(yolo_folder)
    assert boards.test.images == boards.val.images
    assert any("no test split" in note for note in boards.notes)


@pytest.mark.parametrize("stem", ["cam{}_{:03d}", "series_{1:03d}", "board{}_{:02d}_jpg.rf.{:05x}"])
def test_without_a_val_split_whole_groups_are_split_off(tmp_path: Path, cache: Path, stem: str):
    images = tmp_path / "set/images/train"
    images.mkdir(parents=True)
    for camera in range(10):
        for shot in range(6):
            (images / f"{stem.format(camera, shot + camera * 6, shot * 7 + 1)}.png").touch()
    (tmp_path / "set/classes.txt").write_text("scratch\ndent\n")
    layout = find_layout(tmp_path / "set", seed=1)
    assert len(layout.train) + len(layout.val) == 60 and not set(layout.train) & set(layout.val)
    assert 6 <= len(layout.val) <= 12
    assert any("no val split" in note and "seed 1" in note for note in layout.notes)
    if "series" not in stem:
        assert not {group_of(path) for path in layout.train} & {group_of(path) for path in layout.val}
    assert find_layout(tmp_path / "set", seed=1).val == layout.val
    assert any(find_layout(tmp_path / "set", seed=seed).val != layout.val for seed in range(2, 6))


def _without_val(root: Path, groups: dict[str, int], class_of: Callable[[str, int], int]) -> Path:
    """A folder that names no val: so many images of each group, with one box each."""
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    for group, images in groups.items():
        for number in range(images):
            (root / f"images/train/{group}_{number}.png").touch()
            label = root / f"labels/train/{group}_{number}.txt"
            label.write_text(f"{class_of(group, number)} 0.5 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text(f"names: {[f'class {n}' for n in range(len(groups))]}\ntrain: images/train\n")
    return root


DEFECTS = ("crazing", "inclusion", "patches", "pitted", "rolled-in", "scratches")


def test_names_that_are_classes_make_no_val_that_train_never_sees(tmp_path: Path, cache: Path):
    folder = _without_val(tmp_path / "steel", dict.fromkeys(DEFECTS, 60), lambda group, _: DEFECTS.index(group))
    for seed in range(5):
        layout = find_layout(folder, seed=seed)
        assert {group_of(path) for path in layout.train} == set(DEFECTS)
        assert len({group_of(path) for path in layout.val}) > 2
        assert 36 <= len(layout.val) <= 72
        assert any("runs of 10 consecutive files" in note for note in layout.notes)


def test_names_that_every_class_has_keep_their_images_together(tmp_path: Path, cache: Path):
    folder = _without_val(tmp_path / "boards", dict.fromkeys(DEFECTS, 60), lambda _, number: number % 6)
    layout = find_layout(folder)
    assert len(layout.val) == 60 and len({group_of(path) for path in layout.val}) == 1
    assert any("file name groups" in note for note in layout.notes)


@pytest.mark.parametrize(
    ("groups", "largest", "how"),
    [
        ({"long": 70, **{f"short{letter}": 5 for letter in "abcdef"}}, 20, "file name groups"),
        ({**{f"long{letter}": 24 for letter in "abcd"}, "short": 4}, 20, "runs of 10 consecutive files"),
        ({"long": 76, **{f"short{letter}": 4 for letter in "abcdef"}}, 20, "runs of 10 consecutive files"),
    ],
)
def test_val_never_takes_a_group_that_is_more_than_its_share(
    tmp_path: Path, cache: Path, groups, largest: int, how: str
):
    folder = _without_val(tmp_path / "boards", groups, lambda _, number: number % 3)
    for seed in range(8):
        layout = find_layout(folder, seed=seed)
        assert largest / 2 <= len(layout.val) <= largest
        assert any(how in note for note in layout.notes)


@pytest.mark.parametrize("images", [10, 40])
def test_a_class_of_few_images_stays_in_train_unless_all_classes_are_so_small(tmp_path: Path, cache: Path, images: int):
    folder = _without_val(tmp_path / "rare", {"board": images}, lambda _, number: number // 3)
    for seed in range(5):
        layout = find_layout(folder, seed=seed)
        assert {int(path.stem[6:]) // 3 for path in layout.train} == set(range((images + 2) // 3))
    folder = _without_val(tmp_path / "single", {"board": images}, lambda _, number: number)
    assert len(find_layout(folder).val) == images // 5


def test_groups_drop_what_only_counts():
    assert group_of(Path("cam2_000317.jpg")) == "cam2"
    assert group_of(Path("a/board7_jpg.rf.0a1b2c.jpg")) == "board7_jpg"
    assert group_of(Path("000123.png")) == "000"


def test_label_paths():
    assert label_path(Path("/images/set/images/train/a.b.jpg")) == Path("/images/set/labels/train/a.b.txt")
    assert label_path(Path("/set/pictures/a.jpg")) == Path("/set/pictures/a.txt")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 0.5 0.5 0.2", "4 fields, expected 5"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 fields, expected 5"),
        ("0 0.5 nan 0.2 0.2", "not a finite number"),
        ("0 0.5 inf 0.2 0.2", "not a finite number"),
        ("2 0.5 0.5 0.2 0.2", r"class 2 is out of range 0\.\.1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is out of range"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is out of range"),
        ("0 1.2 0.5 0.2 0.2", "coordinate 1.2 is outside"),
        ("0 0.5 -0.1 0.2 0.2", "coordinate -0.1 is outside"),
        ("0 320 240 64 64", "pixels instead of fractions"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 0.1 0.1 0.2 0.1 1.3 0.4", "coordinate 1.3 is outside"),
        ("scratch 0.5 0.5 0.2 0.2", "not all numbers"),
    ],
)
def test_a_wrong_line_is_named_with_file_and_line(yolo_folder: Path, line: str, told: str):
    (yolo_folder / "labels/val/val_1.txt").write_text(f"\n0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=told) as raised:
        load(yolo_folder)
    assert "labels/val/val_1.txt:3: " in str(raised.value) and "1 problem in" in str(raised.value)


def test_many_problems_are_listed_to_twenty_and_counted(yolo_folder: Path):
    (yolo_folder / "labels/train/train_0.txt").write_text("9 0.5 0.5 0.1 0.1\n" * 33)
    with pytest.raises(DataError, match="33 problems") as raised:
        load(yolo_folder)
    assert str(raised.value).count("train_0.txt:") == 20 and "13 more" in str(raised.value)


def test_polygons_become_boxes_with_a_note(yolo_folder: Path):
    (yolo_folder / "labels/train/train_0.txt").write_text("1 0.1 0.2 0.5 0.2 0.5 0.6\n1 0.1 0.2 0.5 0.2 0.5 0.6\n")
    boards = load(yolo_folder)
    np.testing.assert_allclose(boards.train.boxes[0], [[1, 0.3, 0.4, 0.4, 0.4]], rtol=1e-6)
    assert any("polygons" in note for note in boards.notes) and any("repeated" in note for note in boards.notes)


def test_images_without_label_files_count_as_empty_unless_all_are(yolo_folder: Path):
    (yolo_folder / "labels/train/train_0.txt").unlink()
    (yolo_folder / "labels/train/train_1.txt").write_text("")
    boards = load(yolo_folder)
    assert boards.train.boxes[0].shape == boards.train.boxes[1].shape == (0, 5)
    assert any("1 image without a label file" in note for note in boards.notes)
    (yolo_folder / "labels").rename(yolo_folder / "labelz")
    with pytest.raises(DataError, match="none of the 10 images has a label file"):
        load(yolo_folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("names: [a, b\n", "not valid YAML"),
        ("just text\n", "expected keys"),
        ("train: images/train\n", "`names` must list"),
        ("names: [a, a]\ntrain: images/train\n", "must be there and differ"),
        ("names: {1: a, 2: b}\ntrain: images/train\n", "numbers 0 to 1"),
        ("names: [a, b]\nnc: 3\ntrain: images/train\n", "nc is 3"),
        ("names: [a, b]\ntrain: images/nowhere\n", "no such folder or list"),
        ("names: [a, b]\ntrain: 5\n", "5 is not a folder"),
        ("names: [a, b]\nval: images/val\n", "no training images"),
        ("names: [a, b]\ntrain: {\n", "data.yaml:3: not valid YAML"),
        ("names: [a, b]\ntrain: [[[" + "[" * 3000, "nested too deeply"),
        ("names: [a, b]\nnc: [2]\ntrain: images/train\n", "nc is \\[2\\]"),
        ("names: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_spoiled_description_is_told(yolo_folder: Path, text: str, told: str):
    (yolo_folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=told) as raised:
        load(yolo_folder)
    assert "data.yaml" in str(raised.value)


def test_a_description_of_another_encoding_or_of_billions_is_told_shortly(yolo_folder: Path):
    (yolo_folder / "data.yaml").write_bytes("names: [a,\n  café]\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"data\.yaml:2: not UTF-8"):
        load(yolo_folder)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    for use in ("names: *a9\n", "names: [a, b]\ntrain: *a9\n", "names: [a, b]\nnc: *a9\n"):
        (yolo_folder / "data.yaml").write_text("\n".join([*lines, use]))
        with pytest.raises(DataError) as raised:
            load(yolo_folder)
        assert len(str(raised.value)) < 600


def test_no_description_and_no_folder(yolo_folder: Path, tmp_path: Path):
    (yolo_folder / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"no data\.yaml"):
        load(yolo_folder)
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_a_truncated_image_and_an_unreadable_label_are_named(yolo_folder: Path):
    image = yolo_folder / "images/train/train_3.png"
    image.write_bytes(image.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"train_3\.png: "):
        load(yolo_folder)
    (yolo_folder / "labels/train/train_2.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train_2\.txt: cannot be read"):
        load(yolo_folder)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="0123456789.-+einfa \t\n", max_size=60))
def test_any_text_gives_good_rows_or_problems(tmp_path: Path, text: str):
    image = tmp_path / "images/a.png"
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels/a.txt").write_text(text)
    reader = LabelReader(3)
    (boxes,) = reader.split([image]).boxes
    assert boxes.shape[1] == 5 and np.isfinite(boxes).all()
    assert np.isin(boxes[:, 0], (0, 1, 2)).all()
    assert (boxes[:, 1:] >= -1e-4).all() and (boxes[:, 1:] <= 1 + 1e-4).all() and (boxes[:, 3:] > 0).all()
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(boxes) + len(reader.problems) <= len(lines)
    assert bool(lines) == bool(len(boxes) or reader.problems)


def test_list_files_on_a_full_disk_are_not_needed(small_disk: Callable[[int], Path], yolo_folder: Path, monkeypatch):
    """The set lies in place: a cache that is full costs the memory of the check, not the set."""
    disk = small_disk(8)
    (disk / "fill").write_bytes(b"")
    with (disk / "fill").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    assert len(load(yolo_folder).train) == 6
    assert not list(disk.rglob("*.part"))


def _labels(boards: Path, text: str) -> None:
    (boards / "labels/train/train_0.txt").write_text(text)


def test_a_box_beyond_the_image_ends_at_its_edge(yolo_folder: Path):
    _labels(yolo_folder, "0 0.95 0.5 0.3 0.2\n1 0.5 0.500001 1 1\n")
    boards = load(yolo_folder)
    # 0.8 to 1.1 becomes 0.8 to 1; the second sticks out by no more than rounding, and stays as written.
    np.testing.assert_allclose(
        boards.train.boxes[0], [[0, 0.9, 0.5, 0.2, 0.2], [1, 0.5, 0.500001, 1, 1]], rtol=0, atol=1e-7
    )
    assert any("1 box reaching beyond the image" in note for note in boards.notes)


def test_many_labels_are_read_in_time_and_too_many_refused(yolo_folder: Path):
    lines = [f"0 0.5 0.5 0.2 {0.1 + index / 1e6:.6f}\n" for index in range(MAX_BOXES + 1)]
    _labels(yolo_folder, "".join(lines[:-1]) * 3)
    started = time.perf_counter()
    boards = load(yolo_folder)
    assert len(boards.train.boxes[0]) == MAX_BOXES
    assert time.perf_counter() - started < 10  # comparing each with each would take minutes
    _labels(yolo_folder, "".join(lines))
    with pytest.raises(DataError, match=rf"train_0.txt:{MAX_BOXES + 1}: more than {MAX_BOXES} boxes"):
        load(yolo_folder)


@pytest.mark.parametrize("which", ["images/train/train_0.png", "labels/train/train_0.txt"])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(yolo_folder: Path, which: str):
    path = yolo_folder / which
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"{path.name}: .*not a plain file"):
        load(yolo_folder)


@pytest.mark.parametrize("which", ["images/train/train_0.png", "labels/train/train_0.txt"])
def test_a_link_to_nowhere_is_refused_and_not_left_out(yolo_folder: Path, which: str):
    path = yolo_folder / which
    path.unlink()
    path.symlink_to(yolo_folder / "gone")
    with pytest.raises(DataError, match=path.name):
        load(yolo_folder)


def test_linked_folders_are_walked_once(yolo_folder: Path, tmp_path: Path):
    (yolo_folder / "images/train").rename(tmp_path / "elsewhere")
    (yolo_folder / "images/train").mkdir()
    (yolo_folder / "images/train/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(yolo_folder / "images/train")
    assert len(find_layout(yolo_folder).train) == 6


@pytest.mark.parametrize("entry", ["x" * 5000, '"a\\0b"', "train.txt"])
def test_impossible_paths_are_no_bug(yolo_folder: Path, entry: str):
    (yolo_folder / "train.txt").write_text("x" * 5000 + ".png\na\0b.png\n")
    (yolo_folder / "data.yaml").write_text(f"names: [scratch, dent]\ntrain: {entry}\nval: images/val\n")
    with pytest.raises(DataError) as raised:
        load(yolo_folder)
    assert len(str(raised.value)) < 13_000


def test_lists_of_images_may_begin_with_a_byte_order_mark(yolo_folder: Path):
    (yolo_folder / "train.txt").write_text("\ufeffimages/train/train_0.png\r\nimages/train/train_1.png\r\n", "utf-8")
    (yolo_folder / "data.yaml").write_text("names: [scratch, dent]\ntrain: train.txt\nval: images/val\n")
    assert len(load(yolo_folder).train) == 2


@pytest.mark.parametrize("names", ["[on, dent]", "[scratch, null]", "[[scratch], dent]"])
def test_names_that_yaml_reads_as_something_else_are_refused(yolo_folder: Path, names: str):
    (yolo_folder / "data.yaml").write_text(f"names: {names}\ntrain: images/train\nval: images/val\n")
    with pytest.raises(DataError, match="quotes"):
        load(yolo_folder)


@pytest.mark.parametrize(
    "name", ["0402", "0x1F", "12:30", "1_2", "1.50", "+5", "1.0e+3", "2026-1-2 10:00:00", "~", "True"]
)
@pytest.mark.parametrize("names", ["[{}, dent]", "{{0: {}, 1: dent}}", "\n- {}\n- dent"])
def test_a_name_that_yaml_changes_is_refused_with_its_line(yolo_folder: Path, names: str, name: str):
    (yolo_folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names.format(name)}\n")
    line = names.count("\n") // 2 + 3
    with pytest.raises(DataError, match=rf"data\.yaml:{line}: .*{re.escape(name)}.*quotes"):
        load(yolo_folder)
    quoted = names.format(f"'{name}'")
    (yolo_folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {quoted}\n")
    assert load(yolo_folder).names == (name, "dent")


def test_numbers_that_stay_as_written_are_names(yolo_folder: Path):
    (yolo_folder / "data.yaml").write_text(
        "names: [1206, 0805, 1.5, 2026-11-22]\ntrain: images/train\nval: images/val\n"
    )
    assert load(yolo_folder).names == ("1206", "0805", "1.5", "2026-11-22")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("names: [a, b]\ntrain: images/train\nval: images/val\ntrain: images/test\n", "4: `train` .* line 2"),
        ("train: images/train\nnames:\n  0: a\n  1: b\n  1: c\n", "5: `1` .* line 4"),
        ("train: images/train\nnames: {0: a, 1: b, 0x1: c}\n", "2: `0x1` .* line 2"),
        ("names: [a, b]\ntrain: images/train\n'names': [b, a]\n", "3: `names` .* line 1"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(yolo_folder: Path, text: str, told: str):
    (yolo_folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml:{told}"):
        load(yolo_folder)


@pytest.mark.parametrize("nc", ["3", "'3'", "3.5"])
def test_nc_has_to_agree_however_it_is_written(yolo_folder: Path, nc: str):
    (yolo_folder / "data.yaml").write_text(f"names: [scratch, dent]\nnc: {nc}\ntrain: images/train\nval: images/val\n")
    with pytest.raises(DataError, match="nc is"):
        load(yolo_folder)


def test_a_path_of_another_machine_is_said(yolo_folder: Path):
    (yolo_folder / "data.yaml").write_text(
        "path: /mnt/elsewhere/set\nnames: [scratch, dent]\ntrain: images/train\nval: images/val\n"
    )
    assert any("/mnt/elsewhere/set" in note for note in load(yolo_folder).notes)


def test_a_path_that_yaml_takes_for_a_number_is_a_folder(yolo_folder: Path):
    """Or it is said that there is none; it was not looked at once, and another folder's images were trained on."""
    described = "path: 2024\nnames: [scratch, dent]\ntrain: images/train\nval: images/val\n"
    (yolo_folder / "data.yaml").write_text(described)
    assert any("`path: 2024` is no folder here" in note for note in load(yolo_folder).notes)
    (yolo_folder / "2024").mkdir()
    for name in ("images", "labels"):
        shutil.move(yolo_folder / name, yolo_folder / "2024" / name)
    assert len(load(yolo_folder).train) == 6
    (yolo_folder / "data.yaml").write_text(described.replace("2024", "[2024]", 1))
    with pytest.raises(DataError, match="images/train"):
        load(yolo_folder)


def test_what_macos_notes_beside_an_image_is_none(yolo_folder: Path):
    before = load(yolo_folder).sha256
    (yolo_folder / "images/train/._train_0.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert load(yolo_folder).sha256 == before


def test_two_images_with_one_label_file_are_said(yolo_folder: Path):
    shutil.copy(yolo_folder / "images/train/train_0.png", yolo_folder / "images/train/train_0.PNG")
    boards = load(yolo_folder)
    assert len(boards.train) == 7 and any("sharing a label file" in note for note in boards.notes)


def test_an_image_in_two_splits_is_said(yolo_folder: Path):
    assert not any("byte for byte" in note for note in load(yolo_folder).notes)
    shutil.copy(yolo_folder / "images/train/train_0.png", yolo_folder / "images/test/other_name.png")
    (note,) = [note for note in load(yolo_folder).notes if "byte for byte" in note]
    assert "1 of the 3 test images are also train images" in note


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_box_is_refused_before_anything_is_trained(yolo_folder: Path, split: str):
    for label in (yolo_folder / "labels" / split).iterdir():
        label.write_text("")
    with pytest.raises(DataError, match=rf"none of the \d {split} images has a box"):
        load(yolo_folder)


def test_a_test_split_without_a_box_is_taken(yolo_folder: Path):
    """A test of good boards alone measures overkill."""
    for label in (yolo_folder / "labels/test").iterdir():
        label.write_text("")
    assert sum(map(len, load(yolo_folder).test.boxes)) == 0


CLOSED = """
import sys
from pathlib import Path
from recipebox.adopt.survey import survey
from recipebox.data.datasets import known, prepare
from recipebox.data.findings.check_set import check_set
from recipebox.errors import DataError

root = Path(sys.argv[1])
for verb in (known, prepare, survey, lambda name: [print(one.file, one.message) for one in check_set(name).findings]):
    try:
        verb(root if verb is survey else str(root))
    except DataError as error:
        print(str(error).replace(chr(10), " "))
"""


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("closed", ["..", "", "images", "images/train"])
def test_a_folder_that_may_not_be_entered_is_named(yolo_folder: Path, closed: str, described: bool):
    if not described:
        (yolo_folder / "data.yaml").unlink()
        (yolo_folder / "classes.txt").write_text("scratch\ndent\n")
    (yolo_folder / closed).chmod(0o600)
    words = [sys.executable, "-c", CLOSED, str(yolo_folder)]
    if os.geteuid() == 0:  # root may enter anything, unless it gives that up
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root ignores permissions, and there is no setpriv to give that up")
        words = [setpriv, "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    (yolo_folder / closed).chmod(0o755)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    place = str(yolo_folder if closed == ".." else yolo_folder / closed)
    assert len(told) >= (3 if closed in {"..", ""} else 2) and all(place in line for line in told)
    assert all("ermission" in line for line in told)
