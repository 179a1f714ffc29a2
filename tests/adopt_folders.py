"""Small folders as people have them, for the tests of init."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipebox.adopt.run import Adopted


def draw(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    """A small image of noise; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def voc(filename: str, objects: list[tuple[str, float, float, float, float]], size: str | None = "64,48") -> str:
    """A VOC file; `size` None leaves it out."""
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>\n"
        for name, a, b, c, d in objects
    )
    width, _, height = (size or "").partition(",")
    shown = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><filename>{filename}</filename>{shown}\n{boxes}</annotation>"


def coco(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]] | None = None
) -> str:
    return json.dumps(
        {
            "images": images,
            "annotations": annotations,
            "categories": categories or [{"id": 3, "name": "scratch"}, {"id": 7, "name": "dent"}],
        }
    )


def fingerprint(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Everything below a folder: size, time and content."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            status = os.lstat(path)
            content = b""
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            key = os.path.relpath(path, os.fsencode(folder)).decode("utf-8", "surrogateescape")
            found[key] = (status.st_size, status.st_mtime_ns, hashlib.sha256(content).hexdigest())
    return found


def labels(adopted: Adopted) -> dict[str, list[tuple[float, ...]]]:
    """Label lines of the written set by image name."""
    found = {}
    for image in sorted((adopted.folder / "images").rglob("*")):
        if image.is_file():
            parts = ["labels" if part == "images" else part for part in image.relative_to(adopted.folder).parts]
            label = adopted.folder.joinpath(*parts).with_suffix(".txt")
            lines = label.read_text(encoding="utf-8").splitlines() if label.is_file() else []
            found[image.name] = [tuple(float(field) for field in line.split()) for line in lines]
    return found
