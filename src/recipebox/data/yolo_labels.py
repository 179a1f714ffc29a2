"""Label files in YOLO's format, read strictly: a line that is not understood is a problem, not a background."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipebox.data.detection_set import Split

MAX_BOXES = 10_000
"""Of one image. More is another file's content; the loss of a batch would need memory for each of them."""
_STICKS_OUT = 1e-4
"""As a fraction of the image: less is rounding and stays as it was written."""


def label_path(image: Path) -> Path:
    """Where the labels of an image are: the last `images` in its path becomes `labels`, the suffix .txt."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


class LabelReader:
    """Reads label files and collects what is wrong with them instead of stopping at the first."""

    def __init__(self, class_count: int) -> None:
        self.class_count = class_count
        self.problems: list[str] = []
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
        is_polygon = len(fields) >= 7 and len(fields) % 2 == 1
        if len(fields) != 5 and not is_polygon:
            return self._wrong(where, f"{len(fields)} fields, expected 5 (or a polygon: a class and 3 or more points)")
        try:
            numbers = [float(text) for text in fields]
        except ValueError:
            return self._wrong(where, f"not all numbers: {' '.join(fields)[:60]}")
        label, coordinates = numbers[0], numbers[1:]
        if not all(abs(number) < 1e9 for number in numbers):  # also false for NaN
            return self._wrong(where, "a value is not a finite number")
        if label != int(label) or not 0 <= label < self.class_count:
            return self._wrong(where, f"class {fields[0]} is out of range 0..{self.class_count - 1}")
        # Written with six digits, a coordinate on the border may round to just outside.
        if min(coordinates) < -1e-5 or max(coordinates) > 1 + 1e-5:
            worst = max(coordinates, key=lambda value: abs(value - 0.5))
            return self._wrong(where, f"coordinate {worst:g} is outside 0..1 (pixels instead of fractions?)")
        if is_polygon:
            self._polygons.add(file)
            xs, ys = coordinates[0::2], coordinates[1::2]
            coordinates = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
        if coordinates[2] <= 0 or coordinates[3] <= 0:
            return self._wrong(where, "the box has no area")
        return [label, *self._inside(coordinates)]

    def _inside(self, box: list[float]) -> list[float]:
        """A box cut off at the image's edge: no detection can reach beyond it, so none could match the whole box."""
        x, y, width, height = box
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        if min(left, top) >= -_STICKS_OUT and max(right, bottom) <= 1 + _STICKS_OUT:
            return box
        self._cut += 1
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
        return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]

    def _wrong(self, where: str, what: str) -> list[float] | None:
        self.problems.append(f"{where}: {what}")
        return None


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 box`, `2 boxes`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
