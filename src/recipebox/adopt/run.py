"""`recipebox init`: look, split, write the set where that is needed, and write a recipe."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from recipebox.adopt.choices import Facts, Profile, choose, look, memory_here
from recipebox.adopt.found import Found, box_counts
from recipebox.adopt.groups import Grouping, group
from recipebox.adopt.recipe_text import recipe_text
from recipebox.adopt.recognise import FORMATS, Wanted, recognise
from recipebox.adopt.split import SHARES, SPLITS, Splits, parse_shares, settle
from recipebox.adopt.survey import survey
from recipebox.adopt.write import write_set
from recipebox.data.datasets import NAMES
from recipebox.data.places import as_path, download_root, find_source
from recipebox.errors import BadInput, storage_errors
from recipebox.recipe.load import find_recipes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for; None and False: as init sees fit.

    Attributes:
        to: the folder for the converted set.
        group_by: a regular expression or `none`.
        split: shares such as `70,15,15`; replaces a split that is there.
    """

    name: str | None = None
    to: str | None = None
    format: str | None = None
    group_by: str | None = None
    split: str | None = None
    seed: int = 0
    copy: bool = False
    whole_image_boxes: bool = False
    background: Sequence[str] = ()


@dataclass(frozen=True)
class Adopted:
    """What init did. `dataset` is what recipes call the set, `folder` where it is, `written` whether init made it."""

    name: str
    source: Path
    recipe: Path
    dataset: str
    folder: Path
    written: bool
    copied: bool
    found: Found
    splits: Splits
    grouping: Grouping
    facts: Facts
    profiles: dict[str, Profile] = field(repr=False)


def adopt_folder(path: str, wishes: Wishes) -> Adopted:
    """Make a recipe, and a data set where training cannot read the folder as it is.

    Raises:
        BadInput: nothing that can be trained on, or a name, place or option that cannot be used; nothing was written.
        StorageError: the recipe's folder or the set's place refuses; nothing is left behind.
    """
    if wishes.format is not None and wishes.format not in FORMATS:
        raise BadInput(f"--format {wishes.format}: one of {', '.join(FORMATS)}.")
    shares = parse_shares(wishes.split)
    if not path.strip():
        raise BadInput("no folder was named: `recipebox init PATH --name line-3`.")
    source = Path(os.path.abspath(as_path(path))) if "\0" not in path else Path(path)
    name = _name(wishes.name, source)
    recipe = _recipe_place(name)
    seen = survey(source)
    found = recognise(seen, Wanted(wishes.format, wishes.whole_image_boxes, wishes.background))
    found.names = tuple(_printable(each) for each in found.names)
    grouping = group(found.items, seen.root, wishes.group_by, folders_are_classes=wishes.whole_image_boxes)
    splits = settle(found.items, grouping.keys, shares, wishes.seed, anew=wishes.split is not None)
    splits.notes.extend(_torn(grouping, splits))
    in_place = _stays(found, splits, wishes)
    target = in_place or _target(name, wishes.to, seen.root)
    copied = False
    if in_place is None:
        record = {
            "schema": 1,
            "source": str(seen.root),
            "kind": found.kind,
            "split": {"kept": splits.kept, "grouping": grouping.said, "shares": list(shares), "seed": wishes.seed},
            "notes": [*found.notes, *splits.notes],
            "left_out": found.left_out,
        }
        copied = write_set(target, found.items, splits.of, found.names, seen.root, copy=wishes.copy, record=record)
    try:
        dataset = _called(target)
        facts = look(found.items, splits.of, found.names, wishes.seed)
        profiles = choose(facts, memory_here())
        made = None if splits.kept else grouping
        text = recipe_text(name, dataset, kind=found.kind, facts=facts, profiles=profiles, grouping=made)
        _write_new(recipe, text)
    except BaseException:
        if in_place is None:
            shutil.rmtree(target, ignore_errors=True)
        raise
    written = in_place is None
    return Adopted(name, seen.root, recipe, dataset, target, written, copied, found, splits, grouping, facts, profiles)


def _name(given: str | None, source: Path) -> str:
    name = given if given is not None else re.sub(r"[^a-z0-9]+", "-", source.name.lower()).strip("-")[:60]
    if not _NAME.fullmatch(name) or name.endswith((".yaml", ".yml")):
        what = (
            f"--name {given}: cannot name a recipe"
            if given is not None
            else f"{source.name}: no recipe can be named so"
        )
        raise BadInput(f"{what}. Give letters, digits, . _ and -, at most 80, such as --name line-3.")
    if name in NAMES:
        raise BadInput(f"{name}: a data set that recipebox knows is called so. Choose another --name.")
    return name


def _recipe_place(name: str) -> Path:
    """./recipes/NAME.yaml: where recipes are looked for by name first, in a checkout and elsewhere."""
    place = Path("recipes", f"{name}.yaml").absolute()
    known = next((path for path in find_recipes() if path.stem == name), None)
    if known is not None or os.path.lexists(place):
        raise BadInput(
            f"{known or place}: there is a recipe of that name, and init overwrites nothing. Choose another --name."
        )
    return place


def _stays(found: Found, splits: Splits, wishes: Wishes) -> Path | None:
    """The folder itself where training reads it as it is, and nobody asked for anything else."""
    asked = wishes.to is not None or wishes.copy
    if found.in_place is None or asked or splits.of != [item.split for item in found.items]:
        return None
    # A recipe is UTF-8, so it cannot name a path that is not.
    return found.in_place if _printable(str(found.in_place)) == str(found.in_place) else None


def _torn(grouping: Grouping, splits: Splits) -> list[str]:
    """Whether a split that is kept has pictures of one board, or of one session, on several sides."""
    if not splits.kept or grouping.by not in {"folders", "names", "copies", "regex"}:
        return []
    sides: dict[str, set[str]] = {}
    for key, side in zip(grouping.keys, splits.of, strict=True):
        sides.setdefault(key, set()).add(side)
    torn = sum(len(each) > 1 for each in sides.values())
    if not torn:
        return []
    return [
        f"{torn} of {len(sides)} groups are on more than one side of the split that is kept ({grouping.said}): numbers "
        "on val and test may be too good; --split 70,15,15 splits anew, by group"
    ]


def _target(name: str, to: str | None, source: Path) -> Path:
    target = Path(os.path.abspath(as_path(to))) if to is not None else download_root().absolute() / name
    if os.path.lexists(target):
        raise BadInput(
            f"{target}: is there already, and init overwrites nothing. Choose another --name or --to, or remove it."
        )
    if target.resolve().is_relative_to(source.resolve()):
        raise BadInput(
            f"{target}: lies in the folder that is to be read, which stays as it is. Choose another place with --to."
        )
    return target


def _called(folder: Path) -> str:
    """The set's name where a recipe that names it finds this folder, else its path."""
    by_name = folder.name not in NAMES and not os.path.isdir(folder.name) and find_source(folder.name) == folder
    return folder.name if by_name else str(folder)


def _write_new(path: Path, text: str) -> None:
    """Write a file whole, or not at all where one is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, path)  # refuses where a file is, unlike a rename
            except OSError:
                if os.path.lexists(path):
                    raise
                os.replace(temporary, path)  # a file system without hard links
        finally:
            with suppress(OSError):
                temporary.unlink()


def _printable(name: str) -> str:
    """UTF-8 can hold it: bytes of a file name that are no text are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def adopted_document(adopted: Adopted) -> dict[str, object]:
    """What --json prints."""
    found, splits = adopted.found, adopted.splits
    return {
        "name": adopted.name,
        "recipe": str(adopted.recipe),
        "dataset": adopted.dataset,
        "folder": str(adopted.folder),
        "written": adopted.written,
        "copied": adopted.copied,
        "source": str(adopted.source),
        "kind": found.kind,
        "classes": box_counts(found.items, found.names),
        "splits": {
            "kept": splits.kept,
            **{side: _side(adopted, side) for side in SPLITS if side in splits.of},
        },
        "grouping": None
        if splits.kept
        else {"by": adopted.grouping.by, "groups": adopted.grouping.groups, "said": adopted.grouping.said},
        "choices": {kind: profile.train | {"ema_tau": profile.tau} for kind, profile in adopted.profiles.items()},
        "why": {kind: profile.why for kind, profile in adopted.profiles.items()},
        "notes": [*found.notes, *splits.notes, *_missing_classes(adopted)],
        "left_out": found.left_out,
        "next": ["recipebox", "check-data", adopted.dataset, "--imgsz", str(_imgsz(adopted))],
    }


def _side(adopted: Adopted, side: str) -> dict[str, int]:
    chosen = [index for index, each in enumerate(adopted.splits.of) if each == side]
    return {
        "images": len(chosen),
        "groups": len({adopted.grouping.keys[index] for index in chosen}),
        "boxes": sum(len(adopted.found.items[index].boxes) for index in chosen),
    }


def _missing_classes(adopted: Adopted) -> list[str]:
    names, sides = adopted.found.names, adopted.splits.of
    notes = []
    for side in SPLITS:
        there = Counter(
            box[0] for item, each in zip(adopted.found.items, sides, strict=True) if each == side for box in item.boxes
        )
        missing = [name for index, name in enumerate(names) if not there[index]]
        if missing and side in sides:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            notes.append(f"no box in {side} of: {', '.join(missing[:5])}{more}")
    return notes


def adopted_text(adopted: Adopted) -> str:
    """For people. The last line is the next command."""
    from shlex import quote

    from recipebox.listing import plain_table

    document = adopted_document(adopted)
    found, splits = adopted.found, adopted.splits
    counts = box_counts(found.items, found.names)
    rows: list[tuple[str, ...]] = [("SPLIT", "IMAGES", "GROUPS", "BOXES")]
    rows += [(side, *(str(each) for each in _side(adopted, side).values())) for side in SPLITS if side in splits.of]
    classes = ", ".join(f"{name} ({boxes})" for name, boxes in sorted(counts.items(), key=lambda one: -one[1])[:10])
    how = "the folder's own, kept" if splits.kept else f"made here, {adopted.grouping.said}"
    notes = document["notes"]
    assert isinstance(notes, list)
    shares = ",".join(f"{share:g}" for share in SHARES)
    lines = [
        f"{adopted.source}: {found.kind}",
        f"classes: {classes}{f' and {len(counts) - 10} more' if len(counts) > 10 else ''}",
        f"splits:  {how}",
        *([] if splits.kept else [f"         --group-by REGEX or none, --split {shares} and --seed change that"]),
        *(f"  {row}" for row in plain_table(rows).splitlines()),
        *(f"note: {note}" for note in notes),
        *(f"left out: {what}" for what in found.left_out[:5]),
        *([f"left out: and {len(found.left_out) - 5} more"] if len(found.left_out) > 5 else []),
        f"data:   {adopted.folder} ({_how_written(adopted)})",
        f"recipe: {adopted.recipe}",
    ]
    for kind, profile in adopted.profiles.items():
        chosen = ", ".join(f"{key} {profile.train[key]}" for key in ("imgsz", "batch", "epochs", "optimizer"))
        lines.append(f"  {kind}: {chosen}")
    called, imgsz = quote(adopted.dataset), _imgsz(adopted)
    lines.append(
        f"then:  recipebox train {adopted.name} (make train RECIPE={adopted.name}); --profile smoke tries it first"
    )
    lines.append(
        f"next:  recipebox check-data {called} --imgsz {imgsz} (make check-data DATASET={called} IMGSZ={imgsz})"
    )
    return "\n".join(lines)


def _imgsz(adopted: Adopted) -> int:
    """At which boxes are to be judged: what the recipe trains at where there is a GPU."""
    return int(adopted.profiles["gpu"].train["imgsz"])


def _how_written(adopted: Adopted) -> str:
    if not adopted.written:
        return "as it is: read in place"
    return "copies of the images" if adopted.copied else "links to the images, which stay where they are"
