"""Any folder in YOLO layout: read in place, strictly, and nothing is written into it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.data.split_off import split_off
from recipebox.data.yolo_description import (
    Faults,
    class_names,
    read_description,
    refuse_closed,
    shortened,
    spelled,
    text_lines,
    wrong,
)
from recipebox.errors import DataError

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_TEST_IS_VAL = "there is no test split: val serves as test, so the test numbers are not independent of model selection"


@dataclass
class Layout:
    """What a YOLO folder says about itself, before any label is read."""

    name: str
    root: Path
    names: tuple[str, ...]
    train: list[Path]
    val: list[Path]
    test: list[Path]
    notes: list[str] = field(default_factory=list)
    yaml_file: Path | None = None


def find_layout(folder: Path, *, name: str | None = None, names: Sequence[str] | None = None, seed: int = 0) -> Layout:
    """Read data.yaml and list the images; no image is opened, and labels only where val has to be split off.

    Args:
        folder: the data set's folder, or its YAML file.
        name: how the set is called; default: the folder's name.
        names: class names, for a folder without data.yaml.
        seed: for the validation split where the folder has none.

    Raises:
        DataError: no such folder, no or a spoiled data.yaml, no training images.
    """
    layout = declared_layout(folder, name=name, names=names)
    if not layout.val:
        _split_off_val(layout, seed)
    if not layout.test:
        layout.test = list(layout.val)
        layout.notes.append(_TEST_IS_VAL)
    return layout


def declared_layout(folder: Path, *, name: str | None = None, names: Sequence[str] | None = None) -> Layout:
    """What the folder itself says: `val` and `test` are empty where it names none. Arguments and errors as above."""
    layout, splits = _described(folder, name, names, None)
    layout.train, layout.val, layout.test = ([Path(image) for image in images] for images in splits.values())
    if not layout.train:
        raise DataError(
            f"{layout.yaml_file or folder}: no training images. `train:` in data.yaml names a folder of images or a "
            "list of them, relative to data.yaml; without data.yaml they lie in images/train."
        )
    return layout


def read_layout(
    folder: Path, faults: Faults, *, name: str | None = None, names: Sequence[str] | None = None
) -> tuple[Layout, dict[str, list[str]]]:
    """`find_layout` for who wants to hear of everything that is wrong: splits may be empty, none is made up.

    Args:
        faults: what training would refuse is added here, as far as there is something to go on with.

    Returns:
        The layout without images, and the images of train, val and test as strings: a Path takes as long to make as a
        label file to read.

    Raises:
        DataError: no such folder, or no description that says anything.
    """
    return _described(folder, name, names, faults)


def _described(
    folder: Path, name: str | None, names: Sequence[str] | None, faults: Faults | None
) -> tuple[Layout, dict[str, list[str]]]:
    description, yaml_file, root = read_description(folder, names, faults)
    named_here = names is not None and yaml_file is None
    all_names = tuple(names or ()) if named_here else class_names(description, yaml_file or folder, faults)
    notes: list[str] = []
    base = description.get("path")
    if base is not None:
        # A folder may be called 2024, which YAML takes for a number.
        if isinstance(base, str | int) and os.path.isdir(root / str(base)):
            root = root / str(base)
        else:
            # Exported sets often carry the path they had on another machine.
            told = base if isinstance(base, str) else spelled(base)
            notes.append(f"`path: {told}` is no folder here: images are looked for beside the YAML file")
    splits: dict[str, list[str]] = {}
    for split, keys in {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}.items():
        entry = next((description[key] for key in keys if description.get(key)), None)
        if entry is None and yaml_file is None:
            refuse_closed(root / "images")
            entry = next((f"images/{key}" for key in keys if os.path.isdir(root / "images" / key)), None)
        try:
            splits[split] = _images(root, entry, yaml_file or folder)
        except DataError as error:
            splits[split] = []
            where, key = yaml_file or folder, next((key for key in keys if description.get(key)), split)
            wrong(faults, "split-missing", where, str(error).removeprefix(f"{where}: "), key)
    return Layout(name or root.name, root, all_names, [], [], [], notes, yaml_file), splits


def load(
    folder: Path,
    *,
    name: str | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    leave_out: bool = False,
) -> DetectionSet:
    """A folder in YOLO layout as a checked set; with `leave_out` without the images that are spoiled.

    Raises:
        DataError: layout, labels or images are not in order; up to 20 problems are listed with file and line.
    """
    from recipebox.data.check import LEAVE_OUT, checked_set, listed
    from recipebox.data.yolo_labels import LabelReader, count

    layout = find_layout(folder, name=name, names=names, seed=seed)
    reader = LabelReader(len(layout.names))
    train, val, test = (reader.split(images) for images in (layout.train, layout.val, layout.test))
    if reader.problems and leave_out:
        train, val, test = (split.without(reader.spoiled) for split in (train, val, test))
        told = "an image left out, for its labels" if len(reader.spoiled) == 1 else "images left out, for their labels"
        layout.notes.append(f"{len(reader.spoiled)} {told} ({reader.problems[0]} …)")
    elif reader.problems:
        raise DataError(
            listed(
                f"{layout.root}: {count(len(reader.problems), 'problem')} in the labels",
                reader.problems,
                "A line is `class x y width height`, the last four as fractions of the image, or `class x1 y1 x2 y2 …` "
                f"for a polygon. Class numbers go from 0 to {len(layout.names) - 1} ({', '.join(layout.names[:8])}"
                f"{', …' if len(layout.names) > 8 else ''}). {LEAVE_OUT}",
            )
        )
    if reader.without_label == len(reader.seen):
        raise DataError(
            f"{layout.root}: none of the {len(reader.seen)} images has a label file. The labels of images/a/b.jpg are "
            "expected in labels/a/b.txt."
        )
    notes = [*layout.notes, *reader.notes()]
    return checked_set(layout.name, layout.names, train, val, test, notes, leave_out=leave_out)


def _images(root: Path, entry: Any, where: Path, *, inside: bool = False) -> list[str]:
    if entry is None:
        return []
    if isinstance(entry, list) and not inside:  # a list in a list is nothing, and may hold itself
        return list(dict.fromkeys(path for part in entry for path in _images(root, part, where, inside=True)))
    if not isinstance(entry, str):
        raise DataError(f"{where}: {spelled(entry)} is not a folder, a list file or a list of those.")
    # os.path answers False where pathlib raises: a name that is too long, a null byte.
    path = root / entry
    if not os.path.exists(path) and entry.startswith("../"):
        # Exported sets often say ../train/images although data.yaml lies beside train/.
        path = root / entry.removeprefix("../")
    if os.path.isdir(path):
        return _images_below(path)
    if os.path.isfile(path) and path.suffix == ".txt":
        found = []
        for line in text_lines(path):
            beside = path.parent / line
            found.append(beside if os.path.exists(beside) else root / line)
        return [str(Path(*item.parts)) for item in dict.fromkeys(found)]
    if os.path.isfile(path) and path.suffix.lower() in IMAGE_SUFFIXES:
        return [str(path)]
    refuse_closed(path)
    raise DataError(
        f"{where}: {shortened(entry)}: no such folder or list ({shortened(str(path))}). Correct the path; it is "
        f"relative to {root}."
    )


def _images_below(folder: Path) -> list[str]:
    """Everything below that is called an image, in order. What cannot be read is among it, for `check` to refuse:
    a link to nowhere that was left out would be an image less without a word."""
    found: list[str] = []
    walked: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable_folder):
        here = os.path.realpath(place)
        if here in walked:  # a link back to where it lies
            folders.clear()
            continue
        walked.add(here)
        found += [f"{place}/{name}" for name in files if _is_image(name)]
    # By folder, then by name, as a Path would: NUL is in no path, and comes before every letter.
    return sorted(found, key=lambda path: path.replace("/", "\0"))


def _is_image(name: str) -> bool:
    # macOS writes ._a.jpg beside a.jpg where a disk cannot hold what it notes about a file: no image, and nobody's.
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith("._")


def _unreadable_folder(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}. Mend its permissions, or take it out of the data set.")


def _split_off_val(layout: Layout, seed: int) -> None:
    chosen, how = split_off(layout.train, seed)
    if len(chosen) >= len(layout.train):
        raise DataError(f"{layout.root}: too few images to split off a val set. Name one in data.yaml (`val:`).")
    layout.val = [image for image in layout.train if image in chosen]
    layout.train = [image for image in layout.train if image not in chosen]
    layout.notes.append(f"there is no val split: {len(layout.val)} training images serve as val, chosen by {how}")
