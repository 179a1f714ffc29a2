"""A new folder in YOLO layout: links to the images, labels, data.yaml, and a record of where it came from."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipebox.adopt.found import Item
from recipebox.adopt.survey import telling_folders
from recipebox.data.places import new_folder
from recipebox.errors import DataError
from recipebox.progress import track
from recipebox.run_dir import write_json, write_text

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def write_set(
    target: Path,
    items: Sequence[Item],
    sides: Sequence[str],
    names: Sequence[str],
    root: Path,
    *,
    copy: bool,
    record: dict[str, Any],
) -> bool:
    """Write the set whole or not at all.

    Args:
        target: a folder that does not exist.
        items: with images below `root`.
        sides: the split of each.
        names: of the classes, by number.
        root: the user's folder; it is only read.
        copy: images instead of links to them.
        record: for adopted.json.

    Returns:
        Whether images were copied: as asked, or because links are not possible there.

    Raises:
        DataError: an image or label to be copied cannot be read.
        StorageError: the place refuses.
    """
    placer = _Placer(copy)
    with new_folder(target) as folder:
        taken: set[Path] = set()
        for item, side in track(list(zip(items, sides, strict=True)), "writing the set"):
            inside = item.image.relative_to(root) if item.image.is_relative_to(root) else Path(item.image.name)
            place = _free(Path(side, *telling_folders(inside), inside.name), taken)
            placer.put(item.image, folder / "images" / place)
            label = (folder / "labels" / place).with_suffix(".txt")
            if item.label is None:
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(
                    "".join(f"{box[0]} {' '.join(f'{each:.7f}' for each in box[1:])}\n" for box in item.boxes)
                )
            elif item.label.is_file():
                placer.put(item.label, label)
        write_text(folder / "data.yaml", _description(names, sides, root))
        write_json(folder / "adopted.json", record | {"copied": placer.copies})
    return placer.copies


class _Placer:
    """Links files, or copies them once the file system has refused a link."""

    def __init__(self, copies: bool) -> None:
        self.copies = copies

    def put(self, source: Path, place: Path) -> None:
        """`source` as `place`."""
        place.parent.mkdir(parents=True, exist_ok=True)
        if not self.copies:
            try:
                os.symlink(source, place)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self.copies = True
        try:
            if not source.is_file():
                raise OSError(errno.EINVAL, "not a plain file")
            file = source.open("rb")
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror}). Mend it, or take it out.") from None
        with file, place.open("xb") as out:
            shutil.copyfileobj(file, out, 1 << 20)


def _free(place: Path, taken: set[Path]) -> Path:
    """`place`, or with a number where another image would share its label file."""
    number, free = 1, place
    while free.with_suffix("") in taken:
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    taken.add(free.with_suffix(""))
    return free


def _description(names: Sequence[str], sides: Sequence[str], root: Path) -> str:
    import yaml

    shown = str(root).encode("ascii", "backslashreplace").decode()
    splits = {side: f"images/{side}" for side in ("train", "val", "test") if side in sides}
    body = yaml.safe_dump(splits | {"names": list(names)}, allow_unicode=True, sort_keys=False, width=110)
    return f"# Written by `recipebox init` from {' '.join(shown.split())}\n{body}"
