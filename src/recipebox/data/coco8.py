"""COCO8: eight COCO images, for trying things out. Its numbers mean nothing."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recipebox.data.archive import unpacked
from recipebox.data.places import download_root
from recipebox.errors import DataError

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet

ADDRESS = "https://github.com/ultralytics/assets/releases/download/v0.0.0/coco8.zip"
DOWNLOAD_BYTES = 450_000
COUNTS = {"train": 4, "val": 4, "test": 4}

# fmt: off
NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


def load(source: Path | None, *, allow_fetch: bool = True) -> DetectionSet:
    """COCO8 from an archive or a folder, or fetched.

    Raises:
        DataError: missing, incomplete or spoiled.
        StorageError: the cache cannot be written.
    """
    from recipebox.data import yolo_folder

    source = source or _fetch(allow_fetch)
    root = source if source.is_dir() else unpacked("coco8", source, _wanted)
    found = {split: len(list((root / "images" / split).glob("*.jpg"))) for split in ("train", "val")}
    if found != {"train": 4, "val": 4}:
        raise DataError(
            f"coco8: {source} is incomplete: {found['train']} + {found['val']} images in images/train and images/val, "
            f"expected 4 + 4. Fetch it again ({ADDRESS})."
        )
    return yolo_folder.load(root, name="coco8", names=NAMES)


def _fetch(allow_fetch: bool) -> Path:
    from recipebox.data.fetch import download

    out = download_root() / "coco8.zip"
    if not allow_fetch:
        raise DataError(f"coco8: not found in $RECIPEBOX_DATA or {out.parent}. Place {ADDRESS} as {out}.")
    return download(ADDRESS, out, None, "coco8")


def _wanted(path: PurePosixPath) -> PurePosixPath | None:
    for top in ("images", "labels"):
        if top in path.parts and path.suffix in (".jpg", ".txt"):
            return PurePosixPath(*path.parts[path.parts.index(top) :])
    return None
