"""Folders named after what their images show: image classification, which can be given boxes as large as the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recipebox.adopt.found import Found, Item
from recipebox.adopt.survey import Survey, split_of, telling_folders
from recipebox.errors import DataError


def class_folders(survey: Survey) -> dict[str, int]:
    """Images by the folder they lie in; empty where that tells no classes apart."""
    folders = Counter(parts[-1] if (parts := telling_folders(survey.inside(image))) else "" for image in survey.images)
    return dict(folders) if len(folders) > 1 and "" not in folders else {}


def read_class_folders(survey: Survey, folders: dict[str, int], background: Sequence[str]) -> Found:
    """One box as large as the image for each, except in folders of background.

    Raises:
        DataError: a background that is no folder, or nothing but background.
    """
    unknown = sorted(set(background) - set(folders))
    if unknown:
        raise DataError(f"--background {unknown[0]}: no such class folder. There are {', '.join(sorted(folders))}.")
    names = tuple(sorted(set(folders) - set(background)))
    if not names:
        raise DataError("--background names every class folder: nothing would be left to find.")
    items = []
    for image in survey.images:
        inside = survey.inside(image)
        folder = telling_folders(inside)[-1]
        boxes = [] if folder in background else [(names.index(folder), 0.5, 0.5, 1.0, 1.0)]
        items.append(Item(image, boxes, split_of(inside)))
    notes = ["each box is as large as its image: such a detector learns what is shown, never where"]
    return Found(f"class folders ({', '.join(sorted(folders))})", names, items, notes)


def classification_refused(survey: Survey, folders: dict[str, int]) -> str:
    """Why class folders are not enough, and the ways on."""
    counts = ", ".join(f"{name} ({number})" for name, number in sorted(folders.items())[:12])
    return (
        f"{survey.root}: {len(survey.images)} images in class folders and no boxes: {counts}. That is image "
        "classification, and recipebox trains detectors only. Two ways on:\n"
        "  - draw boxes: CVAT, Label Studio or labelImg; export COCO, Pascal VOC or YOLO and run init on that\n"
        "  - --whole-image-boxes gives each image one box as large as itself, which is honest where the object fills\n"
        "    the image; --background FOLDER names a folder whose images have nothing to find (good parts)"
    )
