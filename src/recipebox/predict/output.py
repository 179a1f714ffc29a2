"""Where predictions go: a folder of its own, whole or absent, never over anything that is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recipebox.data.places import sweep_stale
from recipebox.errors import BadInput, storage_errors
from recipebox.predict.draw import Detections, Image
from recipebox.run_dir import RunDir

JPEG_QUALITY = 92
LONGEST_SIDE = 65_500
"""Pixels; libjpeg takes no more."""


def output_folder(run: RunDir, given: Path | None) -> Path:
    """The folder to make: `given`, else a new one under the run's `predict/`.

    Raises:
        BadInput: `given` is there already and not empty.
    """
    if given is None:
        sweep_stale(run.root / "predict")  # only there: in a folder of the user's such names may be anybody's
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return run.root / "predict" / f"{stamp}-{secrets.token_hex(2)}"
    if given.is_symlink() or (os.path.lexists(given) and not (given.is_dir() and not os.listdir(given))):
        raise BadInput(f"{given}: is there already, and nothing is overwritten. Name a new folder with --out.")
    return given.absolute()


def rows_of(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """For predictions.json: class, name, score and x1, y1, x2, y2 in pixels, each with the digits a float32 has."""
    rows = np.asarray(found, dtype=np.float32)
    return [
        {
            "class": int(row[5]),
            "name": names[int(row[5])] if 0 <= int(row[5]) < len(names) else f"class {int(row[5])}",
            "score": float(str(row[4])),
            "xyxy": [float(str(value)) for value in row[:4]],
        }
        for row in rows
    ]


def yolo_lines(found: Detections, image_hw: tuple[int, int]) -> str:
    """Class, centre and size as shares of the image, a line a detection: labels as training reads them."""
    height, width = image_hw
    lines = []
    for x1, y1, x2, y2, _, index in np.asarray(found, dtype=np.float64).tolist():
        shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{int(index)} " + " ".join(f"{share:.6f}" for share in shares) + "\n")
    return "".join(lines)


def write_picture(path: Path, picture: Image) -> None:
    """Encode by the suffix (.jpg or .png) and write; through Python, since cv2 cannot open every path.

    A picture with more pixels a side than JPEG has room for is made smaller.

    Raises:
        StorageError: the disk is full or not writable.
    """
    import cv2

    longest = max(picture.shape[:2])
    if longest > LONGEST_SIDE:
        size = [max(1, round(side * LONGEST_SIDE / longest)) for side in picture.shape[1::-1]]
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    encoded = cv2.imencode(path.suffix, picture, options)[1]
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())


def write_label(path: Path, text: str) -> None:
    """A label file; the folder above it becomes whole or is never seen, so this needs no temporary name."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
