"""How large the boxes of a data set are once an image is letterboxed: what anchors and strides are judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.data.check import check_images
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """The training boxes of a set at one input size.

    Attributes:
        pixels: (n, 2) width and height in pixels of the square input.
        imgsz: its side, pixels.
        image_side: median of the images' longer sides, pixels: beyond it a larger input shows nothing more.
        left_out: boxes without a size, which are none of `pixels`.
    """

    pixels: Array
    imgsz: int
    image_side: int
    left_out: int


def box_sizes(detection_set: DetectionSet, imgsz: int) -> Sizes:
    """Measure the training boxes of a prepared set as they are at `imgsz`.

    Raises:
        DataError: no training box has a size; or an image has become unreadable since the set was prepared.
    """
    train = detection_set.train
    # All images, not those of train alone: so they are looked up under the name that preparing them left.
    everything = [path for split in (train, detection_set.val, detection_set.test) for path in split.images]
    checked = check_images(everything)
    boxes = [rows[:, 3:5].astype(np.float64) for rows in train.boxes]
    sides = np.array([(checked[path].width, checked[path].height) for path in train.images], np.float64).reshape(-1, 2)
    longer = sides.max(axis=1, initial=1.0)
    whole = np.repeat(sides / longer[:, None], [len(rows) for rows in boxes], axis=0) * imgsz
    pixels = (np.concatenate(boxes) if boxes else np.zeros((0, 2))) * whole
    sound = with_size(pixels)
    if not sound.any():
        count = len(pixels)
        what = "has no box" if not count else f"has {count} boxes, none of which has a width and a height"
        raise DataError(
            f"{detection_set.name}: the training split {what}, so there are no sizes to look at. "
            "`recipebox check-data` shows what is in the labels."
        )
    return Sizes(pixels[sound], imgsz, round(float(np.median(longer))), int((~sound).sum()))


def with_size(pixels: Array) -> NDArray[np.bool_]:
    """Which rows (w, h) are finite and above 0, (n,)."""
    return np.asarray(np.isfinite(pixels).all(axis=1) & (pixels > 0).all(axis=1))
