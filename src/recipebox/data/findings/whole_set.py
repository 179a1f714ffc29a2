"""The rules for a set as a whole: its description, its splits, its classes, and files that belong to nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from recipebox.data.findings.finding import Finding
from recipebox.data.findings.scan import Samples, Statistics

NOT_LABELS = frozenset({"classes.txt", "labels.txt", "obj_names.txt", "train.txt", "val.txt", "test.txt", "readme.txt"})
"""What labelling tools and people put beside label files."""
_SHOWN = 12


def splits_without_content(
    where: str, statistics: Mapping[str, Statistics], absent: Iterable[str]
) -> Iterator[Finding]:
    """Splits that are absent, empty, or have nothing to learn from or to choose by."""
    for split in absent:
        if split == "train":
            yield Finding("split-empty", where, "the train split has no images", split=split)
        else:
            made = "training splits val off" if split == "val" else "val serves as test"
            yield Finding("split-absent", where, f"there is no {split} split: {made}", split=split)
    for split, counted in statistics.items():
        if counted.images and not counted.boxes.sum() and split != "test":
            use = "learn from" if split == "train" else "choose the best epoch and the score threshold by"
            told = f"none of the {counted.images} {split} images has a box: there is nothing to {use}"
            yield Finding("split-without-boxes", where, told, split=split)


def no_labels(where: str, statistics: Mapping[str, Statistics]) -> Iterator[Finding]:
    """No image at all has a label file."""
    images = sum(counted.images for counted in statistics.values())
    if images and sum(counted.without_label for counted in statistics.values()) == images:
        told = f"none of the {images} images has a label file: those of images/a/b.jpg are expected in labels/a/b.txt"
        yield Finding("no-labels", where, told)


def classes_missing(where: str, names: Sequence[str], statistics: Mapping[str, Statistics]) -> Iterator[Finding]:
    """Classes without a box in a split that has boxes."""
    for split, counted in statistics.items():
        missing = [name for name, boxes in zip(names, counted.boxes, strict=True) if not boxes]
        if missing and counted.boxes.sum():
            rest = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            told = f"no box of {', '.join(missing[:_SHOWN])}{rest} in {split}"
            yield Finding("class-missing", where, told, split=split)


def shared_labels(samples: Sequence[Samples]) -> Iterator[Finding]:
    """Two images that differ in the suffix only have one label file."""
    for part in samples:
        hashes = _hashes(part)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]) + 1
        for before, index in zip(order[again - 1].tolist(), order[again].tolist(), strict=True):
            file, other, image = part.labels.file(index), part.images[before], part.images[index]
            if part.labels.file(before) == file and image != other:
                told = f"has the same label file as {other} ({file})"
                yield Finding("label-shared", image, told, split=part.split, image=image, other=other)


def labels_without_image(samples: Sequence[Samples]) -> Iterator[Finding]:
    """Label files in the labels' folders that no image asks for."""
    asked = np.unique(np.concatenate([np.zeros(0, np.int64), *(_hashes(part) for part in samples)]))
    folders = {part.labels.file(index).rpartition("/")[0] for part in samples for index in range(len(part.images))}
    for folder in sorted(folders):
        for names in _text_files(folder):
            hashes = np.fromiter((hash(f"{folder}/{name}") for name in names), np.int64, len(names))
            at = np.minimum(np.searchsorted(asked, hashes), len(asked) - 1)
            for index in np.flatnonzero(asked[at] != hashes).tolist():
                if names[index].lower() not in NOT_LABELS:
                    yield Finding("label-without-image", f"{folder}/{names[index]}", "no image of this name")


def _text_files(folder: str) -> Iterator[list[str]]:
    """The names of a folder's text files, some thousands at a time."""
    with suppress(OSError), os.scandir(folder) as entries:
        names = (entry.name for entry in entries if entry.name.lower().endswith(".txt"))
        while some := list(islice(names, 4096)):
            yield some


def _hashes(part: Samples) -> NDArray[np.int64]:
    """A number for each image's label file: a set of the paths would be the largest thing in memory."""
    files = (hash(part.labels.file(index)) for index in range(len(part.images)))
    return np.fromiter(files, np.int64, len(part.images))
