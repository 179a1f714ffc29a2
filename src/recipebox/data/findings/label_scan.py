"""Label files of many images at once. Plainly written files are read as one array; the others line by line.

Which way a file goes is a matter of speed only: a file in which any line could break a rule is read by `label_line`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recipebox.data.findings.finding import Fault, Finding
from recipebox.data.findings.image_file import read_plain
from recipebox.data.findings.label_line import (
    MAX_BOXES,
    MAX_LABEL_BYTES,
    STICKS_OUT,
    Box,
    read_line,
    text_lines,
)

MOST_FAULTS = 20
"""Findings of one file that are listed; the rest is counted."""
_DIGITS = b"0123456789."


@dataclass
class Labels:
    """The objects of a run of images: `rows` (n, 5), and of each the image's position in the run and the line."""

    rows: NDArray[np.float64]
    image: NDArray[np.intp]
    line: NDArray[np.int64]
    findings: list[Finding] = field(default_factory=list)
    missing: int = 0


class LabelSource(Protocol):
    """Where the labels of images are."""

    def file(self, index: int) -> str:
        """The file that an image's labels stand in."""
        ...

    def read(self, split: str, start: int, stop: int) -> Labels:
        """The labels of the images `start` to `stop` of a split."""
        ...


class FileLabels:
    """Labels in YOLO text files, one an image.

    Args:
        images: of one split, as paths.
        file_of: the label file of an image; asked anew each time, since a list of them is memory for nothing.
        class_count: how many classes have a name.
    """

    def __init__(self, images: Sequence[str], file_of: Callable[[str], str], class_count: int) -> None:
        self.images, self.file_of, self.class_count = images, file_of, class_count

    def file(self, index: int) -> str:
        return self.file_of(self.images[index])

    def read(self, split: str, start: int, stop: int) -> Labels:
        plain: list[float] = []
        counts: list[int] = []
        owners: list[int] = []
        close: list[tuple[int, bytes]] = []
        findings: list[Finding] = []
        missing = 0
        for position, path in enumerate(map(self.file_of, self.images[start:stop])):
            content = _quick_content(path)
            if content is None:
                content_or_fault = read_plain(path, MAX_LABEL_BYTES, "label-unreadable")
                if isinstance(content_or_fault, bytes):
                    content = content_or_fault
                elif os.path.lexists(path):
                    message = content_or_fault.message
                    if os.path.islink(path) and not os.path.exists(path):
                        message = "a link to a file that is not there"
                    image_path = self.images[start + position]
                    findings.append(Finding("label-unreadable", path, message, split=split, image=image_path))
                    continue
                else:
                    missing += 1
                    bare = self.images[start + position]
                    told = f"no label file ({path}): taken as free of objects"
                    findings.append(Finding("image-without-label", bare, told, split=split, image=bare))
                    continue
            numbers = _plain_numbers(content)
            if numbers is None:
                close.append((position, content))
            elif numbers:
                plain += numbers
                counts.append(len(numbers) // 5)
                owners.append(position)
        rows = np.array(plain, dtype=np.float64).reshape(-1, 5)
        image = np.repeat(np.array(owners, dtype=np.intp), np.array(counts, dtype=np.int64))
        before = np.cumsum(counts, dtype=np.int64) - np.array(counts, dtype=np.int64)
        line = np.arange(len(rows)) - np.repeat(before, np.array(counts, dtype=np.int64)) + 1
        doubtful = set(image[self._doubtful(rows)].tolist())
        doubtful |= {owner for owner, count in zip(owners, counts, strict=True) if count > MAX_BOXES}
        if doubtful:
            keep = ~np.isin(image, list(doubtful))
            rows, image, line = rows[keep], image[keep], line[keep]
            for position in doubtful:
                again = read_plain(self.file(start + position), MAX_LABEL_BYTES, "label-unreadable")
                close.append((position, again if isinstance(again, bytes) else b""))
        parts = [Labels(rows, image, line, findings, missing)]
        parts += [self._closely(split, start + position, position, content) for position, content in sorted(close)]
        return joined(parts)

    def _doubtful(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows that a line's rules have something to say about, or might have."""
        labels, centres, sizes = rows[:, 0], rows[:, 1:3], rows[:, 3:5]
        doubtful: NDArray[np.bool_] = (labels >= self.class_count) | (labels != np.floor(labels)) | (labels < 0)
        doubtful |= (rows[:, 1:] > 1).any(axis=1) | (sizes <= 0).any(axis=1)
        doubtful |= (centres - sizes / 2 < -STICKS_OUT).any(axis=1) | (centres + sizes / 2 > 1 + STICKS_OUT).any(axis=1)
        return doubtful

    def _closely(self, split: str, index: int, position: int, content: bytes) -> Labels:
        """One file, line by line."""
        file, image = self.file(index), self.images[index]
        lines = text_lines(content)
        if isinstance(lines, Fault):
            return _labels([], [], position, [Finding(lines.rule, file, lines.message, split=split, image=image)])
        rows: list[list[float]] = []
        numbers: list[int] = []
        findings: list[Finding] = []
        known: set[tuple[int, Box]] = set()
        plain: set[str] = set()
        faults, cut, rule = 0, 0, ""
        for number, line in enumerate(lines, start=1):
            if len(rows) >= 2 * MAX_BOXES and line in plain:
                continue  # the same line for ever is one object, told often enough
            fields = line.split()
            if not fields:
                continue
            row = read_line(fields, self.class_count)
            if not isinstance(row, Fault) and (row.label, row.box) in known:
                plain.add(line)
            elif not isinstance(row, Fault) and len(known) == MAX_BOXES:
                row = Fault("too-many-boxes", f"more than {MAX_BOXES} boxes: not the labels of one image")
            if isinstance(row, Fault):
                faults, rule = faults + 1, row.rule
                if faults <= MOST_FAULTS or row.rule == "too-many-boxes":
                    findings.append(_line_finding(row, file, number, split, image, fields))
                if row.rule == "too-many-boxes":
                    break
                continue
            cut += row.cut
            if row.cut and cut <= MOST_FAULTS:
                told = "the box reaches beyond the image: cut off at its edge"
                findings.append(Finding("box-sticks-out", file, told, number, split, image, boxes=(row.box,)))
            known.add((row.label, row.box))
            rows.append([float(row.label), *row.box])
            numbers.append(number)
        if faults > MOST_FAULTS:
            told = f"{faults - MOST_FAULTS} more lines like the {MOST_FAULTS} before"
            findings.append(Finding(rule, file, told, split=split, image=image))
        if cut > MOST_FAULTS:
            told = f"{cut - MOST_FAULTS} more boxes like the {MOST_FAULTS} before"
            findings.append(Finding("box-sticks-out", file, told, split=split, image=image))
        return _labels(rows, numbers, position, findings)


class ArrayLabels:
    """Labels of a set that has no files of its own kind: (n, 5) arrays in the order of the images.

    Args:
        images: of one split, as paths.
        files: where somebody may look the labels up, in the order of the rows; the images where nowhere.
        boxes: class, centre x, centre y, width, height of each image.
    """

    def __init__(self, images: Sequence[str], files: Sequence[str], boxes: Sequence[NDArray[np.float32]]) -> None:
        self.images, self.files, self.boxes = images, files, boxes

    def file(self, index: int) -> str:
        return self.files[index]

    def read(self, split: str, start: int, stop: int) -> Labels:
        parts = [
            Labels(
                boxes.astype(np.float64).reshape(-1, 5),
                np.full(len(boxes), position, np.intp),
                np.arange(1, len(boxes) + 1),
            )
            for position, boxes in enumerate(self.boxes[start:stop])
        ]
        return joined(parts)


def joined(parts: Sequence[Labels]) -> Labels:
    """The labels of several runs as one."""
    return Labels(
        np.concatenate([np.zeros((0, 5)), *(part.rows for part in parts)]),
        np.concatenate([np.zeros(0, np.intp), *(part.image for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.line for part in parts)]),
        [finding for part in parts for finding in part.findings],
        sum(part.missing for part in parts),
    )


def _labels(rows: list[list[float]], numbers: list[int], position: int, findings: list[Finding]) -> Labels:
    return Labels(
        np.array(rows, dtype=np.float64).reshape(-1, 5),
        np.full(len(rows), position, np.intp),
        np.array(numbers, dtype=np.int64),
        findings,
    )


def _line_finding(fault: Fault, file: str, line: int, split: str, image: str, fields: list[str]) -> Finding:
    """A line's fault, with its box where one can be drawn in spite of it."""
    boxes: tuple[tuple[float, ...], ...] = ()
    if fault.rule in ("class-range", "box-outside", "box-degenerate") and len(fields) == 5:
        boxes = (tuple(float(text) for text in fields[1:]),)
    return Finding(fault.rule, file, fault.message, line, split, image, boxes=boxes)


def _quick_content(path: str) -> bytes | None:
    """A small plain file in three calls; None where anything needs a closer look. It never waits for a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        content = os.read(handle, 65536)
    except OSError:
        return None
    finally:
        os.close(handle)
    return content if 0 < len(content) < 65536 else None


def _plain_numbers(content: bytes) -> list[float] | None:
    """The numbers of a file that is plainly five a line with single blanks between; None for any other."""
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    if not content.endswith(b"\n"):
        content += b"\n"
    lines = content.count(b"\n")
    if content.translate(None, _DIGITS) != b"    \n" * lines:
        return [] if not content.strip() else None
    fields = content.split()
    if len(fields) != 5 * lines:
        return None
    try:
        return list(map(float, fields))
    except ValueError:
        return None
