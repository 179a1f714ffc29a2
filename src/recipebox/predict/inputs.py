"""Which images and videos the user means, and whether an image is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipebox.data.findings.finding import Fault
from recipebox.data.findings.image_file import decode_fault, header_size, read_plain, surely_whole, too_large
from recipebox.data.letterbox import read_image
from recipebox.data.quiet_decoders import decoders_quiet
from recipebox.errors import DataError
from recipebox.predict.draw import Image

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Source:
    """One file: where it lies, the name its results get (relative, without suffix), and whether it is a video."""

    path: Path
    name: str
    video: bool


@dataclass
class Inputs:
    """The files in order, and what could not even be looked at, with the reason."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def find_inputs(given: Sequence[str]) -> Inputs:
    """Files as they are, folders with everything beneath them, in the order of names; links to folders not followed.

    Args:
        given: paths of images, folders or videos. In a folder only files with a known suffix are taken, and none
            whose name begins with a dot; a file that is named itself is always tried.

    Raises:
        DataError: a path does not exist, or there is no image at all.
    """
    inputs = Inputs()
    taken: set[str] = set()
    for text in given:
        path = Path(text)
        if not text or not os.path.lexists(text):
            raise DataError(f"{text!r}: no such file or folder. Name an image, a folder with images, or a video.")
        if os.path.isdir(path):
            for one in _beneath(path, inputs):
                _add(inputs, one, one.relative_to(path), taken)
        else:
            _add(inputs, path, Path(path.name), taken)
    if not inputs.sources:
        suffixes = ", ".join(one[1:] for one in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in inputs.skipped[:10])
        raise DataError(f"{', '.join(given)}: no image in there (looked for {suffixes}).{reasons}")
    return inputs


def _beneath(folder: Path, inputs: Inputs) -> list[Path]:
    found: list[Path] = []

    def refused(error: OSError) -> None:
        inputs.skipped.append((Path(error.filename), f"cannot be looked into ({error.strerror})"))

    for place, folders, files in os.walk(folder, onerror=refused):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        found += [
            Path(place) / one
            for one in sorted(files)
            if not one.startswith(".") and one.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        ]
    return found


def _add(inputs: Inputs, path: Path, relative: Path, taken: set[str]) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        inputs.skipped.append((path, f"cannot be read ({error.strerror})"))
        return
    if not stat.S_ISREG(mode):
        inputs.skipped.append((path, "not a file"))  # a pipe would be waited for without end
        return
    name = _free_name(relative, taken)
    inputs.sources.append(Source(path, name, path.name.lower().endswith(VIDEO_SUFFIXES)))


def _free_name(relative: Path, taken: set[str]) -> str:
    """`a/b` for a/b.png; where that is taken (b.jpg beside b.png, or two folders) `a/b-png`, then `a/b-png-2`."""
    plain = relative.with_suffix("").as_posix()
    number = 1
    name = plain
    # Compared without case: the results may be copied to a file system that knows none.
    while name.casefold() in taken:
        name = f"{plain}-{relative.suffix[1:]}" + (f"-{number}" if number > 1 else "")
        number += 1
    taken.add(name.casefold())
    return name


def whole_image(path: Path) -> Image:
    """The image as training reads it, (height, width, 3) BGR, and only if all of it is there.

    OpenCV returns a JPEG that was cut short with a grey rest: a board that was half looked at would count as good.

    Raises:
        DataError: unreadable, cut short, no image, or with so many pixels that it is no image of a camera.
    """
    content = read_plain(str(path))
    if isinstance(content, Fault):
        raise DataError(f"{path}: {content.message}")
    size = header_size(content)
    fault = too_large(size) if size else None
    with decoders_quiet():
        if fault is None and not surely_whole(content):
            fault = decode_fault(content)
        if fault is not None:
            raise DataError(f"{path}: {fault.message}")
        return read_image(path)
