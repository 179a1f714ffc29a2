"""Real pictures: COCO8 as COCO JSON and as VOC XML, through init and back to the same labels."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adopt_folders import fingerprint, voc
from PIL import Image

from recipebox.data.coco8 import NAMES


@pytest.fixture
def coco8(tmp_path: Path) -> Path:
    given = os.environ.get("RECIPEBOX_DATA")
    if not given or not (Path(given) / "coco8.tar").is_file():
        pytest.skip("RECIPEBOX_DATA has no coco8.tar")
    with tarfile.open(Path(given) / "coco8.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "coco8"


def boxes_of(label: Path) -> np.ndarray[Any, Any]:
    lines = label.read_text(encoding="utf-8").split("\n") if label.is_file() else []
    return np.array([line.split() for line in lines if line], dtype=float).reshape(-1, 5)


def corners(box: np.ndarray[Any, Any], size: tuple[int, int]) -> tuple[float, ...]:
    x, y, w, h = box[1:] * [*size, *size]
    return float(x - w / 2), float(y - h / 2), float(x + w / 2), float(y + h / 2)


def as_coco(coco8: Path, folder: Path) -> None:
    """One JSON a split; ids with gaps, as COCO's own."""
    for split in ("train", "val"):
        images, annotations = [], []
        for path in sorted((coco8 / "images" / split).glob("*.jpg")):
            size = Image.open(path).size
            images.append({"id": int(path.stem), "file_name": path.name, "width": size[0], "height": size[1]})
            for box in boxes_of(coco8 / "labels" / split / f"{path.stem}.txt"):
                x1, y1, x2, y2 = corners(box, size)
                entry = {"id": len(annotations), "image_id": int(path.stem), "category_id": 2 * int(box[0]) + 5}
                annotations.append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
            (folder / split).mkdir(parents=True, exist_ok=True)
            os.link(path, folder / split / path.name)
        categories = [{"id": 2 * number + 5, "name": name} for number, name in enumerate(NAMES)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")


def as_voc(coco8: Path, folder: Path) -> None:
    for split in ("train", "val"):
        for path in sorted((coco8 / "images" / split).glob("*.jpg")):
            size = Image.open(path).size
            objects = [
                (NAMES[int(box[0])], *corners(box, size))
                for box in boxes_of(coco8 / "labels" / split / f"{path.stem}.txt")
            ]
            for part in ("JPEGImages", "Annotations"):
                (folder / split / part).mkdir(parents=True, exist_ok=True)
            os.link(path, folder / split / "JPEGImages" / path.name)
            text = voc(path.name, objects, f"{size[0]},{size[1]}")  # type: ignore[arg-type]
            (folder / split / "Annotations" / f"{path.stem}.xml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("form", [as_coco, as_voc], ids=lambda form: form.__name__)
def test_the_same_labels_come_back(coco8: Path, tmp_path: Path, called: Any, form: Any) -> None:
    source = tmp_path / "exported set"
    form(coco8, source)
    before = fingerprint(source)
    done = called("init", str(source), "--name", "line-3", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["splits"]["kept"]
    assert not document["left_out"]
    names = list(document["classes"])
    for split in ("train", "val"):
        for original in sorted((coco8 / "labels" / split).glob("*.txt")):
            came = boxes_of(Path(document["folder"]) / "labels" / split / original.name)
            wanted = boxes_of(original)
            assert [names[int(number)] for number in came[:, 0]] == [NAMES[int(number)] for number in wanted[:, 0]]
            np.testing.assert_allclose(came[:, 1:], wanted[:, 1:], atol=1e-6)
    checked = called(*document["next"][1:], "--json")
    assert checked.returncode == 0, checked.stdout
    assert fingerprint(source) == before
