"""YOLO txt in its many layouts: with data.yaml or without, labels in a folder of their own or beside the images."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from recipebox.adopt.found import Box, Found, Item
from recipebox.adopt.survey import Survey, split_of, split_word
from recipebox.data.yolo_description import DESCRIPTIONS, declared_names
from recipebox.data.yolo_folder import IMAGE_SUFFIXES, declared_layout
from recipebox.data.yolo_labels import MAX_BOXES, count, label_path
from recipebox.errors import DataError
from recipebox.progress import track

_MAX_LABEL_BYTES = 2_000_000
"""More is no label file of one image; a list of images can be longer, but names a split only."""
_MAX_LIST_BYTES = 200_000_000
_TRIED = 50
"""Label files that are opened to see whether the format is YOLO's."""
_NAMES_FILES = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels", "labels.txt")
_MAX_GUESSED_CLASSES = 1000


def read_yolo_in_place(survey: Survey) -> Found | None:
    """The folder as training reads it by itself: names, train and val declared, labels where they belong.

    Returns:
        None where something of that is missing.

    Raises:
        DataError: there are class names, but they cannot be used.
    """
    folder = _described_folder(survey)
    try:
        layout = declared_layout(folder)
    except DataError:
        return None
    if not layout.val or not any(label_path(image).is_file() for image in layout.train):
        return None
    items = []
    for split, images in (("train", layout.train), ("val", layout.val), ("test", layout.test)):
        for image in track(images, "reading labels"):
            label = label_path(image)
            items.append(Item(image, read_boxes(label), split, label))
    found = Found("YOLO txt, in order", layout.names, items, list(layout.notes), in_place=folder)
    listed = {os.path.realpath(item.image) for item in items}
    others = [image for image in survey.images if os.path.realpath(image) not in listed]
    if others:
        lie = "lies" if len(others) == 1 else "lie"
        found.notes.append(
            f"{count(len(others), 'image')}, such as {survey.inside(others[0])}, {lie} in no split of data.yaml: not "
            "used"
        )
    found.notes += _about_labels(items)
    return found


def _described_folder(survey: Survey) -> Path:
    """The folder with data.yaml: an unpacked export often has a folder more around it."""
    below = [path for path in survey.others if path.name in DESCRIPTIONS]
    at_top = any(path.parent == survey.root and path.suffix in {".yaml", ".yml"} for path in survey.others)
    return below[0].parent if len(below) == 1 and not at_top else survey.root


def read_yolo_loose(survey: Survey) -> tuple[Found | None, str]:
    """Images and label files that belong together by their names, wherever they lie.

    Returns:
        (what was found or None, what was seen).

    Raises:
        DataError: a file of class names is there, but cannot be used.
    """
    names_file = _names_file(survey)
    stems = {image.stem for image in survey.images}  # train_0.txt beside train_0.jpg is no list of images
    lists = {p for p in survey.with_suffix(".txt") if split_word(p.stem) is not None and p.stem not in stems}
    labels: dict[str, list[Path]] = {}
    for path in survey.with_suffix(".txt"):
        if path not in lists and path != names_file:
            labels.setdefault(path.stem, []).append(path)
    of_image = {image: _label_of(image, labels, survey) for image in survey.images}
    paired = [label for label in of_image.values() if label is not None]
    if not paired:
        return None, f"{count(sum(map(len, labels.values())), '.txt file')}, none named like an image"
    if not any(read_boxes(label) for label in paired[:: max(1, len(paired) // _TRIED)]):
        told = f"{count(len(paired), '.txt file')} named like images, none with a line `class x y width height`"
        return None, f"{told}{_beginning(paired, survey)}"
    declared = _declared_splits(survey, lists)
    items = []
    for image, label in track(of_image.items(), "reading labels"):
        boxes = read_boxes(label) if label is not None else []
        split = split_of(survey.inside(image)) or declared.get(image)
        items.append(Item(image, boxes, split, label))
    names, notes = _names(survey, names_file, items)
    return Found("YOLO txt", names, items, [*notes, *_about_labels(items)]), ""


def _beginning(labels: list[Path], survey: Survey) -> str:
    """What the first label file says instead."""
    for label in labels[:_TRIED]:
        try:
            with label.open("rb") as file:
                line = file.read(200).decode("utf-8", errors="replace").strip().partition("\n")[0].strip()
        except OSError:
            continue
        if line:
            scored = ": a sixth is a score, so these are predictions" if len(line.split()) == 6 else ""
            return f"; {survey.inside(label)} begins with {line[:60]!r}{scored}"
    return "; they are empty"


def read_boxes(label: Path) -> list[Box]:
    """The lines of a label file that are boxes or polygons; what is wrong with the others is check-data's to say."""
    boxes: list[Box] = []
    try:
        if not label.is_file():  # reading a pipe would wait for ever
            return []
        with label.open("rb") as file:
            lines = file.read(_MAX_LABEL_BYTES).decode("utf-8-sig", errors="replace").splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            values = [float(field) for field in line.split()]
        except ValueError:
            continue
        if len(values) < 5 or not all(map(math.isfinite, values)) or values[0] != int(values[0]) or values[0] < 0:
            continue
        if len(values) >= 7 and len(values) % 2:
            xs, ys = values[1::2], values[2::2]
            values[1:] = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
        if len(values) == 5 and 0 < values[3] <= 1 and 0 < values[4] <= 1 and len(boxes) < MAX_BOXES:
            boxes.append((int(values[0]), values[1], values[2], values[3], values[4]))
    return boxes


def _label_of(image: Path, labels: dict[str, list[Path]], survey: Survey) -> Path | None:
    """Where training would look, else the one label file of that name, of the same split where there are several."""
    candidates = labels.get(image.stem, [])
    if label_path(image) in candidates:
        return label_path(image)
    if len(candidates) > 1:
        split = split_of(survey.inside(image))
        candidates = [path for path in candidates if split_of(survey.inside(path)) == split]
    return candidates[0] if len(candidates) == 1 else None


def _declared_splits(survey: Survey, lists: set[Path]) -> dict[Path, str]:
    """What train.txt, val.txt and test.txt say, where they list images."""
    declared: dict[Path, str] = {}
    for path in sorted(lists):
        split = split_word(path.stem)
        try:
            with path.open("rb") as file:
                lines = file.read(_MAX_LIST_BYTES).decode("utf-8-sig", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if Path(line.strip()).suffix.lower() in IMAGE_SUFFIXES:
                image = survey.image(line.strip(), path)
                if image is not None and split is not None:
                    declared[image] = split
    return declared


def _names_file(survey: Survey) -> Path | None:
    """The nearest file that lists class names, one a line."""
    files = [path for path in survey.others if path.name in _NAMES_FILES or path.suffix == ".names"]
    return min(files, key=lambda path: (len(path.parts), path.name), default=None)


def _names(survey: Survey, names_file: Path | None, items: list[Item]) -> tuple[tuple[str, ...], list[str]]:
    numbers = Counter(box[0] for item in items for box in item.boxes)
    described = [path for path in survey.others if path.parent == survey.root and path.suffix in {".yaml", ".yml"}]
    below = [] if described else [path for path in survey.others if path.name in DESCRIPTIONS]
    if described or below:
        try:
            names = _agreed(below, survey) if below else declared_names(survey.root)
            which = f"{count(len(below), 'YAML file')}" if len(below) > 1 else "the YAML file"
            return names, [f"class names from {which}; its folders are not here, or have no val"]
        except DataError:  # a YAML file may be about anything, unless it is called so
            if names_file is None or below or any(path.stem in {"data", "dataset"} for path in described):
                raise
    if names_file is not None:
        try:
            text = names_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{names_file}: cannot be read ({error}). It should list the class names as UTF-8."
            ) from None
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        if names and len(set(names)) == len(names):
            return names, [f"class names from {survey.inside(names_file)}"]
        raise DataError(f"{names_file}: should list the class names, one a line, each once.")
    highest = max(numbers)
    if highest >= _MAX_GUESSED_CLASSES:
        raise DataError(
            f"{survey.root}: no class names, and class numbers up to {highest}. Put classes.txt there, one name a line."
        )
    words = "no class names are there (data.yaml, classes.txt): they are called class0, class1 and so on in data.yaml"
    return tuple(f"class{number}" for number in range(highest + 1)), [words]


def _agreed(files: list[Path], survey: Survey) -> tuple[str, ...]:
    """The class names that all the descriptions share. Raises DataError where they differ."""
    names = {file: declared_names(file) for file in files}
    first = files[0]
    other = next((file for file in files if names[file] != names[first]), None)
    if other is not None:
        raise DataError(
            f"{survey.root}: {survey.inside(first)} and {survey.inside(other)} name other classes. Give "
            "the folder of one."
        )
    return names[first]


def _about_labels(items: list[Item]) -> list[str]:
    without = sum(item.label is None or not item.label.is_file() for item in items)
    return [f"{count(without, 'image')} without a label file: taken as free of objects"] if without else []
