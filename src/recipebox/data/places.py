"""Where data and weights are looked for, and where prepared data is kept. Nothing heavy is imported here."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recipebox.errors import BadInput, StorageError, storage_errors

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
"""What a data set may be packed as."""

_STALE_SECONDS = 24 * 3600


def as_path(text: str) -> Path:
    """A path as people write it. The `~` of a user who does not exist stays as it is, so the path is not found."""
    return Path(os.path.expanduser(text))


def user_cache() -> Path:
    """$XDG_CACHE_HOME/recipebox, else ~/.cache/recipebox."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says to ignore a relative path.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "recipebox"


def data_root() -> Path:
    """Where data sets are looked for: $RECIPEBOX_DATA, else the user's cache. It may be read-only."""
    given = os.environ.get("RECIPEBOX_DATA")
    return as_path(given).absolute() if given else user_cache() / "data"


def cache_root() -> Path:
    """Where unpacked and drawn data sets are kept."""
    return user_cache() / "prepared"


def download_root() -> Path:
    """Where fetched archives are kept; always writable ground, unlike `data_root`."""
    return user_cache() / "data"


def weights_roots() -> tuple[Path, ...]:
    """Where weights are looked for, first one first. The last is where fetched ones are kept."""
    given = os.environ.get("RECIPEBOX_WEIGHTS")
    own = user_cache() / "weights"
    return (as_path(given).absolute(), own) if given else (own,)


def find_source(name: str) -> Path | None:
    """The archive or folder of a data set in `data_root` or among the fetched ones; None where there is none."""
    for root in dict.fromkeys((data_root(), download_root())):
        # os.path answers False where pathlib raises: a name that is too long, a null byte.
        for suffix in ARCHIVE_SUFFIXES:
            if os.path.isfile(root / f"{name}{suffix}"):
                return root / f"{name}{suffix}"
        if os.path.isdir(root / name):
            return root / name
    return None


def make_folder(path: Path) -> Path:
    """Make a folder and its parents.

    Raises:
        StorageError: the place is full, read-only, not permitted, or a file stands where a folder should.
    """
    with storage_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StorageError(
                f"{path}: a file stands where a folder is needed ({error.filename}). "
                "Move it away, or choose another place with XDG_CACHE_HOME."
            ) from None
    return path


@contextmanager
def folder_writer(target: Path) -> Iterator[Path]:
    """Fill a temporary folder beside `target`, in the cache; it becomes `target` when the block ends without an error.

    `target` is whole or absent, never half. Where another process was quicker, its folder stays: both were made from
    the same content, which is what the name of a prepared folder says.

    Raises:
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    sweep_stale(make_folder(target.parent))
    with _filled(target) as temporary:
        yield temporary
        try:
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():
                raise


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """The same at a place of the user's choice, where nothing else is ever touched.

    Raises:
        StorageError: as folder_writer.
        BadInput: something came to stand there meanwhile; nothing is left behind.
    """
    make_folder(target.parent)
    with _filled(target) as temporary:
        yield temporary
        try:
            os.rename(temporary, target)
        except OSError as error:
            if not os.path.lexists(target):
                raise
            raise BadInput(
                f"{target}: came to be while this ran ({error.strerror}), and nothing is overwritten. "
                "Run the same command again with another place."
            ) from None


@contextmanager
def _filled(target: Path) -> Iterator[Path]:
    temporary = target.parent / f".{target.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.part"
    with storage_errors(target):
        try:
            temporary.mkdir()
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sweep_stale(parent: Path) -> None:
    """Remove what killed processes left half made in a folder of ours more than a day ago."""
    with suppress(OSError):
        for leftover in parent.glob(".*.part"):
            if time.time() - leftover.lstat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
