"""The rules for one image file. Decoded once, small and grey where the format allows it: that is most of the time."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.data.findings.finding import Fault

THUMB = 32
"""Side of the small grey picture that nearly-the-same is judged by, pixels."""
MAX_PIXELS = 178_956_970
"""Pillow's limit against decompression bombs."""
MAX_BYTES = 2**30
BLACK, WHITE, SPREAD = 3, 252, 2
"""Grey levels: no pixel above BLACK, none below WHITE, or all within SPREAD of each other."""

_APP1, _SCAN = 0xE1, 0xDA

Thumb = NDArray[np.uint8]


@dataclass(slots=True)
class ImageFacts:
    """What one decode tells. `thumb` is (THUMB, THUMB) uint8 grey; `fault` and `remark` are findings to be."""

    width: int = 0
    height: int = 0
    sha256: bytes = b""
    thumb: Thumb | None = None
    faults: tuple[Fault, ...] = ()


def examine(path: str) -> ImageFacts:
    """Read and decode one image file; never raises for what is wrong with the file."""
    content = read_plain(path)
    if isinstance(content, Fault):
        return ImageFacts(faults=(content,))
    size = header_size(content)
    bomb = too_large(size) if size else None
    if bomb is not None:
        return ImageFacts(faults=(bomb,))
    if not surely_whole(content):
        fault = decode_fault(content)
        if fault is not None:
            return ImageFacts(faults=(fault,))
    small = _small_grey(content, size)
    if small is None:
        return ImageFacts(faults=(decode_fault(content) or not_an_image(content),))
    turned = exif_rotated(content)
    uniform = single_colour(content, small)
    width, height = size or full_size(content)
    if turned is not None and turned[1]:
        width, height = height, width
    faults = tuple(one for one in (uniform, turned[0] if turned else None) if one is not None)
    return ImageFacts(width, height, hashlib.sha256(content).digest(), _thumb(small), faults)


def read_plain(path: str, limit: int = MAX_BYTES, rule: str = "image-unreadable") -> bytes | Fault:
    """The content of a plain file. A pipe would keep us waiting for ever; a link to nowhere is no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        return Fault(rule, getattr(error, "strerror", None) or str(error))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return Fault(rule, "not a plain file")
        if status.st_size > limit:
            return Fault(rule, f"{status.st_size / 2**20:.0f} MiB: too large to be read")
        content = os.read(handle, status.st_size + 1)
        while len(content) < status.st_size and (more := os.read(handle, status.st_size - len(content))):
            content += more
        return content
    except OSError as error:
        return Fault(rule, error.strerror or "cannot be read")
    finally:
        os.close(handle)


def too_large(size: tuple[int, int]) -> Fault | None:
    """Nobody decodes what only claims to be an image of gigabytes."""
    if size[0] * size[1] <= MAX_PIXELS:
        return None
    return Fault("image-too-large", f"{size[0]}x{size[1]} pixels: a detector's image has at most {MAX_PIXELS}")


def surely_whole(content: bytes) -> bool:
    """Whether the file's own structure vouches for its end; False means that only a full decode can tell."""
    if content.startswith(b"\xff\xd8\xff"):
        return content.endswith(b"\xff\xd9")
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_is_whole(content)
    return False


def decode_fault(content: bytes) -> Fault | None:
    """Whether the whole file decodes, as training asks it: Pillow to its last line, and OpenCV too.

    OpenCV returns a truncated JPEG as an image with a grey rest, which Pillow refuses; and it refuses some that Pillow
    takes, so both have to agree.
    """
    import cv2
    from PIL import Image, ImageFile, UnidentifiedImageError

    # Other packages set this for the whole process; with it Pillow, too, would fill a truncated image with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            form = f"{image.format}, {image.mode}"
    except Image.DecompressionBombError:
        return Fault("image-too-large", f"a detector's image has at most {MAX_PIXELS} pixels")
    except (UnidentifiedImageError, ImportError):
        # The ImportError is Ultralytics': where it is loaded, it has put itself in the place of Image.open and reaches
        # for a plugin it may not install.
        return not_an_image(content)
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        return Fault("image-truncated", f"{error or type(error).__name__} ({len(content)} bytes)")
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        decoded = None
    if decoded is None:
        return Fault("image-unreadable", f"OpenCV cannot decode it ({form}): save it as a PNG or JPEG of 8 bits")
    return None


def not_an_image(content: bytes) -> Fault:
    return Fault("image-unreadable", f"not an image that can be decoded ({len(content)} bytes)")


def single_colour(content: bytes, small: Thumb) -> Fault | None:
    """All-black, all-white or one grey. The small picture only raises the suspicion: it averages a bright dot away."""
    import cv2

    if int(small.max()) - int(small.min()) > 2 * SPREAD:
        return None
    full = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if full is None:
        return None
    low, high = int(full.min()), int(full.max())
    if high <= BLACK:
        return Fault("image-black", f"every pixel is black (no grey level above {high})")
    if low >= WHITE:
        return Fault("image-white", f"every pixel is white (no grey level below {low})")
    if high - low <= SPREAD:
        return Fault("image-uniform", f"every pixel has the grey level {low}, within {high - low}")
    return None


def exif_rotated(content: bytes) -> tuple[Fault, bool] | None:
    """EXIF says that the picture is to be turned: the fault, and whether width and height change places."""
    if not _has_exif(content):
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            orientation = int(image.getexif().get(274, 1))
    except Exception:  # spoiled EXIF raises whatever it stumbles over, and turns nothing
        return None
    if not 2 <= orientation <= 8:
        return None
    words = f"EXIF orientation {orientation}: training turns it, labelling tools do or do not"
    return Fault("image-rotated", words), orientation >= 5


def _has_exif(content: bytes) -> bool:
    """Of a JPEG the segments are asked, since a search through its pixels takes a tenth of their decoding."""
    if not content.startswith(b"\xff\xd8"):
        return b"Exif" in content[:65536] or b"eXIf" in content
    at = 0
    for marker, at in jpeg_segments(content):
        if marker == _APP1 and content.startswith(b"Exif", at + 4):
            return True
        if marker == _SCAN:
            return False
    return content.find(b"Exif", at, at + 65536) >= 0  # the chain of segments is broken


def header_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a PNG, JPEG or BMP says; None for other formats."""
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 24:
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if content.startswith(b"BM") and len(content) > 26:
        return int.from_bytes(content[18:22], "little"), abs(int.from_bytes(content[22:26], "little", signed=True))
    if not content.startswith(b"\xff\xd8"):
        return None
    for marker, at in jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[at + 7 : at + 9], "big"), int.from_bytes(content[at + 5 : at + 7], "big")
    return None


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where it begins) of a JPEG's segments up to its pixels, as far as each leads to the next."""
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # bytes that fill
            at += 1
            continue
        yield marker, at
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")


def full_size(content: bytes) -> tuple[int, int]:
    """Width and height as stored, by decoding; (0, 0) where nothing can."""
    import cv2

    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return (0, 0) if image is None else (int(image.shape[1]), int(image.shape[0]))


def _small_grey(content: bytes, size: tuple[int, int] | None) -> Thumb | None:
    """A grey picture of at least THUMB a side where the image has that; a JPEG is decoded at an eighth or a half."""
    import cv2

    flags, short = cv2.IMREAD_GRAYSCALE, min(size) if size else 0
    if content.startswith(b"\xff\xd8"):
        for factor, reduced in (
            (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
            (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
            (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
        ):
            if short >= THUMB * factor:
                flags = reduced
                break
    try:
        small: Thumb | None = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    return small


def _thumb(small: Thumb) -> Thumb:
    import cv2

    shrinks = min(small.shape) >= THUMB
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    thumb: Thumb = cv2.resize(small, (THUMB, THUMB), interpolation=how)
    return thumb


def _png_is_whole(content: bytes) -> bool:
    """Every chunk is there with its checksum, to the last."""
    view, at = memoryview(content), 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(content) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
