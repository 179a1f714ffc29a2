"""Unpacking an archive that nobody vouches for: no path leaves the folder, no links, no bombs."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from recipebox.data.places import cache_root, folder_writer
from recipebox.errors import DataError
from recipebox.progress import say

MAX_BYTES = 4 * 2**30
"""The most that may be unpacked from one archive, bytes."""
MAX_FILES = 200_000
"""The most files that may be unpacked from one archive."""

Chooser = Callable[[PurePosixPath], PurePosixPath | None]
"""Takes a member's path and says where it goes below the target folder; None leaves it out."""

# RuntimeError: a zip with a password, or packed by a compression that zipfile does not know.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked(name: str, archive: Path, choose: Chooser) -> Path:
    """The archive's folder in the cache, named by its content and unpacked where it is not there yet.

    Raises:
        DataError: as unpack, or the archive cannot be read.
        StorageError: the cache refuses.
    """
    try:
        target = cache_root() / f"{name}-{file_sha256(archive)[:12]}"
    except OSError as error:
        raise DataError(f"{archive}: {error.strerror}. Mend its permissions, or copy it again.") from None
    if not target.is_dir():
        say(f"unpacking {archive} to {target}")
        with folder_writer(target) as folder:
            unpack(archive, folder, choose)
    return target


def unpack(archive: Path, target: Path, choose: Chooser) -> int:
    """Unpack the regular files that `choose` wants into `target` and return how many they were.

    Only plain files are written, each by its name as `choose` gives it, so an archive's links, devices, owners and
    permissions never reach the disk.

    Raises:
        DataError: the archive is damaged, has a member that would leave the folder, a link, or is too large.
        OSError: the disk refuses; the caller turns it into a StorageError.
    """
    written, files = 0, 0
    try:
        for name, open_member in _members(archive):
            goes_to = choose(_checked(archive, name))
            if goes_to is None:
                continue
            files += 1
            path = target / _checked(archive, str(goes_to))
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, path.open("xb") as out:
                written += _copy(archive, source, out, MAX_BYTES - written)
            if files > MAX_FILES:
                raise DataError(f"{archive}: more than {MAX_FILES} files. Unpack it by hand and name the folder.")
    except FileExistsError as error:
        raise DataError(f"{archive}: holds {Path(error.filename).name} twice. Fetch or pack it again.") from None
    except _BROKEN as error:
        raise DataError(f"{archive}: damaged or incomplete ({error}). Fetch or copy the archive again.") from None
    return files


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                    raise DataError(_link(archive, entry.filename))
                if not entry.is_dir():
                    yield entry.filename, lambda entry=entry: packed.open(entry)  # type: ignore[misc]
        return
    with tarfile.open(archive, "r:*") as packed_tar:
        for member in packed_tar:
            if member.isdir() or member.type in (tarfile.XGLTYPE, tarfile.XHDTYPE):
                continue
            if not member.isreg():
                raise DataError(_link(archive, member.name))
            source = packed_tar.extractfile(member)
            if source is None:
                raise DataError(_link(archive, member.name))
            yield member.name, lambda source=source: source  # type: ignore[misc]


def _link(archive: Path, name: str) -> str:
    return (
        f"{archive}: member {name!r} is a link or a device, not a file. Data sets are plain files; "
        "do not trust this archive, or unpack it by hand and name the folder."
    )


def _checked(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match("[A-Za-z]:", name):
        raise DataError(
            f"{archive}: member {name!r} would be written outside the data folder. Nothing was unpacked; "
            "do not trust this archive."
        )
    return path


def _copy(archive: Path, source: IO[bytes], out: IO[bytes], budget: int) -> int:
    """Copy at most `budget` bytes; the sizes an archive claims are not believed."""
    copied = 0
    while block := source.read(1 << 20):
        copied += len(block)
        if copied > budget:
            raise DataError(
                f"{archive}: more than {MAX_BYTES // 2**30} GiB when unpacked. Unpack it by hand and name the folder."
            )
        out.write(block)
    return copied
