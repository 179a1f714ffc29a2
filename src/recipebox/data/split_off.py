"""A val split for a folder that names none: images that were taken beside each other go to the same side."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from recipebox.data.yolo_labels import classes_in, label_file

VAL_SHARE = 0.2
"""Share of the images that becomes val where the folder has none."""
LARGEST_SHARE = 0.75
"""A group with more of the images leaves too little to choose from."""
_LEAST_GROUPS = 5
_RUN = 10
"""Consecutive files that stay together where nothing else is known, at most."""


def split_off(images: Sequence[Path], seed: int) -> tuple[set[Path], str]:
    """The images that serve as val, at most `VAL_SHARE` of them or one, and how they were chosen, in words.

    The label files are read: names that are classes are no groups, and train keeps images of every class if it can.
    """
    shown = {image: classes_in(label_file(str(image))) for image in images}
    by_name: dict[str, list[Path]] = {}
    for image in images:
        by_name.setdefault(group_of(image), []).append(image)
    if _tell_apart(by_name, shown):
        chosen = _chosen(by_name, shown, seed)
        if 2 * len(chosen) >= _wanted(shown):
            return chosen, f"file name groups with seed {seed}"
    # One long series: neighbours look alike, so it is cut into runs of consecutive files, not single ones.
    size = max(1, min(_RUN, len(images) // 10))
    runs = {str(start): images[start : start + size] for start in range(0, len(images), size)}
    chosen = _chosen(runs, shown, seed)
    if 2 * len(chosen) < _wanted(shown):  # so many classes have a few images only
        chosen = _chosen(runs, dict.fromkeys(shown, ()), seed)
    return chosen, f"runs of {size} consecutive files with seed {seed}"


def group_of(image: Path) -> str:
    """What an image shares with those that were taken beside it: its stem without what merely counts.

    `cam2_000317.jpg` -> `cam2`; `board7_jpg.rf.0a1b2c.jpg` -> `board7_jpg` (augmented copies stay together).
    """
    stem = image.stem.partition(".rf.")[0]
    return re.sub(r"[-_ .]*\d+$", "", stem) or stem[:-3] or stem


def are_classes(keys: Iterable[str], classes: Iterable[Collection[int]]) -> bool:
    """Whether groups are classes by another name: then most classes live in one group, and a split would lose them.

    Args:
        keys: the group of each image.
        classes: what is on it.
    """
    homes: dict[int, set[str]] = {}
    images: Counter[int] = Counter()
    for key, shown in zip(keys, classes, strict=True):
        for number in set(shown):
            homes.setdefault(number, set()).add(key)
            images[number] += 1
    usual = [number for number in homes if images[number] >= 3]
    return len(usual) > 1 and sum(len(homes[number]) == 1 for number in usual) * 2 > len(usual)


def _tell_apart(groups: Mapping[str, Sequence[Path]], shown: Mapping[Path, Collection[int]]) -> bool:
    if len(groups) < _LEAST_GROUPS or max(map(len, groups.values())) > LARGEST_SHARE * len(shown):
        return False
    members = [(group, shown[image]) for group, images in groups.items() for image in images]
    return not are_classes([group for group, _ in members], [classes for _, classes in members])


def _wanted(images: Collection[Path]) -> int:
    return max(1, round(len(images) * VAL_SHARE))


def _chosen(groups: Mapping[str, Sequence[Path]], shown: Mapping[Path, Collection[int]], seed: int) -> set[Path]:
    """Whole groups in the order of the dice, as far as they fit; none that takes a class's last images from train."""
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    left = Counter(number for classes in shown.values() for number in classes)
    chosen: set[Path] = set()
    for group in order:
        taken = Counter(number for image in groups[group] for number in shown[image])
        fits = len(chosen) + len(groups[group]) <= _wanted(shown)
        if fits and all(left[number] > images for number, images in taken.items()):
            chosen.update(groups[group])
            left -= taken
    return chosen
