"""Spoiled folders: an answer or a message, never a traceback, and never a change in what was given."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from adopt_folders import coco, draw, fingerprint, voc, write

from recipebox.adopt.run import Wishes, adopt_folder
from recipebox.errors import RecipeboxError


def lay(folder: Path, form: str) -> None:
    """Eight images of four boards, labelled in one form."""
    for index in range(8):
        draw(folder / f"board{index // 2}_{index % 2}.png", seed=index)
    images = sorted(folder.glob("*.png"))
    if form == "coco":
        entries = [{"id": i, "file_name": image.name, "width": 64, "height": 48} for i, image in enumerate(images)]
        boxes: list[dict[str, Any]] = [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [8, 8, 20, 20], "segmentation": [[1, 1, 9, 9, 1, 9]]}
            for i in range(8)
        ]
        write(folder / "a.json", coco(entries, boxes))
    elif form == "voc":
        for image in images:
            write(image.with_suffix(".xml"), voc(image.name, [("scratch", 8, 8, 28, 28)]))
    else:
        for image in images:
            write(image.with_suffix(".txt"), "0 0.5 0.5 0.25 0.25\n")
        write(folder / ("classes.txt" if form == "yolo" else "data.yaml"), "scratch\n" if form == "yolo" else YAML)


YAML = "names: [scratch]\ntrain: .\nval: .\n"


def spoil(folder: Path, dice: random.Random) -> None:
    """One to three files are cut, filled with garbage or words of the format, emptied, replaced or removed."""
    for path in dice.sample(sorted(folder.iterdir()), dice.randint(1, 3)):
        content = path.read_bytes()
        at = dice.randrange(len(content) + 1)
        words = (b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"<!DOCTYPE a>", b"\xff\xfe\x00", b"9" * 400)
        way = dice.randrange(7)
        path.unlink()
        if way == 0:
            path.write_bytes(content[:at])
        elif way == 1:
            path.write_bytes(content[:at] + dice.choice(words) + content[at + dice.randint(0, 9) :])
        elif way == 2:
            path.write_bytes(dice.randbytes(200))
        elif way == 3:
            path.mkdir()
        elif way == 4:
            os.mkfifo(path)
        elif way == 5:
            path.symlink_to(dice.choice(["nowhere", path.name, "."]))


@pytest.mark.parametrize("form", ["yolo", "in place", "coco", "voc"])
def test_spoiled_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "good", form)
    outcomes = set()
    for seed in range(60):
        folder = tmp_path / f"set{seed}"
        shutil.copytree(tmp_path / "good", folder)
        spoil(folder, random.Random(f"{form} {seed}"))
        before = fingerprint(folder)
        try:
            outcomes.add(type(adopt_folder(str(folder), Wishes())))
        except RecipeboxError as error:
            outcomes.add(type(error))
            assert not (tmp_path / "recipes" / f"set{seed}.yaml").exists()
        assert fingerprint(folder) == before
        assert not list((tmp_path / "cache").rglob("*.part"))
    assert len(outcomes) > 1 or form != "yolo", "nothing was spoiled enough"


@pytest.mark.parametrize(
    "document",
    [
        '{"images": [null, 1, "x", [], {}], "annotations": [null, 1, []], "categories": [null, 1, []]}',
        '{"images": [{"id": 0, "file_name": "board0_0.png"}], "annotations": [{"image_id": 0}], "categories": []}',
        '{"images": [{"id": 0, "file_name": "board0_0.png", "width": true, "height": 1e400}], "annotations": '
        '[{"image_id": 0, "category_id": 0, "bbox": [true, null, "a", {}]}], "categories": [{"id": 0, "name": {}}]}',
        '{"images": [{"id": 0, "file_name": "/"}, {"id": 1, "file_name": ""}, {"id": 2, "file_name": "\\u0000"}], '
        '"annotations": [], "categories": []}',
        "[[[[]]]]",
        "3",
        '{"shapes": 1, "imagePath": 2}',
    ],
)
def test_json_of_the_wrong_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "good", "coco")
    write(tmp_path / "good" / "a.json", document)
    with pytest.raises(RecipeboxError):
        adopt_folder("good", Wishes())
    assert not (tmp_path / "recipes").exists()
