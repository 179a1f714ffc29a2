"""--fix: a corrected copy, every change listed, the original as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest
from data.findings.conftest import picture
from data.findings.test_check_set import GOOD, IMAGE, LABEL, PLANTED, PNG, everything

from recipebox.data.datasets import prepare
from recipebox.data.findings.check_set import check_set
from recipebox.data.findings.finding import RULES
from recipebox.data.findings.fix import write_fixed
from recipebox.errors import DataError

if TYPE_CHECKING:
    from conftest import CommandLine

NAMES = {"names-unclear", "key-repeated"}
NOT_TO_BE_KNOWN = NAMES | {"split-missing", "split-empty", "split-without-boxes", "no-labels"}
"""Errors that only somebody who knows the set can mend."""


def fixed(boards: Path) -> tuple[Path, list[str]]:
    target = boards.parent / "copy"
    changes = write_fixed(check_set(str(boards)), target)
    return target, [f"{Path(change.file).name}:{change.line}: {change.change}" for change in changes]


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plant, *_ in PLANTED if RULES[rule].severity == "error" and rule not in NOT_TO_BE_KNOWN],
    ids=lambda value: value if value in RULES else "",
)
def test_the_copy_of_a_set_with_errors_has_none(
    boards: Path, rule: str, plant: Callable[[Path], None], cache: Path
) -> None:
    plant(boards)
    before = everything(boards)
    target, changes = fixed(boards)
    assert everything(boards) == before
    assert changes and not check_set(str(target)).counts()["error"]
    assert len(prepare(str(target)).train) in (5, 6)


@pytest.mark.parametrize(("rule", "plant"), [(rule, plant) for rule, plant, *_ in PLANTED if rule in NAMES])
def test_class_names_are_not_guessed(boards: Path, rule: str, plant: Callable[[Path], None]) -> None:
    plant(boards)
    with pytest.raises(DataError, match=r"data\.yaml:\d: .*by hand"):
        fixed(boards)
    assert not (boards.parent / "copy").exists()


def test_a_clean_set_is_copied_as_it_is(boards: Path) -> None:
    target, changes = fixed(boards)
    assert changes == [] and not check_set(str(target)).findings
    for kind in ("images", "labels"):
        assert {p.relative_to(target): p.read_bytes() for p in (target / kind).rglob("*.*")} == {
            p.relative_to(boards): p.read_bytes() for p in (boards / kind).rglob("*.*")
        }


def test_lines_are_mended_without_guessing(boards: Path) -> None:
    lines = ["0 0.95 0.7 0.3 0.2", "1 0.7 0.5 0.25 0.5", "0 0.5 0.5 0 0.1", "1 1.02 0.5 0.2 0.2", "1 .1 .2 .3 .2 .3 .4"]
    (boards / LABEL).write_text(GOOD + "\n".join(lines) + "\n")
    target, changes = fixed(boards)
    assert (target / LABEL).read_text().splitlines() == [
        *GOOD.splitlines(),
        "0 0.900000 0.700000 0.200000 0.200000",
        "1 0.960000 0.500000 0.080000 0.200000",
        "1 .1 .2 .3 .2 .3 .4",
    ]
    assert [change.split(": ")[0] for change in changes] == [f"train_1.txt:{line}" for line in (3, 4, 5, 6)]
    assert (target / "CHANGES.txt").read_text().count("\n") == 4


def test_an_image_whose_labels_cannot_be_known_is_left_out_whole(boards: Path) -> None:
    (boards / LABEL).write_text(f"{GOOD}1 320 200 50 60\n")
    target, (change,) = fixed(boards)
    assert "train_1.jpg:None: left out: " in change and "coordinate 320 is outside" in change
    assert not (target / IMAGE).exists() and not (target / LABEL).exists()


def test_of_the_same_image_in_all_splits_the_one_in_test_stays(boards: Path) -> None:
    for split in ("val", "test"):
        shutil.copy(boards / IMAGE, boards / f"images/{split}/{split}_1.jpg")
    target, changes = fixed(boards)
    assert len(changes) == 2 and all("test_1.jpg in test, which stays" in change for change in changes)
    assert (target / "images/test/test_1.jpg").is_file()
    assert not (target / IMAGE).exists() and not (target / "images/val/val_1.jpg").exists()


def test_a_turned_image_is_written_upright(boards: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture(77)).save(boards / PNG, exif=exif)
    seen = cv2.imread(str(boards / PNG))
    target, (change,) = fixed(boards)
    assert "turned upright" in change and not check_set(str(target)).findings
    stored = cv2.imread(str(target / PNG), cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_COLOR)
    assert (stored == seen).all() and stored.shape == (128, 96, 3)


def test_images_sharing_a_label_file_get_one_each(boards: Path) -> None:
    shutil.copy(boards / "images/train/train_0.png", boards / "images/train/train_1.png")
    (boards / "images/train/train_0.png").write_bytes(cv2.imencode(".png", picture(99))[1].tobytes())
    target, changes = fixed(boards)
    assert len(changes) == 1 and "called train_1-2" in changes[0]
    assert {p.stem for p in (target / "images/train").iterdir()} == {
        p.stem for p in (target / "labels/train").iterdir()
    }


def test_places_that_are_taken_or_the_users_are_refused(boards: Path, tmp_path: Path) -> None:
    report = check_set(str(boards))
    (tmp_path / "taken").mkdir()
    for target in (tmp_path / "taken", boards, boards / "copy", boards / "images/train/copy"):
        with pytest.raises(DataError, match=r"is there already|lies in the data set"):
            write_fixed(report, target)
    assert not check_set(str(boards)).findings


def test_the_verb_writes_the_copy_and_lists_the_changes(
    command_line: CommandLine, boards: Path, tmp_path: Path
) -> None:
    (boards / IMAGE).write_bytes(b"")
    done = command_line("check-data", str(boards), "--fix", str(tmp_path / "copy"), "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and not document["passed"] and document["fix"]["passed"]
    (change,) = document["fix"]["changes"]
    assert change["file"] == str(boards / IMAGE) and change["change"].startswith("left out: ")
    done = command_line("check-data", str(boards), "--fix", str(tmp_path / "copy"))
    assert done.returncode == 2 and "is there already" in done.stderr
    assert command_line("check-data", str(boards), "--fix", str(tmp_path / "c"), "--labels-only").returncode == 2
