"""DeepPCB in its official layout: 1,500 binarized 640x640 board crops with six kinds of defects.

Source: https://github.com/tangsanli5201/DeepPCB (Tang et al., Online PCB Defect Detector On A New PCB Defect Dataset,
2019). Its authors ask for research use: the set is fetched by the user, and never shipped with this package.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recipebox.data.archive import unpacked
from recipebox.data.places import download_root
from recipebox.errors import DataError

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet, Split

NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
COUNTS = {"train": 700, "val": 300, "test": 500}
VAL_GROUPS = ("group00041", "group77000")
"""Boards of the trainval list that become val. Crops of one board repeat, so a split by image would leak."""
ADDRESS = "https://github.com/tangsanli5201/DeepPCB/archive/refs/heads/master.tar.gz"
DOWNLOAD_BYTES = 110_000_000
"""About; the archive holds the templates, too."""
SIDE = 640

_LISTS = {"trainval.txt": (1000, 6873), "test.txt": (500, 3140)}
"""Images and boxes, as published."""
CONTENT_SHA256 = "2b2b2bcec8967b7da0aa6da6ca57146fd84e03b61e6fc3b0c0832b5174b58c89"
"""Hash of ids, boxes and classes in the order of the lists: docs/decisions/deeppcb-content-digest.md says why."""


@dataclass(frozen=True)
class _Board:
    group: str
    image: Path
    boxes: tuple[tuple[int, int, int, int, int], ...]


def load(source: Path | None, *, allow_fetch: bool = True) -> DetectionSet:
    """DeepPCB from an archive or a folder, or fetched.

    Args:
        source: tar, zip or folder in the official layout; None to fetch it.
        allow_fetch: whether the network may be asked.

    Raises:
        DataError: missing, incomplete or spoiled; the message says what is missing.
        StorageError: the cache cannot be written.
    """
    from recipebox.data.check import checked_set

    fetched = source is None
    source = source or _fetch(allow_fetch)
    root = _pcb_data(source if source.is_dir() else unpacked("deeppcb", source, _wanted))
    trainval, test = (_boards(root, name, source) for name in _LISTS)
    notes = []
    digest = content_sha256(trainval, test)
    if digest != CONTENT_SHA256:
        told = f"the labels of {source} are not those known as DeepPCB (content digest {digest[:16]}…)"
        if fetched:
            source.unlink(missing_ok=True)
            raise DataError(
                f"deeppcb: {told}. The published set may have changed, or the transfer was tampered with; nothing was "
                f"kept. If you trust it, fetch {ADDRESS} by hand and run `recipebox data prepare deeppcb --from FILE`."
            )
        notes.append(told)
    return checked_set(
        "deeppcb",
        NAMES,
        _split([board for board in trainval if board.group not in VAL_GROUPS]),
        _split([board for board in trainval if board.group in VAL_GROUPS]),
        _split(test),
        notes,
    )


def content_sha256(*lists: list[_Board]) -> str:
    """Hash of what the lists and label files say, whatever their line ends and separators."""
    digest = hashlib.sha256()
    for boards in lists:
        for board in boards:
            digest.update(f"{board.group} {board.image.stem} {board.boxes}\n".encode())
        digest.update(b"--\n")
    return digest.hexdigest()


def _fetch(allow_fetch: bool) -> Path:
    from recipebox.data.fetch import download

    out = download_root() / "deeppcb.tar.gz"
    if not allow_fetch:
        raise DataError(
            f"deeppcb: not found in $RECIPEBOX_DATA or {out.parent}. Run `recipebox data prepare deeppcb` to fetch it "
            f"from {ADDRESS}, or place the archive as {out}."
        )
    # GitHub packs the archive anew when it likes: its bytes have no hash to check, so the content is checked.
    return download(ADDRESS, out, None, "deeppcb")


def _wanted(path: PurePosixPath) -> PurePosixPath | None:
    """Lists, test images and labels; the templates are half of the bytes and no detector sees them."""
    if "PCBData" not in path.parts:
        return None
    inside = PurePosixPath(*path.parts[path.parts.index("PCBData") :])
    return inside if path.suffix == ".txt" or path.name.endswith("_test.jpg") else None


def _pcb_data(folder: Path) -> Path:
    """The folder with the lists: `folder` itself, or PCBData at most two levels below."""
    for candidate in (
        folder,
        folder / "PCBData",
        *sorted(folder.glob("*/PCBData")),
        *sorted(folder.glob("*/*/PCBData")),
    ):
        if all((candidate / name).is_file() for name in _LISTS):
            return candidate
    raise DataError(
        f"{folder}: not DeepPCB's official layout: no PCBData folder with {' and '.join(_LISTS)}. "
        f"Take the whole repository ({ADDRESS})."
    )


def _boards(root: Path, list_name: str, source: Path) -> list[_Board]:
    from recipebox.data.check import listed

    images, boxes = _LISTS[list_name]
    problems: list[str] = []
    boards = []
    for number, line in enumerate(_text(root / list_name).splitlines(), start=1):
        if line.strip():
            board = _board(root, line.split(), f"{root / list_name}:{number}", problems)
            boards += [board] if board is not None else []
    found = sum(len(board.boxes) for board in boards)
    if len(boards) + len(problems) != images and len(boards) != images:
        problems.append(f"{root / list_name}: {len(boards)} boards, published are {images}")
    elif found != boxes and not problems:
        problems.append(f"{root / list_name}: its labels hold {found} boxes, published are {boxes}")
    if problems:
        mend = f"Unpack or fetch the whole set again ({ADDRESS})."
        raise DataError(listed(f"deeppcb: {source} is incomplete, {len(problems)} problems", problems, mend))
    return boards


def _board(root: Path, fields: list[str], where: str, problems: list[str]) -> _Board | None:
    """One line of a list: `group/…/ID.jpg group/…_not/ID.txt`; the image's file is called ID_test.jpg."""
    if len(fields) != 2 or any(field.startswith("/") or ".." in field.split("/") for field in fields):
        problems.append(f"{where}: expected an image and a label file, found {' '.join(fields)[:80]}")
        return None
    image = root / fields[0].replace(".jpg", "_test.jpg")
    labels = root / fields[1]
    if not image.is_file():
        problems.append(f"{image}: missing (listed in {where})")
        return None
    if not labels.is_file():
        problems.append(f"{labels}: missing (listed in {where})")
        return None
    boxes = []
    for number, line in enumerate(_text(labels).splitlines(), start=1):
        if line.strip():
            try:
                boxes.append(_box(line))
            except ValueError as error:
                problems.append(f"{labels}:{number}: {error}")
                return None
    return _Board(fields[0].split("/")[0], image, tuple(boxes))


def _box(line: str) -> tuple[int, int, int, int, int]:
    """`x1 y1 x2 y2 type`. The set's README writes commas, its files have spaces: both are read."""
    fields = line.replace(",", " ").split()
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields, expected x1 y1 x2 y2 type")
    x1, y1, x2, y2, kind = map(int, fields)
    if not (0 <= x1 < x2 <= SIDE and 0 <= y1 < y2 <= SIDE):
        raise ValueError(f"box {x1} {y1} {x2} {y2} is not inside the {SIDE}x{SIDE} image")
    if not 1 <= kind <= len(NAMES):
        raise ValueError(f"type {kind} is out of range 1..{len(NAMES)}")
    return x1, y1, x2, y2, kind


def _split(boards: list[_Board]) -> Split:
    import numpy as np

    from recipebox.data.detection_set import Split

    rows = []
    for board in boards:
        pixels = np.array(board.boxes, dtype=np.float64).reshape(-1, 5)
        corner, far = pixels[:, 0:2], pixels[:, 2:4]
        rows.append(
            np.hstack([pixels[:, 4:5] - 1, (corner + far) / 2 / SIDE, (far - corner) / SIDE]).astype(np.float32)
        )
    return Split(tuple(board.image for board in boards), tuple(rows))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Unpack the set again.") from None
