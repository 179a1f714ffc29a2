"""`recipebox init` as people call it: every format to a recipe that trains, and what it says where it cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from adopt_folders import coco, draw, fingerprint, voc, write

if TYPE_CHECKING:
    from conftest import CommandLine


def boards(folder: Path, count: int = 12) -> list[Path]:
    """Images of four boards, three crops each."""
    return [draw(folder / f"board{index // 3}_crop{index % 3}.png", seed=index) for index in range(count)]


def as_voc(folder: Path) -> None:
    for image in boards(folder):
        write(image.with_suffix(".xml"), voc(image.name, [("scratch", 8, 8, 40, 30), ("dent", 20, 10, 60, 40)]))


def as_coco(folder: Path) -> None:
    images = [{"id": i, "file_name": path.name, "width": 64, "height": 48} for i, path in enumerate(boards(folder))]
    boxes = [{"id": i, "image_id": i, "category_id": 3 + 4 * (i % 2), "bbox": [8, 8, 32, 22]} for i in range(12)]
    write(folder / "annotations.json", coco(images, boxes))


def as_yolo(folder: Path) -> None:
    for image in boards(folder):
        write(image.with_suffix(".txt"), "0 0.5 0.5 0.5 0.5\n1 0.3 0.3 0.2 0.4\n")
    write(folder / "classes.txt", "scratch\ndent\n")


FORMS = [pytest.param(form, id=form.__name__) for form in (as_yolo, as_coco, as_voc)]


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_becomes_a_recipe(command_line: CommandLine, tmp_path: Path, form: Any) -> None:
    folder = tmp_path / "my boards"
    form(folder)
    before = fingerprint(folder)
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = command_line("init", str(folder), "--name", "line-3", "--json", **cache)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["classes"]) == {"scratch", "dent"}
    assert document["grouping"]["by"] == "names"
    assert sum(document["splits"][side]["images"] for side in ("train", "val", "test")) == 12
    assert Path(document["recipe"]) == tmp_path / "recipes" / "line-3.yaml"
    again = command_line("init", str(folder), "--name", "line-3", **cache)
    assert again.returncode == 2
    assert "overwrites nothing" in again.stderr
    planned = command_line("plan", "line-3", "--profile", "cpu", **cache)
    assert planned.returncode == 0, planned.stderr
    assert fingerprint(folder) == before


@pytest.mark.parametrize(
    "form", [FORMS[0], *(pytest.param(*form.values, id=form.id, marks=pytest.mark.slow) for form in FORMS[1:])]
)
def test_the_first_hour(command_line: CommandLine, tmp_path: Path, form: Any) -> None:
    """init, check-data, train and predict, as docs/first-hour.md has them, with the smoke profile."""
    folder = tmp_path / "my boards"
    form(folder)
    before = fingerprint(folder)
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = command_line("init", str(folder), "--name", "line-3", "--json", **cache)
    assert done.returncode == 0, done.stderr
    checked = command_line(*json.loads(done.stdout)["next"][1:], "--html", str(tmp_path / "page.html"), **cache)
    assert checked.returncode == 0, checked.stdout
    smoke = ("--set", "train.imgsz=64", "--set", "train.batch=4", "--set", "bench.images=1", "--no-fetch")
    trained = command_line("train", "line-3", "--profile", "smoke", *smoke, "--json", **cache)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["state"] == "finished"
    found = command_line("predict", "line-3", str(folder), "--out", "found", "--json", **cache)
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert (document["images"], document["skipped"]) == (12, [])
    assert set(document["names"]) == {"scratch", "dent"}
    assert len(list((tmp_path / "found" / "labels").rglob("*.txt"))) == 12
    assert fingerprint(folder) == before


def test_the_last_line_is_the_next_command(called: Any, tmp_path: Path) -> None:
    as_yolo(tmp_path / "boards")
    done = called("init", "boards", "--name", "line-3")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert "recipebox check-data line-3" in last
    assert "make train RECIPE=line-3" in done.stdout
    assert "by the beginnings of file names: 4 groups, board0 (3)" in done.stdout


def test_a_set_in_order_is_read_where_it_is(called: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for index, split in enumerate(["train"] * 6 + ["val"] * 2):
        draw(folder / "images" / split / f"{index}.png", seed=index)
        write(folder / "labels" / split / f"{index}.txt", "0 0.5 0.5 0.5 0.5\n")
    write(folder / "data.yaml", "names: {0: scratch}\ntrain: images/train\nval: images/val\n")
    document = json.loads(called("init", "mine", "--name", "line-3", "--json").stdout)
    assert (document["dataset"], document["written"], document["splits"]["kept"]) == (str(folder), False, True)
    assert not (tmp_path / "cache" / "recipebox" / "data").exists()
    assert called("plan", "line-3").returncode == 0
    anew = json.loads(called("init", "mine", "--name", "b", "--split", "50,25,25", "--json").stdout)
    assert anew["written"]
    assert anew["splits"]["test"]["images"] >= 1


def nothing(folder: Path) -> None:
    folder.mkdir()


def only_images(folder: Path) -> None:
    boards(folder)
    write(folder / "notes.txt", "taken on Monday\n")


def one_image(folder: Path) -> None:
    draw(folder / "a.png")
    write(folder / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    write(folder / "classes.txt", "scratch\n")


def class_folders(folder: Path) -> None:
    boards(folder / "good", 3)
    boards(folder / "bad", 3)


def garbage(folder: Path) -> None:
    for image in boards(folder, 3):
        image.with_suffix(".txt").write_bytes(os.urandom(3000))
        image.with_suffix(".xml").write_bytes(os.urandom(3000))
        image.with_suffix(".json").write_bytes(os.urandom(3000))


def huge_label(folder: Path) -> None:
    for image in boards(folder, 2):
        image.with_suffix(".txt").write_bytes(b"x" * 10_000_000)


def circle(folder: Path) -> None:
    folder.mkdir()
    (folder / "again").symlink_to(folder)
    (folder / "gone.png").symlink_to("nowhere.png")


def phone(folder: Path) -> None:
    for index in range(4):
        write(folder / f"IMG_{index}.HEIC", "")
    write(folder / "IMG_0.txt", "0 0.5 0.5 0.5 0.5\n")
    write(folder / "IMG_1.txt", "0 0.5 0.5 0.5 0.5\n")


def labelme(folder: Path) -> None:
    for image in boards(folder, 3):
        write(image.with_suffix(".json"), json.dumps({"shapes": [], "imagePath": image.name}))


def bomb(folder: Path) -> None:
    for image in boards(folder, 3):
        lol = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>'
        write(image.with_suffix(".xml"), f"{lol}<annotation>&b;</annotation>")


def deep_json(folder: Path) -> None:
    boards(folder, 3)
    write(folder / "deep.json", "[" * 200_000)


def bad_names(folder: Path) -> None:
    one_image(folder)
    write(folder / "data.yaml", "names: [scratch, scratch]\ntrain: .\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, "no images below it"),
        (only_images, "no labels that can be read"),
        (one_image, "only 1 image with a box"),
        (class_folders, "image classification"),
        (garbage, "not well-formed XML"),
        (huge_label, "none with a line"),
        (circle, "no images below it"),
        (phone, "no images below it (6 other files: 4 .heic, 2 .txt)"),
        (labelme, "LabelMe"),
        (bomb, "document type"),
        (deep_json, "not valid JSON"),
        (bad_names, "class names must be there and differ"),
        (lambda folder: None, "there is no such folder"),
        (lambda folder: write(folder, "a file"), "is no folder"),
    ],
)
def test_what_cannot_be_understood_is_told(called: Any, tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "theirs")
    done = called("init", "theirs", "--name", "line-3", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 2, done.stderr
    assert words in error["message"]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "recipes").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "a/b"], "cannot name a recipe"),
        (["--name", "pcb-baseline"], "there is a recipe of that name"),
        (["--name", "deeppcb"], "that recipebox knows"),
        (["--split", "70"], "not shares"),
        (["--split", "nan,1,1"], "not shares"),
        (["--group-by", "("], "no regular expression"),
        (["--group-by", "zebra"], "matches no image"),
        (["--format", "kitti"], "one of yolo, coco, voc"),
        (["--format", "voc"], "Looked for:\n  Pascal VOC"),
        (["--background", "good"], "belongs to --whole-image-boxes"),
        (["--whole-image-boxes"], "two or more folders"),
        (["--to", "boards/new"], "lies in the folder that is to be read"),
        (["--to", "boards"], "is there already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_that_cannot_be_used(called: Any, tmp_path: Path, options: list[str], words: str) -> None:
    as_yolo(tmp_path / "boards")
    before = fingerprint(tmp_path / "boards")
    done = called("init", "boards", *options)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert fingerprint(tmp_path / "boards") == before
    assert not (tmp_path / "recipes").exists()


def test_a_place_that_cannot_be_written_leaves_nothing(command_line: CommandLine, tmp_path: Path) -> None:
    as_yolo(tmp_path / "boards")
    write(tmp_path / "recipes", "a file stands where the folder belongs")
    done = command_line("init", "boards", "--name", "line-3", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "a file stands" in done.stderr
    assert list((tmp_path / "cache" / "recipebox" / "data").iterdir()) == []
    (tmp_path / "recipes").unlink()
    write(tmp_path / "cache2", "")
    done = command_line("init", "boards", "--name", "line-3", XDG_CACHE_HOME=str(tmp_path / "cache2"))
    assert done.returncode == 1
    assert "a file stands" in done.stderr
    assert not (tmp_path / "recipes").exists()


def test_names_of_bytes_and_line_breaks(command_line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    draw(folder / "board1_\n crop.png")
    draw(folder / "bo\x1b[31mard2 ä.png")
    os.rename(draw(folder / "c.png"), os.fsencode(folder) + b"/caf\xe9.png")
    for image in list(folder.iterdir()):
        write(image.with_suffix(".txt"), "0 0.5 0.5 0.5 0.5\n")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = command_line("init", "b", "--name", "line-3", **cache)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + (tmp_path / "recipes" / "line-3.yaml").read_text(encoding="utf-8")
    prepared = command_line("data", "prepare", "line-3", "--json", **cache)
    assert prepared.returncode == 0, prepared.stderr
