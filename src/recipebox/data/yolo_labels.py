"""Label files in YOLO's format, read strictly: a line that is not understood is a problem, not a background."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipebox.data.detection_set import Split


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
            notes.append(f"{self.without_label} images have no label file and count as images without objects")
        if self._polygons:
            notes.append(f"{len(self._polygons)} label files hold polygons: their bounding boxes are used")
        if self._repeated:
            notes.append(f"{self._repeated} repeated label lines were dropped")
        return notes

    def _rows(self, image: Path) -> list[list[float]]:
        if image in self.seen:
            return self._read[image]
        self.seen.add(image)
        file = label_path(image)
        rows: list[list[float]] = []
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            self.without_label += 1
            lines = []
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})")
            lines = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = self._row(line.split(), file, f"{file}:{number}")
            if row is not None and row in rows:
                self._repeated += 1
            elif row is not None:
                rows.append(row)
        self._read[image] = rows
        return rows

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
        return [label, *coordinates]

    def _wrong(self, where: str, what: str) -> list[float] | None:
        self.problems.append(f"{where}: {what}")
        return None
