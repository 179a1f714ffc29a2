"""What a training view shows where there is no image: around a zoomed-out one, and in the gaps of a mosaic.

Geometry and pixels; `border_transforms.py` puts them into Ultralytics' transforms. Card: docs/techniques/border.md.
Boxes are (n, 4) xyxy in pixels. A rectangle is (left, top, right, bottom), pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Matrix = NDArray[np.floating]
Rectangle = tuple[int, int, int, int]

_FARTHEST_IN_PERSPECTIVE = 8
"""Mirror images are counted so far out where the view has a horizon; the plan refuses zooms of square images that would
show more, and without a horizon all are counted: beside a strip of 10 to 1 there are ten times as many."""
_CELL = 16
"""Pixels from one random value of noise to the next, linear in between."""
_STREAM = 114
"""Sets a border's randomness apart from that of the rest of the view, which it must not move on."""


def tiles_shown(matrix: Matrix, source: tuple[int, int], shown: tuple[int, int]) -> tuple[range, range]:
    """Which columns and rows of mirror images a warped view shows; the image itself is (0, 0).

    Args:
        matrix: (3, 3), source pixels to view pixels.
        source: width and height of the image.
        shown: width and height of the view.
    """
    width, height = shown
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    back = corners @ np.linalg.inv(matrix.astype(float)).T
    farthest = _FARTHEST_IN_PERSPECTIVE
    if back[:, 2].min() <= 0:  # a perspective so strong that the view reaches behind the camera
        return range(-farthest, farthest + 1), range(-farthest, farthest + 1)
    points = back[:, :2] / back[:, 2:]
    first, last = np.floor(points.min(0) / source), np.ceil(points.max(0) / source)
    if matrix[2, :2].any():
        first, last = first.clip(-farthest, farthest), last.clip(-farthest, farthest + 1)
    return range(int(first[0]), int(last[0])), range(int(first[1]), int(last[1]))


def mirror_images(boxes: Boxes, size: tuple[int, int], columns: range, rows: range) -> tuple[Boxes, NDArray[np.int64]]:
    """The boxes of the objects in an image's mirror images.

    Tile (i, j) is the image shifted by (i * width, j * height), mirrored along x where i is odd and along y where j is:
    cv2.BORDER_REFLECT, where the edge pixel stands twice.

    Args:
        boxes: of the image.
        size: its width and height.
        columns, rows: the tiles; (0, 0), the image itself, is left out.

    Returns:
        the boxes, (m, 4), and the index of the object that each mirrors, (m,).
    """
    found = [np.empty((0, 4), boxes.dtype)]
    for column in columns:
        for row in rows:
            if (column, row) != (0, 0):
                tile = boxes.copy()
                for axis, number in ((0, column), (1, row)):
                    side = size[axis]
                    edges = boxes[:, [axis, axis + 2]]
                    tile[:, [axis, axis + 2]] = number * side + (side - edges[:, ::-1] if number % 2 else edges)
                found.append(tile)
    index = np.tile(np.arange(len(boxes)), len(found) - 1).astype(np.int64)
    return np.concatenate(found), index


def border_share(matrix: Matrix, content: list[Rectangle], shown: tuple[int, int]) -> float:
    """The share of a warped view's area that none of the rectangles of image `content` reaches, 0 to 1."""
    width, height = shown
    view = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    covered = 0.0
    for left, top, right, bottom in content:
        corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]], float) @ matrix.T
        area, _ = cv2.intersectConvexConvex((corners[:, :2] / corners[:, 2:]).astype(np.float32), view)
        covered += float(area)
    return float(np.clip(1 - covered / (width * height), 0, 1))


def gaps(patch: Rectangle, quadrant: Rectangle) -> Iterator[tuple[slice, slice]]:
    """The parts of a quadrant around a patch that lies in it: index pairs (rows, columns), none empty."""
    left, top, right, bottom = quadrant
    x1, y1, x2, y2 = patch
    for rows, columns in (((top, y1), (left, right)), ((y2, bottom), (left, right)),
                          ((y1, y2), (left, x1)), ((y1, y2), (x2, right))):  # fmt: skip
        if rows[0] < rows[1] and columns[0] < columns[1]:
            yield slice(*rows), slice(*columns)


class Border(Protocol):
    """One kind of border. `mirrors`: it shows objects of the image again, which then need labels."""

    mirrors: bool

    def begin(self, *key: int) -> None:
        """A new view, a function of these numbers, begins."""

    def fill(self, canvas: Image, patch: Rectangle, quadrant: Rectangle) -> None:
        """Fill the gaps that a patch leaves in its quadrant of a mosaic, in place."""

    def warp(self, image: Image, matrix: Matrix, shown: tuple[int, int], perspective: bool) -> Image:
        """The image warped into a view of `shown` (width, height), with this border around it."""


class ReflectBorder:
    """The image goes on as its own mirror image: no edge, no flat area, no cue for the zoom."""

    mirrors = True

    def begin(self, *key: int) -> None:
        """Nothing is drawn."""

    def fill(self, canvas: Image, patch: Rectangle, quadrant: Rectangle) -> None:
        left, top, right, bottom = quadrant
        x1, y1, x2, y2 = patch
        image, sides = canvas[y1:y2, x1:x2], (y1 - top, bottom - y2, x1 - left, right - x2)
        if any(sides):
            canvas[top:bottom, left:right] = cv2.copyMakeBorder(image, *sides, cv2.BORDER_REFLECT)

    def warp(self, image: Image, matrix: Matrix, shown: tuple[int, int], perspective: bool) -> Image:
        return _warp(image, matrix, shown, perspective, borderMode=cv2.BORDER_REFLECT)


class RandomBorder:
    """Coloured clouds, other ones in each view: what no letterbox ever shows, drawn beside the view's other randomness.

    Not flat colours: those look like a letterbox, and a network that takes them for "smaller" meets them again in use.
    """

    mirrors = False

    def begin(self, *key: int) -> None:
        self._source = np.random.Generator(np.random.PCG64(np.random.SeedSequence((*key, _STREAM))))

    def _noise(self, height: int, width: int) -> Image:
        grid = self._source.integers(0, 256, (height // _CELL + 2, width // _CELL + 2, 3), np.uint8)
        noise: Any = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        return noise  # type: ignore[no-any-return]

    def fill(self, canvas: Image, patch: Rectangle, quadrant: Rectangle) -> None:
        for rows, columns in gaps(patch, quadrant):
            canvas[rows, columns] = self._noise(rows.stop - rows.start, columns.stop - columns.start)

    def warp(self, image: Image, matrix: Matrix, shown: tuple[int, int], perspective: bool) -> Image:
        noise = self._noise(shown[1], shown[0])
        return _warp(image, matrix, shown, perspective, dst=noise, borderMode=cv2.BORDER_TRANSPARENT)


BORDERS: dict[str, type[ReflectBorder | RandomBorder]] = {"reflect": ReflectBorder, "random": RandomBorder}


def _warp(image: Image, matrix: Matrix, shown: tuple[int, int], perspective: bool, **border: Any) -> Image:
    """Bilinear, as Ultralytics warps."""
    if perspective:
        warped: Any = cv2.warpPerspective(image, matrix, dsize=shown, **border)
    else:
        warped = cv2.warpAffine(image, matrix[:2], dsize=shown, **border)
    return warped  # type: ignore[no-any-return]
