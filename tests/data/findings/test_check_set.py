"""Every kind of finding, planted; a clean set gives none; nothing of the user's is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.findings.conftest import picture, save
from PIL import Image

from recipebox.data.datasets import prepare
from recipebox.data.findings import label_scan
from recipebox.data.findings.check_set import SetReport, check_set
from recipebox.data.findings.finding import RULES
from recipebox.errors import DataError

Check = Callable[..., SetReport]
LABEL, IMAGE, PNG = "labels/train/train_1.txt", "images/train/train_1.jpg", "images/train/train_2.png"
GOOD = "0 0.3 0.4 0.2 0.25\n1 0.7 0.5 0.25 0.5\n"


def line(text: str) -> Callable[[Path], None]:
    return lambda root: (root / LABEL).write_text(f"{GOOD}{text}\n") and None


def content(file: str, data: bytes) -> Callable[[Path], None]:
    return lambda root: (root / file).write_bytes(data) and None


def cut(file: str, by: int) -> Callable[[Path], None]:
    return lambda root: (root / file).write_bytes((root / file).read_bytes()[:-by]) and None


def pixels(value: int) -> Callable[[Path], None]:
    return lambda root: save(root / PNG, np.full((96, 128, 3), value, np.uint8)) and None


def yaml(old: str, new: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        text = (root / "data.yaml").read_text()
        assert old in text
        (root / "data.yaml").write_text(text.replace(old, new))

    return plant


def copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: shutil.copy(root / source, root / target) and None


def rotated(root: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture(77)).save(root / IMAGE, exif=exif)


def resaved(source: str, target: str) -> Callable[[Path], None]:
    """The same picture: smaller, brighter, and compressed harder."""

    def plant(root: Path) -> None:
        image = cv2.imread(str(root / source))
        image = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
        save(root / target, np.clip(image.astype(float) * 0.9 + 12, 0, 255).astype(np.uint8), quality=60)

    return plant


def no_val(root: Path) -> None:
    yaml("val: images/val\n", "")(root)


def no_boxes(root: Path) -> None:
    for file in (root / "labels/val").iterdir():
        file.write_text("")


def one_class_in_val(root: Path) -> None:
    for file in (root / "labels/val").iterdir():
        file.write_text("0 0.3 0.4 0.2 0.25\n")


def huge(root: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    (root / PNG).write_bytes(header + bytes(100))


PLANTED = [
    ("image-unreadable", content(IMAGE, b""), IMAGE, None),
    ("image-unreadable", content(IMAGE, b"no image at all"), IMAGE, None),
    ("image-unreadable", lambda root: (root / IMAGE).unlink() or os.mkfifo(root / IMAGE), IMAGE, None),
    ("image-unreadable", lambda root: (root / IMAGE).unlink() or (root / IMAGE).symlink_to(IMAGE), IMAGE, None),
    ("image-truncated", cut(IMAGE, 200), IMAGE, None),
    ("image-truncated", cut(PNG, 200), PNG, None),
    ("image-too-large", huge, PNG, None),
    ("image-black", pixels(0), PNG, None),
    ("image-white", pixels(255), PNG, None),
    ("image-uniform", pixels(99), PNG, None),
    ("image-rotated", rotated, IMAGE, None),
    ("image-duplicate", copy(IMAGE, "images/train/train_3.jpg"), "images/train/train_3.jpg", None),
    ("leak-duplicate", copy(IMAGE, "images/test/test_1.jpg"), "images/test/test_1.jpg", None),
    ("image-near", resaved(IMAGE, "images/train/train_3.jpg"), "images/train/train_3.jpg", None),
    ("leak-near", resaved(PNG, "images/val/val_1.jpg"), "images/val/val_1.jpg", None),
    ("image-without-label", lambda root: (root / LABEL).unlink(), IMAGE, None),
    ("label-without-image", content("labels/val/gone.txt", b"0 0.5 0.5 0.2 0.2\n"), "labels/val/gone.txt", None),
    ("label-shared", copy("images/train/train_0.png", "images/train/train_1.png"), "images/train/train_1.png", None),
    ("label-unreadable", content(LABEL, b"\xff\xfe\x00\x01"), LABEL, None),
    ("label-unreadable", lambda root: (root / LABEL).unlink() or (root / LABEL).symlink_to("nowhere"), LABEL, None),
    ("label-unreadable", lambda root: (root / LABEL).unlink() or os.mkfifo(root / LABEL), LABEL, None),
    ("field-count", line("0 0.5 0.5 0.2"), LABEL, 3),
    ("field-count", line("0 0.5 0.5 0.2 0.2 0.9"), LABEL, 3),
    ("not-a-number", line("scratch 0.5 0.5 0.2 0.2"), LABEL, 3),
    ("not-finite", line("0 0.5 nan 0.2 0.2"), LABEL, 3),
    ("class-range", line("2 0.5 0.7 0.2 0.2"), LABEL, 3),
    ("class-range", line("-1 0.5 0.7 0.2 0.2"), LABEL, 3),
    ("box-outside", line("0 320 200 50 60"), LABEL, 3),
    ("box-outside", line("0 -0.1 0.7 0.2 0.2"), LABEL, 3),
    ("box-degenerate", line("0 0.5 0.7 0 0.2"), LABEL, 3),
    ("box-sticks-out", line("0 0.95 0.7 0.3 0.2"), LABEL, 3),
    ("box-duplicate", line("1 0.7 0.5 0.25 0.5"), LABEL, 3),
    ("box-duplicate", line("1 0.701 0.5 0.25 0.5"), LABEL, 3),
    ("box-large", line("0 0.5 0.5 0.99 0.98"), LABEL, 3),
    ("box-small", line("0 0.5 0.8 0.01 0.01"), LABEL, 3),
    ("nc-names", yaml("nc: 2", "nc: 10"), "data.yaml", 2),
    ("names-unclear", yaml("[scratch, dent]", "[scratch, scratch]"), "data.yaml", 1),
    ("names-unclear", yaml("[scratch, dent]", "[on, dent]"), "data.yaml", 1),
    ("names-unclear", yaml("[scratch, dent]", "{1: scratch, 2: dent}"), "data.yaml", 1),
    ("names-unclear", yaml("[scratch, dent]", "\n- 1206\n- 0603"), "data.yaml", 3),
    ("names-unclear", yaml("[scratch, dent]", "{0: scratch, 1: on}"), "data.yaml", 1),
    ("key-repeated", yaml("nc: 2\n", "nc: 2\nnames: [dent, scratch]\n"), "data.yaml", 3),
    ("key-repeated", yaml("[scratch, dent]", "{0: scratch, 1: dent, 1: hole}"), "data.yaml", 1),
    ("split-missing", yaml("images/val", "images/nowhere"), "data.yaml", 4),
    ("split-empty", yaml("train: images/train\n", ""), "data.yaml", None),
    ("split-absent", no_val, "data.yaml", None),
    ("split-without-boxes", no_boxes, "data.yaml", None),
    ("no-labels", lambda root: shutil.rmtree(root / "labels"), "data.yaml", None),
    ("class-missing", one_class_in_val, "data.yaml", None),
]


def test_a_clean_set_gives_nothing(check: Check) -> None:
    for labels_only in (False, True):
        report = check(labels_only=labels_only)
        assert (report.findings, report.exit_code) == ((), 0)
        assert {split: one.images for split, one in report.statistics.items()} == {"train": 6, "val": 3, "test": 3}
        assert [one.boxes.tolist() for one in report.statistics.values()] == [[6, 6], [3, 3], [3, 3]]


@pytest.mark.parametrize(("rule", "plant", "file", "at"), PLANTED, ids=lambda value: value if value in RULES else "")
def test_a_planted_fault_is_found(
    check: Check, boards: Path, rule: str, plant: Callable[[Path], None], file: str, at: int | None
) -> None:
    plant(boards)
    report = check()
    found = [one for one in report.findings if one.rule == rule]
    assert [(one.file, one.line) for one in found if one.file.endswith(file)] == [(str(boards / file), at)]
    assert report.exit_code == (3 if any(RULES[one.rule].severity == "error" for one in report.findings) else 0)
    if RULES[rule].severity == "error":
        assert report.exit_code == 3


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, *_ in PLANTED} | {"too-many-boxes"} == set(RULES)


def test_too_many_boxes(check: Check, boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_scan, "MAX_BOXES", 5)
    lines = [f"0 0.3 {0.2 + 0.1 * step:.2f} 0.2 0.05\n" for step in range(6)]
    (boards / LABEL).write_text("".join(lines))
    assert [(one.rule, one.line) for one in check().findings] == [("too-many-boxes", 6)]


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plant, *_ in PLANTED if RULES[rule].severity == "error"],
    ids=lambda value: value if value in RULES else "",
)
def test_training_refuses_what_is_an_error_here(
    boards: Path, rule: str, plant: Callable[[Path], None], cache: Path
) -> None:
    plant(boards)
    with pytest.raises(DataError):
        prepare(str(boards))


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plant, *_ in PLANTED if RULES[rule].severity != "error"],
    ids=lambda value: value if value in RULES else "",
)
def test_training_takes_what_is_a_warning_here(
    boards: Path, rule: str, plant: Callable[[Path], None], cache: Path
) -> None:
    plant(boards)
    assert len(prepare(str(boards)).train)


WHOLE_SET = {"names-unclear", "key-repeated", "nc-names", "split-missing", "split-empty", "split-without-boxes"}
WHOLE_SET |= {"no-labels"}


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plant, *_ in PLANTED if RULES[rule].severity == "error"],
    ids=lambda value: value if value in RULES else "",
)
def test_told_otherwise_training_leaves_spoiled_images_out(
    boards: Path, rule: str, plant: Callable[[Path], None], cache: Path
) -> None:
    plant(boards)
    if rule in WHOLE_SET:
        with pytest.raises(DataError):
            prepare(str(boards), leave_out=True)
        return
    taken = prepare(str(boards), leave_out=True)
    assert (len(taken.train), len(taken.val), len(taken.test)) == (5, 3, 3)
    assert any("left out" in note and "train_" in note for note in taken.notes)


def test_a_lonely_bright_dot_is_no_black_image(check: Check, boards: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[50, 60] = 255
    save(boards / PNG, image)
    assert not check().findings


def test_a_series_is_chained_not_paired_with_each_other(check: Check, boards: Path) -> None:
    for index in range(12):
        save(boards / f"images/train/series_{index}.jpg", picture(5), quality=60 + index)
        (boards / f"labels/train/series_{index}.txt").write_text(GOOD)
    found = check().findings
    assert {one.rule for one in found} == {"image-near"} and len(found) == 12


def test_small_boxes_are_judged_at_the_imgsz(check: Check, boards: Path) -> None:
    (boards / LABEL).write_text(f"{GOOD}0 0.5 0.8 0.02 0.02\n")
    assert not check(imgsz=640).findings
    assert [one.rule for one in check(imgsz=320).findings] == ["box-small"]


def test_labels_only_opens_no_image(check: Check, boards: Path) -> None:
    for image in (boards / "images").rglob("*.*"):
        image.write_bytes(b"")
    assert not check(labels_only=True).findings
    assert check().counts()["error"] == 12


def test_plainly_and_oddly_written_files_say_the_same(check: Check, boards: Path) -> None:
    for odd in (GOOD.replace("\n", "\r\n"), GOOD.replace(" ", "\t"), f"\n{GOOD}\n", GOOD.replace("0.3", "3e-1"),
                f"\ufeff{GOOD}", GOOD.rstrip("\n")):  # fmt: skip
        (boards / LABEL).write_text(odd)
        report = check()
        assert not report.findings and report.statistics["train"].boxes.tolist() == [6, 6], odd


def test_a_garbage_label_of_megabytes_is_told_shortly(check: Check, boards: Path) -> None:
    (boards / LABEL).write_bytes(b"garbage in here\n" * 300_000)
    found = [one for one in check(labels_only=True).findings if one.file.endswith(LABEL)]
    assert len(found) == label_scan.MOST_FAULTS + 1 and "299980 more" in found[-1].message


def test_the_same_line_for_ever_is_told_shortly_and_soon(check: Check, boards: Path) -> None:
    (boards / LABEL).write_bytes(b"0 0.5 0.5 0.2 0.2\n" * 100_000)
    found = check(labels_only=True).findings
    assert {one.rule for one in found} == {"box-duplicate"} and len(found) == label_scan.MOST_FAULTS + 1
    assert len(prepare(str(boards)).train) == 6


def test_a_crowd_of_nearly_equal_boxes_is_told_shortly(check: Check, boards: Path) -> None:
    (boards / LABEL).write_text("".join(f"0 0.5 0.5 0.3 {0.3 + step / 1e6:.6f}\n" for step in range(3000)))
    found = check(labels_only=True).findings
    assert {one.rule for one in found} == {"box-duplicate"} and len(found) == label_scan.MOST_FAULTS + 1


def test_a_file_of_boxes_that_reach_out_is_told_shortly(check: Check, boards: Path) -> None:
    (boards / LABEL).write_text("".join(f"0 0.95 {0.2 + step / 1e3:.4f} 0.3 0.01\n" for step in range(0, 600, 20)))
    found = check(labels_only=True).findings
    assert {one.rule for one in found} == {"box-sticks-out"} and len(found) == label_scan.MOST_FAULTS + 1
    assert found[-1].message == "10 more boxes like the 20 before"


@pytest.mark.parametrize("text", ["train: &t [images/train, *t]", "train: [[images/train]]"])
def test_a_list_of_splits_that_holds_lists_is_no_bug(check: Check, boards: Path, text: str) -> None:
    (boards / "data.yaml").write_text(f"names: [scratch, dent]\n{text}\nval: images/val\n")
    assert [(one.rule, one.line) for one in check().findings if one.severity == "error"] == [("split-missing", 2)]
    with pytest.raises(DataError, match="is not a folder"):
        prepare(str(boards))


def test_a_description_that_is_a_pipe_is_not_waited_for(check: Check, boards: Path) -> None:
    (boards / "data.yaml").unlink()
    os.mkfifo(boards / "data.yaml")
    with pytest.raises(DataError, match=r"no data\.yaml"):
        check()


def test_odd_names_are_told_as_they_are(boards: Path) -> None:
    odd = boards / "images/train/line\nbreak \udcff größe.jpg"
    odd.write_bytes(b"spoiled")
    (found,) = [one for one in check_set(str(boards)).findings if one.severity == "error"]
    assert found.file == str(odd)


def everything(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_nothing_of_the_users_is_changed(check: Check, boards: Path) -> None:
    (boards / IMAGE).write_bytes((boards / IMAGE).read_bytes()[:-100])
    before = everything(boards)
    check()
    assert everything(boards) == before


def test_a_folder_with_nothing_to_check_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        check_set(str(tmp_path))
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(DataError, match=r"no data\.yaml.*recipebox init"):
        check_set(str(tmp_path))
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: images\n")
    with pytest.raises(DataError, match="no images"):
        check_set(str(tmp_path))
    file = tmp_path / "data.yaml"
    file.write_text("train: images/train\ntrain: images/val\nnames: [0402, 0603]\n")
    with pytest.raises(DataError) as refused:
        check_set(str(tmp_path))
    first, *faults = str(refused.value).split("\n")
    assert first.startswith(f"{file}: no images. ") and ".." not in first
    assert any(line.startswith(f"    {file}:2: `train`") for line in faults), faults
    assert any(line.startswith(f"    {file}:3: ") and "0402" in line for line in faults), faults
