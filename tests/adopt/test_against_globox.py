"""The readers of COCO and VOC against globox, a conversion library: it writes, init reads, it reads what init wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import globox
import numpy as np
import pytest
from adopt_folders import draw

SIZE = (64, 48)
CLASSES = ("open", "short", "pin-hole")
IMAGES = 12


def boards(seed: int) -> globox.AnnotationSet:
    """Boxes of whole pixels, in corners too; from none to five an image."""
    random = np.random.default_rng(seed)
    annotations = globox.AnnotationSet()
    for index in range(IMAGES):
        boxes = []
        for _ in range(0 if index == 3 else int(random.integers(1, 6))):
            x1, y1 = (int(random.integers(0, side - 4)) for side in SIZE)
            x2, y2 = (int(random.integers(low + 3, side + 1)) for low, side in zip((x1, y1), SIZE, strict=True))
            boxes.append(globox.BoundingBox(label=str(random.choice(CLASSES)), xmin=x1, ymin=y1, xmax=x2, ymax=y2))
        if index == 0:  # VOC is told by its smallest corner whether pixels are counted from 0 or from 1
            boxes.append(globox.BoundingBox(label="open", xmin=0, ymin=0, xmax=SIZE[0], ymax=SIZE[1]))
        annotations.add(globox.Annotation(f"board{index:02}.png", image_size=SIZE, boxes=boxes))
    return annotations


def write_coco(annotations: globox.AnnotationSet, source: Path) -> None:
    annotations.save_coco(source / "annotations.json", auto_ids=True)


def write_voc(annotations: globox.AnnotationSet, source: Path) -> None:
    annotations.save_pascal_voc(source / "Annotations")


def found(annotation: globox.Annotation, names: tuple[str, ...] | None = None) -> list[tuple[Any, ...]]:
    """Class and corners in pixels, in order; `names` turns the numbers of YOLO's classes into names."""
    return sorted(
        (box.label if names is None else names[int(box.label)], *(round(edge, 3) for edge in box.ltrb))
        for box in annotation.boxes
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", [write_coco, write_voc], ids=["coco", "voc"])
def test_what_globox_wrote_and_init_read_is_read_again_by_globox(source: Path, init: Any, form: Any, seed: int) -> None:
    original = boards(seed)
    for annotation in original:
        draw(source / "images" / annotation.image_id, SIZE, seed=int(annotation.image_id[5:7]))
    form(original, source)
    adopted = init()

    seen = set()
    for split in sorted((adopted.folder / "images").iterdir()):
        converted = globox.AnnotationSet.from_yolo_v5(
            adopted.folder / "labels" / split.name, image_folder=split, image_extension=".png"
        )
        for annotation in converted:
            name = Path(annotation.image_id).name
            seen.add(name)
            assert found(annotation, adopted.found.names) == found(original[name])
    assert seen == {annotation.image_id for annotation in original}
