"""Every file below a folder, walked once. Nothing is opened and nothing is written."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recipebox.data.yolo_description import refuse_closed
from recipebox.data.yolo_folder import IMAGE_SUFFIXES
from recipebox.errors import DataError

MAX_FILES = 1_000_000
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"} | {
    "test": "test",
    "testing": "test",
}
_GENERIC = frozenset({"images", "image", "img", "imgs", "jpegimages", "labels", "annotations", "data"})


@dataclass
class Survey:
    """What lies below `root`; all paths are absolute and sorted, and name plain files.

    Attributes:
        unreadable: what could not be looked at, with the reason.
    """

    root: Path
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Files other than images, by suffix."""
        return [path for path in self.others if path.suffix.lower() in suffixes]

    def inside(self, path: Path) -> Path:
        """`path` relative to the folder."""
        return path.relative_to(self.root)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for image in self.images:
            index.setdefault(image.name, []).append(image)
            index.setdefault(image.stem, []).append(image)
        return index

    def image(self, named: str, near: Path, *, split: str | None = None) -> Path | None:
        """The image that an annotation file means; only what the walk saw can be meant, so no name leads elsewhere.

        Args:
            named: a file name, perhaps with folders, perhaps without its suffix.
            near: the annotation file.
            split: that of the annotation file, which decides among images of the same name.

        Returns:
            None where there is none, or several and nothing to tell them apart.
        """
        parts = [part for part in named.replace("\\", "/").split("/") if part not in {"", "."}]
        if not parts:
            return None
        found = self._by_name.get(parts[-1]) or self._by_name.get(re.sub(r"\.[A-Za-z]{3,4}$", "", parts[-1])) or []
        if len(found) > 1:
            by_path = [path for path in found if list(path.parts[-len(parts) : -1]) == parts[:-1]]
            beside = [path for path in found if path.parent == near.parent]
            by_split = [path for path in found if split is not None and split_of(self.inside(path)) == split]
            found = next((few for few in (by_path, beside, by_split) if len(few) == 1), found)
        return found[0] if len(found) == 1 else None


def survey(folder: Path) -> Survey:
    """Walk a folder, links to folders too, each real folder once. Hidden files and folders do not count.

    Raises:
        DataError: no such folder, one that may not be entered, or far too large to be a data set.
    """
    refuse_closed(folder)
    if not os.path.isdir(folder):
        is_there = os.path.lexists(folder)
        what = (
            "is no folder: unpack an archive first, and name a file's folder" if is_there else "there is no such folder"
        )
        raise DataError(f"{str(folder)[:300]}: {what}. Give the folder that holds your images and their labels.")
    result = Survey(Path(os.path.abspath(folder)))
    walked: set[str] = set()

    def refused(error: OSError) -> None:
        result.unreadable.append(f"{error.filename}: {error.strerror}")

    for place, folders, files in os.walk(result.root, followlinks=True, onerror=refused):
        here = os.path.realpath(place)
        if here in walked:
            folders.clear()
            continue
        walked.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if not name.startswith("."):
                _sort_in(Path(place, name), result)
        if len(result.images) + len(result.others) > MAX_FILES:
            raise DataError(f"{folder}: more than {MAX_FILES} files. Give the folder of the data set itself.")
    return result


def _sort_in(path: Path, result: Survey) -> None:
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    try:
        plain = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if is_image:
            result.unreadable.append(f"{path}: {error.strerror}")
        return
    if plain:
        (result.images if is_image else result.others).append(path)


def split_of(inside: Path) -> str | None:
    """The split that the folders of a relative path name: `val2017/x.jpg` is of val."""
    for part in reversed(inside.parts[:-1]):
        split = split_word(part)
        if split is not None:
            return split
    return None


def split_word(word: str) -> str | None:
    """`valid` -> val, `train2017` -> train; None for other words."""
    return _SPLITS.get(re.sub(r"[-_]?\d*$", "", word.lower()))


def telling_folders(inside: Path) -> tuple[str, ...]:
    """The folders of a relative path that say something: neither a split, nor `images` and the like."""
    return tuple(part for part in inside.parts[:-1] if part.lower() not in _GENERIC and split_word(part) is None)
