"""The contact sheet: a few of the images on one page, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.predict.draw import Detections, Image, colour_of, draw_box, one_line, shorten, text_mask, write

TILES = 24
COLUMNS = 4
TILE = 360
_GAP, _LETTERS, _HEAD = 14, 15, 19
_INK, _PAPER, _FRAME = (40, 33, 27), 255, 232


@dataclass(frozen=True)
class Tile:
    """An image made small, and its detections in pixels of that."""

    name: str
    picture: Image
    found: Detections


class Spaced:
    """Up to TILES of any number of images, evenly spaced, without knowing how many will come."""

    def __init__(self) -> None:
        self.tiles: list[Tile] = []
        self.seen = 0
        self._every = 1

    def offer(self, name: str, image: Image, found: Detections) -> None:
        """Keep this image if its turn has come; when there are twice too many every other one goes."""
        if self.seen % self._every == 0:
            self.tiles.append(small(name, image, found))
            if len(self.tiles) >= 2 * TILES:
                self.tiles = self.tiles[::2]
                self._every *= 2
        self.seen += 1

    def chosen(self) -> list[Tile]:
        """At most TILES, in order."""
        if len(self.tiles) <= TILES:
            return self.tiles
        return [self.tiles[index] for index in np.linspace(0, len(self.tiles) - 1, TILES).round().astype(int)]


def small(name: str, image: Image, found: Detections) -> Tile:
    """An image scaled to fit TILE x TILE; a smaller one is enlarged by a whole number."""
    import cv2

    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    if scale >= 2:
        scale = float(int(scale))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    picture = np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)
    moved = np.array(found, dtype=np.float64)
    moved[:, :4] *= scale
    return Tile(name, picture, moved)


def contact_sheet(tiles: Sequence[Tile], names: Sequence[str], headline: str) -> Image:
    """One picture (h, w, 3), BGR: the headline, a legend of the classes seen, and the tiles with name and count."""
    columns = min(COLUMNS, len(tiles))
    cell_wide, cell_tall = TILE + _GAP, TILE + _GAP + 2 * _LETTERS
    width = max(2 * TILE + 3 * _GAP, columns * cell_wide + _GAP)
    head = _head(tiles, names, headline, width)
    rows = -(-len(tiles) // columns)
    sheet = np.full((head.shape[0] + rows * cell_tall + _GAP, width, 3), _PAPER, dtype=np.uint8)
    sheet[: head.shape[0]] = head
    for number, tile in enumerate(tiles):
        x = _GAP + number % columns * cell_wide
        y = head.shape[0] + number // columns * cell_tall
        _put(sheet, tile, x, y)
    return sheet


def _put(sheet: Image, tile: Tile, x: int, y: int) -> None:
    picture = tile.picture.copy()
    for box, row in zip(np.rint(tile.found[::-1, :4]).astype(int), tile.found[::-1], strict=True):
        draw_box(picture, box, colour_of(int(row[5])), 2)
    tall, wide = picture.shape[:2]
    top, left = (TILE - tall) // 2, (TILE - wide) // 2
    sheet[y : y + TILE, x : x + TILE] = _FRAME
    sheet[y + top : y + top + tall, x + left : x + left + wide] = picture
    count = f":  {len(tile.found)}" if len(tile.found) else ":  none"
    room = TILE - text_mask(count, _LETTERS).shape[1]
    caption = _fitting(tile.name, room)
    write(sheet, text_mask(caption + count, _LETTERS), x, y + TILE + 5, _INK)


def _fitting(name: str, room: int) -> str:
    """As much of a name as fits into `room` pixels."""
    shown = one_line(name)
    most = len(shown)
    while most > 6 and text_mask(shorten(shown, most), _LETTERS).shape[1] > room:
        most -= 1
    return shorten(shown, most)


def _head(tiles: Sequence[Tile], names: Sequence[str], headline: str, width: int) -> Image:
    counts: dict[int, int] = {}
    for tile in tiles:
        for index in tile.found[:, 5].astype(int):
            counts[int(index)] = counts.get(int(index), 0) + 1
    lines: list[list[tuple[int | None, str]]] = [[(None, headline)]]
    entries: list[tuple[int | None, str]] = [
        (index, f"{shorten(names[index] if index < len(names) else f'class {index}')}: {counts[index]}")
        for index in sorted(counts)
    ]
    legend: list[list[tuple[int | None, str]]] = [[]]
    used = 0
    for entry in entries:
        wide = text_mask(entry[1], _LETTERS).shape[1] + _LETTERS + 30
        if legend[-1] and used + wide > width - 2 * _GAP:
            legend.append([])
            used = 0
        legend[-1].append(entry)
        used += wide
    step = _HEAD + 12
    head: NDArray[np.uint8] = np.full(((1 + len(legend)) * step + _GAP, width, 3), _PAPER, dtype=np.uint8)
    for number, row in enumerate([*lines, *legend]):
        x, y = _GAP, _GAP // 2 + number * step
        for index, text in row:
            if index is not None:
                head[y + 6 : y + 6 + _LETTERS, x : x + _LETTERS] = colour_of(index)
                x += _LETTERS + 6
            mask = text_mask(text, _LETTERS if index is not None else _HEAD)
            write(head, mask, x, y + 5, _INK)
            x += mask.shape[1] + 24
    return head
