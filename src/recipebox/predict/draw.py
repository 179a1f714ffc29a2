"""Boxes and labels on an image: readable on 28 pixels and on 4K, without hiding what was found."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Detections = NDArray[np.floating]
Colour = tuple[int, int, int]

# Okabe and Ito's palette (jfly.uni-koeln.de/color) as BGR; the label has the class's name, so colours may repeat.
_PALETTE: tuple[Colour, ...] = (
    (0, 94, 213),
    (178, 114, 0),
    (115, 158, 0),
    (0, 159, 230),
    (167, 121, 204),
    (233, 180, 86),
    (66, 228, 240),
    (148, 50, 123),
)
SMALLEST_SIDE = 480
"""Pixels: a smaller picture is enlarged by whole numbers before it is drawn on, or no label would be legible."""
_LONGEST_NAME = 22
_MOST_COVERED = 0.15
"""Share of a label that others may hide before it is left out; its box stays, in the colour of its class."""


def colour_of(index: int) -> Colour:
    """BGR of a class."""
    return _PALETTE[index % len(_PALETTE)]


def draw(image: Image, found: Detections, names: Sequence[str]) -> Image:
    """A new picture with every detection's box and, where there is room, its name and score.

    Args:
        image: (height, width, 3), BGR; is not changed.
        found: (n, 6): x1, y1, x2, y2 in pixels of `image`, score, class; best first.
        names: of the classes.

    Returns:
        (height * k, width * k, 3), BGR; k is 1 except for small images.
    """
    import cv2

    factor = max(1, -(-SMALLEST_SIDE // max(image.shape[:2])))
    picture = image.copy()
    if factor > 1:
        picture = np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
    height, width = picture.shape[:2]
    # Letters of 12 pixels at 640, 36 at 4K: readable when the whole picture fills a screen, and no larger than needed.
    longest = max(height, width)
    line, size = max(2, round(longest / 450)), max(11, round(0.2 * longest**0.63))
    boxes = np.rint(np.asarray(found[:, :4], dtype=np.float64) * factor).astype(int)
    for box, row in zip(boxes[::-1], found[::-1], strict=True):
        draw_box(picture, box, colour_of(int(row[5])), line)
    _write_labels(picture, boxes, found, names, size, line)
    return picture


def draw_box(picture: Image, box: NDArray[np.integer], colour: Colour, line: int) -> None:
    """A frame around the box, not over its edge: a small defect must stay visible. A white seam parts it from the
    image; where the box ends at the picture's edge the frame stays inside."""
    import cv2

    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (int(value) for value in box)
    seam = max(1, line // 2)
    for ring in range(seam + line):
        off = seam + line - ring
        start = (max(x1 - off, ring), max(y1 - off, ring))
        stop = (min(x2 + off - 1, width - 1 - ring), min(y2 + off - 1, height - 1 - ring))
        cv2.rectangle(picture, start, stop, (255, 255, 255) if ring < seam else colour, 1)


def _write_labels(
    picture: Image, boxes: NDArray[np.integer], found: Detections, names: Sequence[str], size: int, line: int
) -> None:
    """The best detections' labels first, each where it covers the least of labels and boxes."""
    height, width = picture.shape[:2]
    gap = 2 * line + 1
    taken = np.zeros((0, 4))
    frames = boxes + np.array([-line, -line, line, line])
    for index, (box, row) in enumerate(zip(boxes, found, strict=True)):
        label = f"{shorten(_name(names, int(row[5])))} {row[4]:.2f}"
        mask = text_mask(label, size)
        tall, long = mask.shape[0] + 4, mask.shape[1] + 6
        if long > width or tall > height:
            continue
        x1, y1, x2, y2 = (int(value) for value in box)
        left, low = min(max(x1 - line, 0), width - long), min(max(y1 - line, 0), height - tall)
        right_bound = min(max(x2 + line - long, 0), width - long)
        corners = [
            (left, y1 - gap - tall),
            (left, y2 + gap),
            (right_bound, y1 - gap - tall),
            (right_bound, y2 + gap),
            (x2 + gap, low),
            (x1 - gap - long, low),
        ]
        inside = [(x, y) for x, y in corners if 0 <= x <= width - long and 0 <= y <= height - tall]
        if not inside:  # the box fills the picture
            inside = [(left, min(max(y1 + line, 0), height - tall))]
        places = np.array([(x, y, x + long, y + tall) for x, y in inside], dtype=np.float64)
        hidden = _shared(places, taken)
        others = _shared(places, np.delete(frames, index, axis=0))
        best = int(np.argmin(4 * hidden + others + 0.01 * np.arange(len(inside))))
        if hidden[best] > _MOST_COVERED:
            continue
        taken = np.vstack([taken, places[best]])
        x, y = inside[best]
        _stamp(picture, mask, x, y, colour_of(int(row[5])))


def _shared(places: NDArray[np.float64], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """(p,) share of each place that the others cover, counted once for each of them."""
    if not len(others):
        return np.zeros(len(places))
    wide = np.minimum(places[:, None, 2], others[None, :, 2]) - np.maximum(places[:, None, 0], others[None, :, 0])
    tall = np.minimum(places[:, None, 3], others[None, :, 3]) - np.maximum(places[:, None, 1], others[None, :, 1])
    area = (places[:, 2] - places[:, 0]) * (places[:, 3] - places[:, 1])
    covered: NDArray[np.float64] = (wide.clip(0) * tall.clip(0)).sum(axis=1) / area
    return covered


def _stamp(picture: Image, mask: Image, x: int, y: int, fill: Colour) -> None:
    """The label's plate in the class's colour, and black or white letters on it, whichever is read more easily."""
    blue, green, red = fill
    ink = 0 if 0.114 * blue + 0.587 * green + 0.299 * red > 135 else 255
    tall, long = mask.shape[0] + 4, mask.shape[1] + 6
    picture[y : y + tall, x : x + long] = fill
    write(picture, mask, x + 3, y + 2, (ink, ink, ink))


def write(picture: Image, mask: Image, x: int, y: int, ink: Colour) -> None:
    """Blend letters in at (x, y); what would stand outside is cut off."""
    tall, long = min(mask.shape[0], picture.shape[0] - y), min(mask.shape[1], picture.shape[1] - x)
    if tall <= 0 or long <= 0:
        return
    share = mask[:tall, :long, None].astype(np.float32) / 255
    under = picture[y : y + tall, x : x + long]
    under[:] = (under * (1 - share) + np.array(ink, np.float32) * share).round().astype(np.uint8)


@functools.lru_cache(maxsize=4096)
def text_mask(text: str, size: int) -> Image:
    """Letters of a text, one line, `size` pixels: (h, w) uint8, 255 where there is ink. Any script DejaVu has.

    OpenCV's own letters are ASCII only; matplotlib brings the font and the renderer.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font

    font = FT2Font(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))
    font.set_size(size, 72)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        font.set_text(one_line(text))
    font.draw_glyphs_to_bitmap(antialiased=True)
    letters = np.asarray(font.get_image(), dtype=np.uint8)
    return letters if letters.size else np.zeros((size, 1), np.uint8)


def one_line(text: str) -> str:
    """What cannot be drawn (line breaks, broken characters) as a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text) or " "


def shorten(text: str, most: int = _LONGEST_NAME) -> str:
    """At most `most` characters: the beginning and the end, which tell files of one camera apart."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"class {index}"
