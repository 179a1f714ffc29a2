"""The size of an image from its header, without decoding it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

_ORIENTATION, _TURNED = 0x0112, range(5, 9)


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as the image is shown, EXIF orientation applied; None where the header cannot be read."""
    from PIL import Image

    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                # For PNG, Pillow would decode the whole image to look for EXIF behind the pixels.
                turned = image.format in {"JPEG", "MPO", "TIFF"} and image.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # Pillow's readers raise whatever comes up on hostile bytes; the answer is the same
        return None
    return ((height, width) if turned else (width, height)) if width > 0 and height > 0 else None
