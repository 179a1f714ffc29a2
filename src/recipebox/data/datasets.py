"""Data sets by name or folder. `known` answers quickly for a plan; `prepare` makes the checked set.

Nothing heavy is imported at the top: `recipebox plan` comes by here.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from recipebox.data.places import ARCHIVE_SUFFIXES, as_path, cache_root, data_root, download_root, find_source
from recipebox.errors import DataError

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet

__all__ = ["NAMES", "Known", "cache_root", "data_root", "known", "prepare", "prepare_from"]

NAMES = ("deeppcb", "pcb-synthetic", "coco8")
"""The data sets known by name."""


@dataclass(frozen=True)
class Known:
    """What can be said about a data set without reading an image.

    `names` and `counts` (images per split) are None where nothing is known; `download_bytes` is what `prepare` would
    fetch, None where nothing has to be or can be fetched; `available` means that no network is needed. `meant` is the
    known name that an unknown one resembles.
    """

    names: tuple[str, ...] | None
    counts: dict[str, int] | None
    download_bytes: int | None
    available: bool
    meant: str | None = None


def prepare(
    name_or_folder: str,
    *,
    images: int | None = None,
    seed: int = 0,
    allow_fetch: bool = True,
    leave_out: bool = False,
) -> DetectionSet:
    """The data set that a name or a folder means: found, unpacked or drawn, and checked to the last image.

    Args:
        name_or_folder: one of `NAMES`, a folder in YOLO layout, or the name of one in $RECIPEBOX_DATA.
        images: training images: how many boards pcb-synthetic draws, or a seeded subset of another set's train split.
        seed: for drawing, subsets, and a missing val split.
        allow_fetch: whether the network may be asked.
        leave_out: take a folder without the images that are spoiled or whose labels are; else they are an error.

    Raises:
        DataError: missing, incomplete or spoiled, or a subset without a box.
        StorageError: the cache cannot be written.
    """
    if name_or_folder == "pcb-synthetic":
        from recipebox.data import synthetic_pcb

        return synthetic_pcb.load(images=images, seed=seed)
    return _subset(_load(name_or_folder, _source(name_or_folder), seed, allow_fetch, leave_out), images, seed)


def prepare_from(name: str, archive: Path, *, seed: int = 0) -> DetectionSet:
    """Prepare a data set by hand: from an archive or folder that lies anywhere; an archive is kept as `name`.

    Raises:
        DataError: unknown name, missing or spoiled archive.
        StorageError: the cache cannot be written.
    """
    if name == "pcb-synthetic":
        raise DataError("pcb-synthetic is drawn, not read: it takes no --from.")
    if not archive.exists():
        raise DataError(f"{archive}: no such file or folder.")
    if archive.is_dir():
        return _load(name, archive.absolute(), seed, allow_fetch=False)
    suffix = next((ending for ending in sorted(ARCHIVE_SUFFIXES, key=len)[::-1] if archive.name.endswith(ending)), None)
    if suffix is None:
        raise DataError(f"{archive}: not an archive that can be read ({', '.join(ARCHIVE_SUFFIXES)}), nor a folder.")
    prepared = _load(name, archive.absolute(), seed, allow_fetch=False)
    _keep(archive, download_root() / f"{name}{suffix}")
    return prepared


def known(name_or_folder: str, images: int | None = None) -> Known:
    """What can be said quickly: no image, no network, and labels only where val has to be split off.

    Args:
        name_or_folder: as for `prepare`.
        images: as for `prepare`; changes the counts.

    Raises:
        DataError: a folder is there, but it is no data set.
    """
    if name_or_folder == "pcb-synthetic":
        from recipebox.data import synthetic_pcb

        return Known(synthetic_pcb.NAMES, synthetic_pcb.counts(images), None, True)
    if name_or_folder in NAMES:
        module = _module(name_or_folder)
        there = _source(name_or_folder) is not None
        return Known(module.NAMES, _fewer(module.COUNTS, images), None if there else module.DOWNLOAD_BYTES, there)
    source = _source(name_or_folder)
    if source is None:
        return Known(None, None, None, False, _meant(name_or_folder))
    if source.is_file() and source.suffix not in {".yaml", ".yml"}:
        return Known(None, None, None, True)
    from recipebox.data import yolo_folder

    layout = yolo_folder.find_layout(source)
    counts = {"train": len(layout.train), "val": len(layout.val), "test": len(layout.test)}
    return Known(layout.names, _fewer(counts, images), None, True)


def _meant(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name, NAMES, n=1)), None)


def _fewer(counts: dict[str, int], images: int | None) -> dict[str, int]:
    return counts if images is None else {**counts, "train": min(images, counts["train"])}


def _source(name_or_folder: str) -> Path | None:
    """A folder or YAML file as given, else an archive or folder of that name in the data folders."""
    if not name_or_folder.strip():
        return None
    given = as_path(name_or_folder)
    # os.path answers False where pathlib raises: a name that is too long, a null byte.
    is_yaml = given.suffix in {".yaml", ".yml"} and os.path.isfile(given)
    if name_or_folder not in NAMES and (is_yaml or os.path.isdir(given)):
        return given.absolute()
    if len(given.parts) != 1 or name_or_folder in {".", ".."}:
        return None
    return find_source(name_or_folder)


def _module(name: str) -> ModuleType:
    from recipebox.data import coco8, deeppcb

    return {"deeppcb": deeppcb, "coco8": coco8}[name]


def folder_of(name: str) -> Path:
    """The folder, or YAML file, of a set in YOLO layout that a path or a name in the data folders means.

    Raises:
        DataError: there is none.
    """
    source = _source(name)
    if source is None:
        raise _unknown(name)
    return source if source.is_dir() or source.suffix in {".yaml", ".yml"} else _unpacked(name, source)


def _unknown(name: str) -> DataError:
    from recipebox.data.yolo_description import refuse_closed

    refuse_closed(as_path(name))
    near = _meant(name)
    meant = f" Did you mean {near}?" if near else ""
    return DataError(
        f"{name}: no such data set.{meant} Known by name: {', '.join(NAMES)}. Anything else is a folder in YOLO "
        f"layout, given as a path or placed in {data_root()} (set RECIPEBOX_DATA to look elsewhere)."
    )


def _load(name: str, source: Path | None, seed: int, allow_fetch: bool, leave_out: bool = False) -> DetectionSet:
    if name in NAMES:
        loaded: DetectionSet = _module(name).load(source, allow_fetch=allow_fetch)
        return loaded
    if source is None:
        raise _unknown(name)
    from recipebox.data import yolo_folder

    if source.is_file() and source.suffix not in {".yaml", ".yml"}:
        source = _unpacked(name, source)
    return yolo_folder.load(source, seed=seed, leave_out=leave_out)


def _unpacked(name: str, archive: Path) -> Path:
    from recipebox.data.archive import unpacked

    target = unpacked(name, archive, lambda path: path)
    if (target / "images").is_dir() or any(target.glob("*.y*ml")):
        return target
    folders = [path for path in target.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    # The one folder that the set is in; what lies beside it does not count, be it a README or a folder of its own.
    described = [path for path in folders if any(path.glob("*.y*ml")) or (path / "classes.txt").is_file()]
    inside = described or folders
    return inside[0] if len(inside) == 1 else target


def _subset(whole: DetectionSet, images: int | None, seed: int) -> DetectionSet:
    """`whole` with a seeded choice of its training images; val and test stay as they are, so numbers compare."""
    if images is None or images >= len(whole.train):
        return whole
    from recipebox.data.check import check_images, refuse_without_boxes, set_sha256
    from recipebox.data.detection_set import Split

    chosen = sorted(random.Random(seed).sample(range(len(whole.train)), images))
    train = Split(tuple(whole.train.images[i] for i in chosen), tuple(whole.train.boxes[i] for i in chosen))
    refuse_without_boxes(whole.name, "train", train, f"`data.images: {images}` chose them: more images have some.")
    splits = (("train", train), ("val", whole.val), ("test", whole.test))
    checked = check_images([path for _, split in splits for path in split.images])
    note = f"{images} of {len(whole.train)} training images, chosen with seed {seed}"
    return dataclasses.replace(
        whole, train=train, sha256=set_sha256(whole.names, splits, checked), notes=(*whole.notes, note)
    )


def _keep(archive: Path, out: Path) -> None:
    """Copy the archive to where it is found by name from now on, unless it is there already."""
    import shutil

    from recipebox.data.places import make_folder
    from recipebox.run_dir import atomic_writer

    if out.exists() and out.samefile(archive):
        return
    make_folder(out.parent)
    with archive.open("rb") as source, atomic_writer(out) as file:
        shutil.copyfileobj(source, file, 1 << 20)
