"""The pre-processing that ships: decode, square letterbox, float input. numpy and cv2 only.

Training's own validation, evaluation, the export gate and the bench all prepare images through this file, so a number
from the first epoch can be compared with a number from the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import DataError

PADDING = 114


@dataclass(frozen=True)
class Placement:
    """Where an image lies on its canvas: canvas = image * (scale_x, scale_y) + (left, top), in pixels.

    The two scales differ where a side does not come out whole: 481 px by a half are drawn on 240, not on 240.5.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int

    def to_image(self, boxes_xyxy: NDArray[np.floating], image_hw: tuple[int, int]) -> NDArray[np.floating]:
        """Boxes from canvas pixels to image pixels, clipped to the image.

        Args:
            boxes_xyxy: (n, 4 or more); columns after the fourth are passed through.
            image_hw: height and width of the image before the letterbox, pixels.

        Returns:
            A new array of the same shape and dtype.
        """
        moved = self._shifted(boxes_xyxy, -self.left, -self.top)
        moved[:, :4] /= self._scales(moved.dtype)
        height, width = image_hw
        np.clip(moved[:, 0:4:2], 0, width, out=moved[:, 0:4:2])
        np.clip(moved[:, 1:4:2], 0, height, out=moved[:, 1:4:2])
        return moved

    def to_canvas(self, boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
        """Boxes from image pixels to canvas pixels. (n, 4 or more) in, the same shape out."""
        scaled = np.array(boxes_xyxy, dtype=_float_dtype(boxes_xyxy))
        scaled[:, :4] *= self._scales(scaled.dtype)
        return self._shifted(scaled, self.left, self.top)

    def _scales(self, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
        return np.array([self.scale_x, self.scale_y] * 2, dtype=dtype)

    @staticmethod
    def _shifted(boxes: NDArray[np.floating], right: int, down: int) -> NDArray[np.floating]:
        shifted = np.array(boxes, dtype=_float_dtype(boxes))
        shifted[:, :4] += np.array([right, down, right, down], dtype=shifted.dtype)
        return shifted


def _float_dtype(boxes: NDArray[np.floating]) -> np.dtype[np.floating]:
    return boxes.dtype if np.issubdtype(boxes.dtype, np.floating) else np.dtype(np.float32)


def placement(image_hw: tuple[int, int], imgsz: int) -> tuple[Placement, tuple[int, int]]:
    """Where an image of (height, width) lands on a canvas of imgsz, and its (width, height) there.

    The rounding is that of `ultralytics.data.augment.LetterBox` with auto=False, scaleup=True, center=True.
    """
    height, width = image_hw
    scale = min(imgsz / height, imgsz / width)
    placed_width, placed_height = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = round((imgsz - placed_width) / 2 - 0.1), round((imgsz - placed_height) / 2 - 0.1)
    return Placement(placed_width / width, placed_height / height, left, top), (placed_width, placed_height)


def letterbox(image_bgr: NDArray[np.uint8], imgsz: int) -> tuple[NDArray[np.uint8], Placement]:
    """Scale an image to fit a grey square and centre it there.

    Args:
        image_bgr: (height, width, 3), uint8.
        imgsz: side of the square, pixels.

    Returns:
        canvas (imgsz, imgsz, 3), uint8, BGR, byte-identical to what Ultralytics' predict feeds with rect=False; and
        where the image lies on it.
    """
    import cv2

    height, width = image_bgr.shape[:2]
    place, (placed_width, placed_height) = placement((height, width), imgsz)
    resized = image_bgr
    if (width, height) != (placed_width, placed_height):
        resized = cv2.resize(image_bgr, (placed_width, placed_height), interpolation=cv2.INTER_LINEAR)
    if (placed_width, placed_height) == (imgsz, imgsz):
        return (resized.copy() if resized is image_bgr else resized), place
    canvas = np.full((imgsz, imgsz, 3), PADDING, dtype=np.uint8)
    canvas[place.top : place.top + placed_height, place.left : place.left + placed_width] = resized
    return canvas, place


def to_input(
    canvas: NDArray[np.uint8], out: NDArray[np.float32] | None = None, planes: NDArray[np.uint8] | None = None
) -> NDArray[np.float32]:
    """(imgsz, imgsz, 3) uint8 BGR -> (3, imgsz, imgsz) float32 RGB in 0..1, contiguous.

    Args:
        canvas: what `letterbox` made.
        out: where to put it; None makes a new array.
        planes: memory of the same shape to work in; None makes some.
    """
    import cv2

    if planes is None:
        planes = np.empty((3, canvas.shape[0], canvas.shape[1]), np.uint8)
    cv2.split(canvas, (planes[2], planes[1], planes[0]))
    values = np.empty(planes.shape, np.float32) if out is None else out
    np.copyto(values, planes)
    # Divided, not multiplied by 1/255: the same bits as Ultralytics' `images.float() / 255`.
    return np.divide(values, np.float32(255), out=values)


class Preparer:
    """`letterbox` and `to_input` at once, for one image after the other: the same bits, without fresh memory for each.

    Not for several threads at once.
    """

    def __init__(self, imgsz: int) -> None:
        self.imgsz = imgsz
        self._canvas = np.full((imgsz, imgsz, 3), PADDING, np.uint8)
        self._planes = np.empty((3, imgsz, imgsz), np.uint8)
        self._filled: tuple[int, int, int, int] | None = None

    def __call__(
        self, image_bgr: NDArray[np.uint8], out: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], Placement]:
        """The network's input (1, 3, imgsz, imgsz), float32 RGB in 0..1, and where the image lies in it.

        Args:
            image_bgr: (height, width, 3), uint8.
            out: an array of the input's shape to fill; None makes a new one.
        """
        import cv2

        height, width = image_bgr.shape[:2]
        place, (placed_width, placed_height) = placement((height, width), self.imgsz)
        values = np.empty((1, 3, self.imgsz, self.imgsz), np.float32) if out is None else out
        if (width, height) == (self.imgsz, self.imgsz):
            to_input(image_bgr, values[0], self._planes)
            return values, place
        filled = (place.top, place.left, placed_height, placed_width)
        if filled != self._filled:  # what surrounds the image is still grey from an image of the same shape
            self._canvas[:] = PADDING
            self._filled = filled
        hole = self._canvas[place.top : place.top + placed_height, place.left : place.left + placed_width]
        if (width, height) == (placed_width, placed_height):
            hole[:] = image_bgr
        else:
            cv2.resize(image_bgr, (placed_width, placed_height), dst=hole, interpolation=cv2.INTER_LINEAR)
        to_input(self._canvas, values[0], self._planes)
        return values, place


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to (height, width, 3) uint8 BGR.

    Grey, palette, alpha and 16-bit files become three 8-bit channels, and the EXIF orientation is applied, as
    `cv2.imread(..., IMREAD_COLOR)` does. A JPEG cut short may decode with a grey rest: `data.check` finds those.

    Raises:
        DataError: the file is missing, unreadable or no image.
    """
    import cv2

    try:
        # Read by Python, not by cv2.imread, which cannot open every path on every system.
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise DataError(f"{path}: {reason}. Restore the image or take it out of the data set.") from None
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            f"{path}: not an image that can be decoded ({encoded.size} bytes). "
            "Replace it with a whole JPEG, PNG, BMP or TIFF, or take it out of the data set."
        )
    decoded: NDArray[np.uint8] = image
    return decoded
