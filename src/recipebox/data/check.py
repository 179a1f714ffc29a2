"""Every image is decoded to its last line once, before anything is trained on it, and hashed on the way.

`cv2.imread` returns a truncated JPEG as an image with a grey rest, so a half-copied data set would train without a
word. Pillow refuses it; and OpenCV refuses some that Pillow takes, so both have to agree. Decoding 1,500 boards takes
seconds, so the outcome is remembered by (path, size, mtime).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.data.places import cache_root
from recipebox.data.quiet_decoders import decoders_quiet
from recipebox.errors import DataError, RecipeboxError
from recipebox.run_dir import write_json

MAX_LISTED = 20
LEAVE_OUT = (
    "`recipebox check-data` shows them all and --fix writes a corrected copy; a recipe with `data.errors: leave_out` "
    "trains on a folder without such images."
)
_MEMORY_VERSION = 1


@dataclass(frozen=True)
class CheckedImage:
    """An image that decodes completely."""

    path: Path
    sha256: str
    width: int
    height: int


def check_images(
    images: Sequence[Path], description: str = "checking images", *, spoiled: dict[Path, str] | None = None
) -> dict[Path, CheckedImage]:
    """Decode every image completely, or look up that it was done before.

    Args:
        spoiled: images that cannot be used are added here, with what is wrong in words, and left out; None: refused.

    Raises:
        DataError: images are missing, truncated or not images; up to 20 are named.
    """
    unique = list(dict.fromkeys(images))
    memory_file = _memory_file(unique)
    memory = _read_memory(memory_file)
    checked: dict[Path, CheckedImage] = {}
    problems: dict[Path, str] = {}
    stamps: dict[Path, list[int]] = {}
    unknown: list[Path] = []
    for path in unique:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            problems[path] = f"{path}: {getattr(error, 'strerror', None) or error}"
            continue
        if not stat.S_ISREG(status.st_mode):
            problems[path] = f"{path}: not a plain file"
            continue
        stamps[path] = [status.st_size, status.st_mtime_ns]
        known = memory.get(str(path))
        if known is not None and known[:2] == stamps[path]:
            checked[path] = CheckedImage(path, known[2], known[3], known[4])
        else:
            unknown.append(path)
    with decoders_quiet():
        for path, outcome in zip(unknown, _decode_all(unknown, description), strict=True):
            if isinstance(outcome, CheckedImage):
                checked[path] = outcome
            else:
                problems[path] = outcome
    if unknown:
        _remember(memory_file, stamps, checked)
    if problems and spoiled is None:
        raise DataError(
            listed(
                f"{len(problems)} of {len(unique)} images cannot be used",
                list(problems.values()),
                "Replace these files (copy or unpack the data set again) or take them out, with their labels. "
                f"{LEAVE_OUT}",
            )
        )
    if spoiled is not None:
        spoiled.update(problems)
    return checked


def set_sha256(names: Sequence[str], splits: Iterable[tuple[str, Split]], checked: dict[Path, CheckedImage]) -> str:
    """The hash of a data set: class names, split membership and order, image bytes and boxes. Paths do not count."""
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    for split_name, split in splits:
        digest.update(f"\n{split_name} {len(split)}\n".encode())
        for path, boxes in split:
            digest.update(bytes.fromhex(checked[path].sha256))
            digest.update(len(boxes).to_bytes(4, "little"))
            digest.update(boxes.astype("<f4").tobytes())
    return digest.hexdigest()


def checked_set(
    name: str,
    names: Sequence[str],
    train: Split,
    val: Split,
    test: Split,
    notes: Sequence[str] = (),
    *,
    leave_out: bool = False,
) -> DetectionSet:
    """A DetectionSet whose images all decode, with its hash; with `leave_out` those that do not are left out.

    Raises:
        DataError: a split is empty, train or val has no boxes, or images are spoiled.
    """
    spoiled: dict[Path, str] | None = {} if leave_out else None
    checked = {}
    if spoiled is not None:
        paths = [path for split in (train, val, test) for path in split.images]
        checked = check_images(paths, f"checking {name}", spoiled=spoiled)
        train, val, test = (split.without(spoiled) for split in (train, val, test))
    if spoiled:
        notes = [*notes, f"{len(spoiled)} images left out that cannot be used ({next(iter(spoiled.values()))} …)"]
    splits = (("train", train), ("val", val), ("test", test))
    for split_name, split in splits:
        if not len(split):
            raise DataError(f"{name}: the {split_name} split has no images. Put images there, or correct the lists.")
        if split_name != "test":
            refuse_without_boxes(name, split_name, split, "Are the label files where they should be, and filled?")
    checked = checked or check_images([path for _, split in splits for path in split.images], f"checking {name}")
    return DetectionSet(
        name,
        tuple(names),
        train,
        val,
        test,
        sha256=set_sha256(names, splits, checked),
        notes=(*notes, *_leaks(splits, checked)),
    )


def refuse_without_boxes(name: str, split_name: str, split: Split, mend: str) -> None:
    """Raise a DataError, with what mends it, where a split that needs boxes has none."""
    if not any(len(boxes) for boxes in split.boxes):
        use = "learn from" if split_name == "train" else "choose the best epoch and the score threshold by"
        raise DataError(
            f"{name}: none of the {len(split)} {split_name} images has a box, so there is nothing to {use}. {mend}"
        )


def _leaks(splits: Sequence[tuple[str, Split]], checked: dict[Path, CheckedImage]) -> Iterator[str]:
    """Images that are in two splits, whatever their names. A val that serves as test is said elsewhere."""
    content = {name: [checked[path].sha256 for path in split.images] for name, split in splits}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if (first, second) == ("val", "test") and splits[1][1].images == splits[2][1].images:
            continue
        before = set(content[first])
        twice = sum(sha256 in before for sha256 in content[second])
        if twice:
            yield (
                f"{twice} of the {len(content[second])} {second} images are also {first} images, byte for byte: "
                f"numbers measured on {second} are too good"
            )


def listed(head: str, problems: Sequence[str], mend: str) -> str:
    """A message with up to 20 problems, one a line, and the count of the rest."""
    lines = [f"{head}:", *(f"  {problem}" for problem in problems[:MAX_LISTED])]
    if len(problems) > MAX_LISTED:
        lines.append(f"  … and {len(problems) - MAX_LISTED} more")
    return "\n".join([*lines, mend])


def _decode_all(paths: Sequence[Path], description: str) -> Iterable[CheckedImage | str]:
    if not paths:
        return
    from recipebox.progress import track

    # Threads, not processes: Pillow and hashlib let go of the interpreter lock while they work.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        yield from track(pool.map(_decode, paths), description, total=len(paths))


def _decode(path: Path) -> CheckedImage | str:
    """Decode one image by the rules that check-data tells of."""
    from recipebox.data.findings.finding import Fault
    from recipebox.data.findings.image_file import decode_fault, header_size, read_plain, too_large
    from recipebox.data.letterbox import read_image

    content = read_plain(str(path))
    if isinstance(content, Fault):
        return f"{path}: {content.message}"
    size = header_size(content)
    fault = (too_large(size) if size else None) or decode_fault(content)
    if fault is not None:
        return f"{path}: {fault.message}"
    try:
        height, width = read_image(path).shape[:2]
    except DataError as error:
        return str(error)
    return CheckedImage(path, hashlib.sha256(content).hexdigest(), width, height)


def _memory_file(images: Sequence[Path]) -> Path:
    folders = "\n".join(sorted({str(path.parent) for path in images}))
    return cache_root() / "checked" / f"{hashlib.sha256(os.fsencode(folders)).hexdigest()[:16]}.json"


def _read_memory(path: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != _MEMORY_VERSION:
            return {}
        images: dict[str, list[Any]] = document["images"]
        return {name: entry for name, entry in images.items() if len(entry) == 5}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember(path: Path, stamps: dict[Path, list[int]], checked: dict[Path, CheckedImage]) -> None:
    images = {
        str(image.path): [*stamps[image.path], image.sha256, image.width, image.height] for image in checked.values()
    }
    # Only saves time: a cache that cannot be written must not stop a data set that can be read.
    with suppress(RecipeboxError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"version": _MEMORY_VERSION, "images": images})
