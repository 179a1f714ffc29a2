"""Which images belong together, so that a split does not tear them apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipebox.adopt.found import Item
from recipebox.adopt.survey import telling_folders
from recipebox.data.split_off import LARGEST_SHARE, are_classes
from recipebox.errors import BadInput

_RUN = 10
"""Consecutive files that stay together where nothing else is known, at most."""
_TOKENS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True)
class Grouping:
    """The group of each item, and why: folders, names, copies, runs, none or regex, in words."""

    keys: list[str]
    by: str
    said: str

    @property
    def groups(self) -> int:
        return len(set(self.keys))


def group(items: Sequence[Item], root: Path, by: str | None, *, folders_are_classes: bool = False) -> Grouping:
    """Group images by what was asked for, else by what folders or names suggest.

    Args:
        items: with images below `root`.
        by: a regular expression, `none`, or None to look.
        folders_are_classes: the folders say what is shown, not where it was taken.

    Raises:
        BadInput: no regular expression, or none that any image matches.
    """
    inside = [item.image.relative_to(root) if item.image.is_relative_to(root) else item.image for item in items]
    if by == "none":
        return Grouping(
            [str(path) for path in inside], "none", "each image by itself, as asked: neighbours may be torn apart"
        )
    if by is not None:
        return _by_regex(inside, by)
    candidates = [] if folders_are_classes else [("folders", _by_folder(inside))]
    bases = _bases(inside)
    if not _are_hashes(bases):
        candidates += [("names", keys) for keys in _by_name(bases)]
    if any(".rf." in path.stem for path in inside):
        candidates.append(("copies", bases))
    shown = [{box[0] for box in item.boxes} for item in items]
    for least in (5, 3):
        for kind, keys in candidates:
            if _tells_apart(keys, least) and not are_classes(keys, shown):
                return Grouping(keys, kind, f"{_where(kind)}: {_examples(keys)}")
    return _by_runs(inside, bases)


def _by_regex(inside: Sequence[Path], by: str) -> Grouping:
    try:
        pattern = re.compile(by)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(
            f"--group-by {by}: no regular expression ({error}). For example: --group-by 'board(\\d+)'"
        ) from None
    keys, unmatched = [], 0
    for path in inside:
        match = pattern.search(path.as_posix())
        unmatched += match is None
        first = match.group(1) if match and pattern.groups else match.group() if match else None
        keys.append(f"={first}" if first is not None else path.as_posix())
    if unmatched == len(inside):
        raise BadInput(
            f"--group-by {by}: matches no image, such as {inside[0].as_posix()}. It is searched in that path."
        )
    rest = f"; {unmatched} images that do not match stand alone" if unmatched else ""
    return Grouping(keys, "regex", f"by {by}: {_examples([key.removeprefix('=') for key in keys])}{rest}")


def _by_folder(inside: Sequence[Path]) -> list[str]:
    return ["/".join(telling_folders(path)) for path in inside]


def _bases(inside: Sequence[Path]) -> list[str]:
    """The stems without what exports add: Roboflow to augmented copies (`board7_jpg.rf.0a1b` -> `board7`), Label Studio
    to every upload (`3f0c91ab-board7` -> `board7`; a date has no letters)."""
    bases = [
        re.sub(r"_(jpe?g|png|bmp|tiff?)$", "", path.stem.partition(".rf.")[0], flags=re.IGNORECASE) for path in inside
    ]
    uploads = [re.match(r"[0-9a-f]{8}-(?=.)", base) for base in bases]
    letters = sum(bool(upload and re.search(r"[a-f]", upload.group())) for upload in uploads)
    if None in uploads or letters * 2 <= len(bases):
        return bases
    return [base[9:] for base in bases]


def _by_name(bases: Sequence[str]) -> list[list[str]]:
    """Keys by ever longer beginnings of the names; never the whole name, unless it has a single part."""
    ends = [[match.end() for match in _TOKENS.finditer(base)] for base in bases]
    longest = min(max(map(len, ends), default=0), 8)
    found = [
        [
            base[: stops[min(taken, len(stops) - 1) - 1]] if len(stops) > 1 else base
            for base, stops in zip(bases, ends, strict=True)
        ]
        for taken in range(1, longest)
    ]
    if bases and all(base.isdigit() and len(base) > 4 for base in bases):
        found.append([base[:-3] for base in bases])  # a board's number and a counter, run together
    return found


def _are_hashes(names: Sequence[str]) -> bool:
    """Whether most names say nothing of what belongs together."""
    hashes = sum(bool(re.fullmatch(r"(?=.*\d)(?=.*[a-f])[0-9a-f-]{12,}", name.lower())) for name in names)
    return hashes * 2 > len(names)


def _tells_apart(keys: Sequence[str], least: int) -> bool:
    sizes = Counter(keys)
    return len(sizes) >= least and max(sizes.values()) <= LARGEST_SHARE * len(keys) and len(keys) >= 1.5 * len(sizes)


def _by_runs(inside: Sequence[Path], bases: Sequence[str]) -> Grouping:
    names = sorted({(path.parent.as_posix(), base) for path, base in zip(inside, bases, strict=True)}, key=_natural)
    size = max(1, min(_RUN, len(names) // 10))
    run_of = {name: str(index // size) for index, name in enumerate(names)}
    keys = [run_of[path.parent.as_posix(), base] for path, base in zip(inside, bases, strict=True)]
    alone = "each image by itself: there are too few for more" if size == 1 else f"runs of {size} consecutive files"
    return Grouping(keys, "runs", f"neither folders nor names suggest groups: {alone}")


def _natural(name: tuple[str, str]) -> list[tuple[int, int, str]]:
    """Order in which 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", "/".join(name))
    return [(0, int(part[:18]), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _where(kind: str) -> str:
    return {
        "folders": "by the folders that images lie in",
        "names": "by the beginnings of file names",
        "copies": "by the image that augmented copies were made of",
    }[kind]


def _examples(keys: Sequence[str]) -> str:
    sizes = Counter(keys)
    shown = ", ".join(f"{key or '.'} ({number})" for key, number in sorted(sizes.items())[:4])
    return f"{len(sizes)} groups, {shown}{', …' if len(sizes) > 4 else ''}"
