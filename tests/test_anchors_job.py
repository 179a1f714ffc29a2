"""The verb anchors from the command line: recipes, folders, and sets that hold too little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import CommandLine

REPOSITORY = Path(__file__).resolve().parents[1]


def folder(root: Path, boxes: list[tuple[float, float]], *, in_val: bool = True) -> Path:
    """A set in YOLO layout: one image of 200 x 100 a split; these widths and heights, as fractions, in train."""
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        image = np.random.default_rng(len(split)).integers(0, 255, (100, 200, 3), np.uint8)
        cv2.imwrite(str(root / f"images/{split}/a.png"), image)
    rows = "".join(f"0 0.5 0.5 {w} {h}\n" for w, h in boxes)
    (root / "labels/train/a.txt").write_text(rows)
    (root / "labels/val/a.txt").write_text("0 0.5 0.5 0.2 0.2\n" if in_val else "")
    (root / "data.yaml").write_text("names: [dent]\ntrain: images/train\nval: images/val\n")
    return root


def test_a_folder_gives_anchors_a_picture_and_one_document(command_line: CommandLine, tmp_path: Path) -> None:
    boxes = [(0.05 + 0.02 * n, 0.1 + 0.03 * n) for n in range(20)]
    data = folder(tmp_path / "set", boxes)
    done = command_line("anchors", str(data), "--imgsz", "400", "--plot", str(tmp_path / "p.png"), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["boxes"] == 20
    assert [len(level) for level in document["anchors"]] == [6, 6, 6]
    assert document["recall"] == 1
    assert document["sides"]["longer"][1] == pytest.approx(np.median([w * 400 for w, _ in boxes]), rel=0.05)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    yaml = command_line("anchors", str(data / "data.yaml"), "--imgsz", "400")
    assert yaml.returncode == 0, yaml.stderr
    assert "P5/32" in yaml.stdout


def test_a_recipe_is_looked_at_as_it_would_train(command_line: CommandLine) -> None:
    done = command_line("anchors", "pcb-baseline", "--profile", "smoke", "--json", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["dataset"], document["imgsz"]) == ("pcb-synthetic", 128)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([], "none of the 1 train images has a box"),
        ([(0.1, 0.1)], "1 box of 1 size cannot say where 9 anchors belong"),
        ([(0.1, 0.1)] * 3, "cannot say where 9 anchors belong"),
        ([(0.0, 0.0)], ""),
    ],
    ids=["empty", "one", "alike", "no-size"],
)
def test_a_set_that_holds_too_little_is_told_so(
    command_line: CommandLine, tmp_path: Path, boxes: list[tuple[float, float]], says: str
) -> None:
    done = command_line("anchors", str(folder(tmp_path / "set", boxes)), "--json")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert says in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pcb-baselin"], "did you mean pcb-baseline"),
        (["nothing-like-it"], "neither a recipe nor a data set"),
        ([""], "neither"),
        (["x" * 5000], "neither"),
        (["missing.yaml"], "no such recipe file"),
        (["pcb-synthetic", "--profile", "smoke"], "profiles belong to recipes"),
        (["pcb-synthetic", "--imgsz", "3"], "--imgsz 3"),
        (["pcb-synthetic", "--count", "0"], "--count 0"),
        (["pcb-synthetic", "--seed", "-1"], "--seed -1"),
        (["pcb-synthetic", "--plot", "sizes.jpg"], "ends in .png"),
    ],
)
def test_what_cannot_be_meant_is_refused(command_line: CommandLine, arguments: list[str], says: str) -> None:
    done = command_line("anchors", *arguments, "--json", cwd=REPOSITORY)
    assert done.returncode == 2, done.stderr
    assert says in json.loads(done.stdout)["error"]["message"]
