"""pcb-synthetic: boards drawn by the project itself, so that everything runs with no download.

Board `index` of (seed, split) is a pure function of the three. The boards are written once to the cache as grey JPEG
of quality 75, which is what DeepPCB's own files are, so that a detector meets the same ringing at the edges.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from recipebox.data.places import cache_root, folder_writer
from recipebox.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recipebox.data.detection_set import DetectionSet, Split

NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
DEFAULT_IMAGES = 800
JPEG_QUALITY = 75

_SPLITS = ("train", "val", "test")
_LABELS = "boards.json"


def counts(images: int | None) -> dict[str, int]:
    """Boards in each split when `images` are asked for training."""
    train = DEFAULT_IMAGES if images is None else images
    rest = max(8, train // 4)
    return {"train": train, "val": rest, "test": rest}


def draw(seed: int, index: int, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Board `index` of a split.

    Returns:
        with defects (640, 640) uint8, 0 = copper and 255 = bare; the same board without; boxes (n, 5) float32: class,
        centre x, centre y, width, height, the last four as fractions.
    """
    import numpy as np

    from recipebox.data.synthetic_board import draw_board
    from recipebox.data.synthetic_defects import draw_defects
    from recipebox.data.synthetic_features import SIDE

    rng = np.random.Generator(np.random.PCG64([seed, _SPLITS.index(split), index]))
    defects: list = []  # type: ignore[type-arg]
    while not defects:  # a board may have come out all bare or all copper
        clean = draw_board(rng)
        spoiled = clean.copy()
        defects = draw_defects(spoiled, rng)
    rows = [
        (defect.label, (x1 + x2) / 2 / SIDE, (y1 + y2) / 2 / SIDE, (x2 - x1) / SIDE, (y2 - y1) / SIDE)
        for defect in defects
        for x1, y1, x2, y2 in (defect.box,)
    ]
    return spoiled, clean, np.array(rows, dtype=np.float32)


def load(*, images: int | None = None, seed: int = 0) -> DetectionSet:
    """Draw the set, or take it from the cache.

    Args:
        images: training boards; val and test get a quarter each, at least 8.
        seed: chooses the boards.

    Raises:
        StorageError: the cache cannot be written.
        DataError: the cached boards were spoiled.
    """
    from recipebox.data.check import checked_set

    if images is not None and images < 1:
        raise DataError(f"pcb-synthetic: {images} images cannot be drawn; ask for at least 1.")
    sizes = counts(images)
    folder = cache_root() / f"pcb-synthetic-{_digest(sizes, seed)}"
    if not folder.is_dir():
        with folder_writer(folder) as unfinished:
            _write(unfinished, sizes, seed)
    train, val, test = _read(folder, sizes)
    note = f"drawn by recipebox with seed {seed}: no real board is in it, so its numbers say nothing of real boards"
    return checked_set("pcb-synthetic", NAMES, train, val, test, [note])


def _digest(sizes: dict[str, int], seed: int) -> str:
    """Changes with the drawing code, so that boards of an older version are not taken for those of this one."""
    digest = hashlib.sha256(json.dumps([JPEG_QUALITY, sizes, seed]).encode())
    for part in ("features", "board", "defects"):
        digest.update(Path(__file__).with_name(f"synthetic_{part}.py").read_bytes())
    return digest.hexdigest()[:12]


def _write(folder: Path, sizes: dict[str, int], seed: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from recipebox.progress import track

    jobs = [(split, index) for split in _SPLITS for index in range(sizes[split])]
    for split in _SPLITS:
        (folder / split).mkdir()
    boxes: dict[str, list[list[float]]] = {}

    def one(job: tuple[str, int]) -> None:
        split, index = job
        encoded, rows = encode(seed, index, split)
        name = f"{split}/{index:06d}.jpg"
        (folder / name).write_bytes(encoded)
        boxes[name] = rows.tolist()

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for _ in track(pool.map(one, jobs), "drawing boards", total=len(jobs)):
            pass
    (folder / _LABELS).write_text(json.dumps(boxes, sort_keys=True), encoding="utf-8")


def encode(seed: int, index: int, split: str) -> tuple[bytes, NDArray[np.float32]]:
    """Board `index` of a split as it is kept: a JPEG file's bytes, and its boxes as `draw` gives them."""
    import cv2

    spoiled, _, rows = draw(seed, index, split)
    written, encoded = cv2.imencode(".jpg", spoiled, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not written:
        raise DataError("OpenCV cannot write JPEG here. Install opencv-python-headless from the lock file.")
    return encoded.tobytes(), rows


def _read(folder: Path, sizes: dict[str, int]) -> list[Split]:
    import numpy as np

    from recipebox.data.detection_set import Split

    try:
        boxes = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        splits = []
        for split in _SPLITS:
            names = [f"{split}/{index:06d}.jpg" for index in range(sizes[split])]
            rows = tuple(np.array(boxes[name], dtype=np.float32).reshape(-1, 5) for name in names)
            splits.append(Split(tuple(folder / name for name in names), rows))
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder}: the drawn boards were spoiled. Delete the folder; it is drawn again.") from None
    return splits
