"""Groups of images to train, val and test: whole groups, near the shares, every class on every side if it can be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recipebox.adopt.found import Item
from recipebox.errors import BadInput, DataError

SHARES = (70.0, 15.0, 15.0)
SPLITS = ("train", "val", "test")


def parse_shares(text: str | None) -> tuple[float, ...]:
    """`70,15,15` or `80,20` (no test) as three shares that add up to 1.

    Raises:
        BadInput: anything else.
    """
    if text is None:
        return tuple(share / 100 for share in SHARES)
    try:
        given = [float(part) for part in text.split(",")]
    except ValueError:
        given = []
    given += [0.0] if len(given) == 2 else []
    if len(given) != 3 or min(given) < 0 or min(given[:2]) <= 0 or not 0 < sum(given) < 1e6:
        raise BadInput(
            f"--split {text}: not shares of train, val and test, such as 70,15,15, or 80,20 without a test split."
        )
    return tuple(share / sum(given) for share in given)


@dataclass(frozen=True)
class Splits:
    """The split of each item, whether the folder said so itself, and what is worth a note."""

    of: list[str]
    kept: bool
    notes: list[str]


def settle(items: Sequence[Item], keys: Sequence[str], shares: Sequence[float], seed: int, *, anew: bool) -> Splits:
    """Keep the split that the folder declares, and make what is missing of it.

    Args:
        items: with `split` where the folder says so.
        keys: as for `divide`. So with the next two.
        anew: replace what is declared.

    Raises:
        DataError: nothing is left to train or to validate with.
    """
    declared = {item.split for item in items}
    with_boxes = {item.split for item in items if item.boxes}
    if anew or "train" not in with_boxes or declared == {"train"}:
        ignored = not anew and declared - {None, "train"}
        notes = [f"the folder declares {', '.join(sorted(filter(None, declared)))} only: split anew"] if ignored else []
        return Splits(divide(items, keys, shares, seed), False, notes)
    sides = [item.split or "train" for item in items]
    stray = sum(item.split is None for item in items)
    notes = [f"{stray} images outside train, val and test: taken as train"] if stray else []
    if "val" not in with_boxes:
        train = [index for index, side in enumerate(sides) if side != "test"]
        parts = divide([items[i] for i in train], [keys[i] for i in train], (*shares[:2], 0.0), seed)
        for index, part in zip(train, parts, strict=True):
            sides[index] = part
        notes.append("the folder declares no val with boxes: it was taken from train")
    if "test" not in sides:
        notes.append(
            "the folder declares no test split: val will serve as test, so test numbers are not independent of model "
            "selection (--split 70,15,15 splits anew)"
        )
    return Splits(sides, True, notes)


@dataclass
class _Group:
    members: list[int]
    classes: Counter[int]


def divide(items: Sequence[Item], keys: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """The split of each item; all items of a group have the same.

    Classes are dealt one by one, the rarest first, each group that has it to the split that lacks most of it: iterative
    stratification (Sechidis, Tsoumakas and Vlahavas 2011) over groups instead of images.

    Args:
        items: at least two with boxes.
        keys: the group of each.
        shares: of train, val and test; 0 for a split that is not wanted.
        seed: among equals.

    Raises:
        DataError: all boxes are in one group, so that nothing is left to validate with.
    """
    groups: dict[str, _Group] = {}
    for index, (item, key) in enumerate(zip(items, keys, strict=True)):
        entry = groups.setdefault(key, _Group([], Counter()))
        entry.members.append(index)
        entry.classes.update(box[0] for box in item.boxes)
    if sum(bool(entry.classes) for entry in groups.values()) < 2:
        raise DataError(
            "all boxes are in one group of images, so nothing is left to validate with. --group-by REGEX or none "
            "changes what belongs together."
        )
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    home = _dealt(groups, sorted(order, key=lambda key: -len(groups[key].members)), shares)
    _fill_empty(groups, home, shares)
    return [SPLITS[home[key]] for key in keys]


def _dealt(groups: dict[str, _Group], order: list[str], shares: Sequence[float]) -> dict[str, int]:
    total: Counter[int] = Counter()
    for entry in groups.values():
        total.update(entry.classes)
    room = [share * sum(len(entry.members) for entry in groups.values()) for share in shares]
    lacks = [{number: share * boxes for number, boxes in total.items()} for share in shares]
    wanted = [index for index, share in enumerate(shares) if share > 0]
    home: dict[str, int] = {}
    having: dict[int | None, list[str]] = {
        number: [] for number in sorted(total, key=lambda number: (total[number], number))
    }
    having[None] = order  # at last those without boxes
    for key in order:
        for number in groups[key].classes:
            having[number].append(key)
    for dealt, keys in having.items():
        left = [key for key in keys if key not in home]
        for index, key in enumerate(left):
            # A class that has hardly more groups than sides left: one each before anybody gets a second.
            bare = [side for side in wanted if dealt is not None and lacks[side][dealt] == shares[side] * total[dealt]]
            sides = bare if 0 < len(left) - index <= len(bare) else wanted
            best = max(sides, key=lambda side: (lacks[side][dealt] if dealt is not None else 0.0, room[side]))
            home[key] = best
            room[best] -= len(groups[key].members)
            for each, boxes in groups[key].classes.items():
                lacks[best][each] -= boxes
    return home


def _fill_empty(groups: dict[str, _Group], home: dict[str, int], shares: Sequence[float]) -> None:
    """Train, val and test get a group with boxes each: the smallest that the fullest split can spare."""
    for side in (0, 1, 2):
        if shares[side] <= 0 or any(home[key] == side and groups[key].classes for key in groups):
            continue
        spare = [key for key in groups if groups[key].classes and _can_spare(groups, home, home[key])]
        if spare:
            most = Counter(home[key] for key in spare).most_common(1)[0][0]
            taken = min((key for key in spare if home[key] == most), key=lambda key: (len(groups[key].members), key))
            home[taken] = side


def _can_spare(groups: dict[str, _Group], home: dict[str, int], side: int) -> bool:
    return sum(home[key] == side and bool(groups[key].classes) for key in groups) > 1
