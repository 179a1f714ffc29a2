"""Label files in YOLO's format, read strictly: a line that is not understood is a problem, not a background."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from recipebox.data.findings.finding import Fault
from recipebox.data.findings.label_line import MAX_BOXES, MAX_LABEL_BYTES, read_line

if TYPE_CHECKING:
    from recipebox.data.detection_set import Split

__all__ = ["MAX_BOXES", "LabelReader", "classes_in", "count", "label_file", "label_path"]


def label_file(image: str) -> str:
    """Where the labels of an image are: the last folder `images` in its path becomes `labels`, the suffix .txt."""
    before, found, after = f"/{image}".rpartition("/images/")
    path = (f"{before}/labels/{after}" if found else f"/{image}")[1:]
    dot = path.rfind(".")
    return (path[:dot] if dot > path.rfind("/") + 1 else path) + ".txt"


def label_path(image: Path) -> Path:
    """`label_file` of a Path."""
    return Path(label_file(str(image)))


def classes_in(file: str) -> set[int]:
    """The class numbers of a label file, for a quick look: what cannot be read is LabelReader's to tell."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a pipe
    except (OSError, ValueError):
        return set()
    try:
        content = os.read(handle, min(os.fstat(handle).st_size, MAX_LABEL_BYTES))
    except OSError:
        return set()
    finally:
        os.close(handle)
    found: set[int] = set()
    for first in {fields[0] for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if (fields := line.split())}:
        with suppress(ValueError, OverflowError):  # no number, or infinite
            found.add(int(float(first)))
    return found


class LabelReader:
    """Reads label files and collects what is wrong with them instead of stopping at the first.

    `problems` are in words, with file and line; `spoiled` are the images they are about.
    """

    def __init__(self, class_count: int) -> None:
        self.class_count = class_count
        self.problems: list[str] = []
        self.spoiled: set[Path] = set()
        self.seen: set[Path] = set()
        self.without_label = 0
        self._polygons: set[Path] = set()
        self._repeated = 0
        self._cut = 0
        self._shared = 0
        self._files: set[Path] = set()
        self._read: dict[Path, list[list[float]]] = {}

    def split(self, images: Iterable[Path]) -> Split:
        """The images with their boxes; problems are added to `problems`."""
        import numpy as np

        from recipebox.data.detection_set import Split

        paths = tuple(images)
        boxes = tuple(np.array(self._rows(path), dtype=np.float32).reshape(-1, 5) for path in paths)
        return Split(paths, boxes)

    def notes(self) -> list[str]:
        """What was taken in a way that somebody might not expect."""
        notes = []
        if self.without_label:
            notes.append(f"{count(self.without_label, 'image')} without a label file: taken as free of objects")
        if self._shared:
            notes.append(f"{count(self._shared, 'image')} sharing a label file: the names differ in the suffix only")
        if self._polygons:
            notes.append(f"polygons in {count(len(self._polygons), 'label file')}: their bounding boxes are used")
        if self._cut:
            notes.append(f"{count(self._cut, 'box', 'boxes')} reaching beyond the image: cut off at its edge")
        if self._repeated:
            notes.append(f"{count(self._repeated, 'repeated label line')}: left out")
        return notes

    def _rows(self, image: Path) -> list[list[float]]:
        if image in self.seen:
            return self._read[image]
        self.seen.add(image)
        file = label_path(image)
        self._shared += file in self._files
        self._files.add(file)
        rows: list[list[float]] = []
        problems_before = len(self.problems)
        known: set[tuple[float, ...]] = set()
        for number, line in enumerate(self._lines(file), start=1):
            if not line.strip():
                continue
            row = self._row(line.split(), file, f"{file}:{number}")
            if row is not None and tuple(row) in known:
                self._repeated += 1
            elif len(rows) == MAX_BOXES:
                self._wrong(f"{file}:{number}", f"more than {MAX_BOXES} boxes: not the labels of one image")
                break
            elif row is not None:
                known.add(tuple(row))
                rows.append(row)
        if len(self.problems) > problems_before:
            self.spoiled.add(image)
        self._read[image] = rows
        return rows

    def _lines(self, file: Path) -> list[str]:
        try:
            if file.exists() and not file.is_file():  # reading a pipe would wait for ever
                raise IsADirectoryError(0, "not a plain file")
            return file.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            if not file.is_symlink():
                self.without_label += 1
                return []
            self.problems.append(f"{file}: a link to a file that is not there")
        except UnicodeDecodeError:
            self.problems.append(f"{file}: cannot be read (not text)")
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            self.problems.append(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})")
        return []

    def _row(self, fields: list[str], file: Path, where: str) -> list[float] | None:
        row = read_line(fields, self.class_count)
        if isinstance(row, Fault):
            return self._wrong(where, row.message)
        self._cut += row.cut
        if row.polygon:
            self._polygons.add(file)
        return [float(row.label), *row.box]

    def _wrong(self, where: str, what: str) -> list[float] | None:
        self.problems.append(f"{where}: {what}")
        return None


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 box`, `2 boxes`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
