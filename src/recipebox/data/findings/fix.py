"""A corrected copy of a set. The original is only read; every change is listed, and nothing is guessed.

What can be mended without guessing is mended: boxes are cut off at the image's edge, equal lines and boxes without area
removed, images turned upright, `nc` corrected. An image whose labels cannot be known is left out: with a line less its
object would be trained as background. Of images that are there twice, one stays: in test before val before train.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipebox.data.findings.check_set import SPLITS, SetReport
from recipebox.data.findings.finding import RULES, Fault, Finding
from recipebox.data.findings.image_file import read_plain
from recipebox.data.findings.label_line import Box, inside, read_line, text_lines
from recipebox.errors import DataError

LEAVES_OUT = frozenset(
    {"image-unreadable", "image-truncated", "image-too-large", "label-unreadable", "too-many-boxes"}
    | {"field-count", "not-a-number", "not-finite", "class-range"}
)
"""Findings whose image is not copied: what it shows, or what is on it, cannot be known."""
REWRITES = frozenset({"box-sticks-out", "box-duplicate", "box-degenerate", "box-outside"})
"""Findings whose label file is written anew, line by line."""
GUESSES = frozenset({"names-unclear", "key-repeated"})
"""Findings after which nobody can tell what the copy's data.yaml has to say."""
FAR_OUTSIDE = 2.0
"""Coordinates beyond this are no fractions: pixels, most likely."""

Key = tuple[str, str]
"""Split and path of an image: one file may be in two splits."""


@dataclass(frozen=True)
class Change:
    """One thing that the copy has otherwise than the original."""

    file: str
    line: int | None
    change: str

    def document(self) -> dict[str, Any]:
        shown = {"file": self.file, "line": self.line, "change": self.change}
        return {key: value for key, value in shown.items() if value is not None}


@dataclass
class _Plan:
    out: dict[Key, str] = field(default_factory=dict)
    rewritten: set[Key] = field(default_factory=set)
    turned: set[Key] = field(default_factory=set)


def write_fixed(report: SetReport, target: Path) -> list[Change]:
    """Write the corrected copy to a new folder, whole or not at all, and say what is different.

    Raises:
        DataError: the target is there already or lies in the set, the set is no folder in YOLO layout, or its
            data.yaml says something that is not clear.
        StorageError: the copy cannot be written.
    """
    from recipebox.data.places import new_folder
    from recipebox.run_dir import write_text

    _refuse(report, target)
    plan = _plan(report)
    changes: list[Change] = []
    with new_folder(target) as folder:
        for part in report.samples:
            names: set[str] = set()
            for kind in ("images", "labels"):
                (folder / kind / part.split).mkdir(parents=True)
            for index, image in enumerate(part.images):
                key = (part.split, image)
                reason = plan.out.get(key)
                lines = None
                if reason is None and key in plan.rewritten:
                    lines, reason = _mended(part.labels.file(index), len(report.names), changes)
                if reason is not None:
                    changes.append(Change(image, None, f"left out: {reason}"))
                    continue
                name = _free_name(Path(image), names, changes)
                _copy_image(image, folder / "images" / part.split / name, key in plan.turned, changes)
                _copy_labels(part.labels.file(index), folder / "labels" / part.split / f"{Path(name).stem}.txt", lines)
        changes += _description(report, folder)
        changes += [
            Change(one.file, None, "not copied: it belongs to no image")
            for one in report.findings
            if one.rule == "label-without-image"
        ]
        listed = "".join(f"{c.file}{f':{c.line}' if c.line else ''}: {c.change}\n" for c in changes)
        write_text(folder / "CHANGES.txt", listed.encode("utf-8", "backslashreplace").decode("utf-8"))
    return changes


def _refuse(report: SetReport, target: Path) -> None:
    if not report.is_folder:
        raise DataError(f"{report.name}: a published set is not corrected. --fix copies a folder in YOLO layout.")
    if os.path.lexists(target):
        raise DataError(f"{target}: is there already. Give --fix the name of a new folder.")
    place = target.resolve()
    owned = {report.root.resolve(), *(Path(part.images[0]).resolve().parent for part in report.samples if part.images)}
    if any(folder in (place, *place.parents) for folder in owned):
        raise DataError(f"{target}: lies in the data set, which is not written into. Name another place.")
    for one in report.findings:
        if one.rule in GUESSES:
            raise DataError(f"{one.place}: {one.message.rstrip('.')}. --fix does not guess: mend it by hand first.")


def _plan(report: SetReport) -> _Plan:
    plan = _Plan()
    twins: dict[Key, list[Key]] = {}
    for one in report.findings:
        if one.image is None or one.split is None:
            continue
        key = (one.split, one.image)
        if one.rule in LEAVES_OUT:
            plan.out.setdefault(key, f"{RULES[one.rule].title} ({one.place}: {one.message})")
        elif one.rule in REWRITES:
            plan.rewritten.add(key)
        elif one.rule == "image-rotated":
            plan.turned.add(key)
        elif one.rule in ("image-duplicate", "leak-duplicate") and one.other and one.other_split:
            twins.setdefault((one.other_split, one.other), []).append(key)
    for first, others in twins.items():
        alike = [key for key in (first, *others) if key not in plan.out]
        if alike:
            stays = max(alike, key=lambda key: SPLITS.index(key[0]))
            for key in alike:
                if key != stays:
                    plan.out[key] = f"the same image as {stays[1]} in {stays[0]}, which stays"
    return plan


def _mended(file: str, class_count: int, changes: list[Change]) -> tuple[list[str] | None, str | None]:
    """The lines of a label file as they should be; or why they cannot be known."""
    content = read_plain(file)
    lines = content if isinstance(content, Fault) else text_lines(content)
    if isinstance(lines, Fault):
        return None, f"{file}: {lines.message}"
    kept: list[str] = []
    made: list[Change] = []
    seen: dict[tuple[float, ...], int] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        row = read_line(fields, class_count)
        box: Box | None
        if isinstance(row, Fault):
            if row.rule == "box-degenerate":
                made.append(Change(file, number, f"removed: {row.message}"))
                continue
            box = _cut(fields) if row.rule == "box-outside" else None
            if box is None:
                return None, f"{file}:{number}: {row.message}"
            label, changed = int(float(fields[0])), True
        else:
            label, box, changed = row.label, row.box, row.cut
        before = seen.setdefault((label, *box), number)
        if before != number:
            made.append(Change(file, number, f"removed: the same box as line {before}"))
            continue
        if changed:
            line = f"{label} {' '.join(f'{value:.6f}' for value in box)}"
            made.append(Change(file, number, f"cut off at the image's edge: {line}"))
        kept.append(line)
    changes += made
    return kept, None


def _cut(fields: list[str]) -> Box | None:
    """A box partly outside, as far as it lies in the image; None where it does not, or the numbers are no fractions."""
    if len(fields) != 5:
        return None
    x, y, width, height = (float(text) for text in fields[1:])
    if max(abs(x), abs(y), width, height) > FAR_OUTSIDE or min(width, height) <= 0:
        return None
    box = inside((x, y, width, height))
    return box if box[2] > 0 and box[3] > 0 else None


def _free_name(image: Path, names: set[str], changes: list[Change]) -> str:
    """The image's own name, or one like it where the copy's split has a label file of that stem already."""
    stem, number = image.stem, 1
    while stem in names:
        number += 1
        stem = f"{image.stem}-{number}"
    names.add(stem)
    if number > 1:
        changes.append(Change(str(image), None, f"called {stem}{image.suffix}: another image has this name"))
    return f"{stem}{image.suffix}"


def _copy_image(image: str, target: Path, turned: bool, changes: list[Change]) -> None:
    if not turned:
        shutil.copyfile(image, target)
        return
    from PIL import Image, ImageOps

    content = read_plain(image)
    if isinstance(content, Fault):
        raise DataError(f"{image}: {content.message}: it changed while it was copied. Run the command again.")
    with Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture)
        settings: dict[str, Any] = {"quality": 95, "subsampling": 0} if picture.format == "JPEG" else {}
        upright.save(target, format=picture.format, **settings)
    changes.append(Change(image, None, "turned upright, as its EXIF orientation says"))


def _copy_labels(file: str, target: Path, lines: list[str] | None) -> None:
    if lines is not None:
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    elif os.path.isfile(file):
        shutil.copyfile(file, target)


def _description(report: SetReport, folder: Path) -> Iterator[Change]:
    """Write data.yaml; what it says otherwise than the original's."""
    import yaml

    from recipebox.run_dir import write_text

    splits = {part.split: f"images/{part.split}" for part in report.samples}
    document = {"names": list(report.names), "nc": len(report.names), **splits}
    write_text(folder / "data.yaml", yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    for one in report.findings:
        if one.rule == "nc-names":
            yield Change(one.file, one.line, f"nc: {len(report.names)}")


def left(findings: tuple[Finding, ...]) -> dict[str, int]:
    """What the copy still has, by rule."""
    counts: dict[str, int] = {}
    for one in findings:
        counts[one.rule] = counts.get(one.rule, 0) + 1
    return counts
