"""Everything recipebox raises on purpose.

RecipeboxError                    exit code 1
├── BadInput                      exit code 2: what the user gave cannot be used
│   ├── RecipeError               one or many problems in a recipe, each with file and line
│   ├── PlanConflict              the recipe is well formed, but its parts exclude each other
│   ├── DataError                 a data set is missing, incomplete or spoiled
│   ├── WeightsError              weights are missing, unknown, corrupted or do not fit
│   └── RunError                  a run folder is missing, unfinished or not a run
│       └── RunBusy               another process is at work on it
├── CheckFailed                   exit code 3: everything ran, and a measured check says no
├── StorageError                  exit code 1: disk full, no permission, read-only
├── ConnectionFailed              exit code 1: a host cannot be reached, is not the one it was, or was lost
└── TrainingFailed                exit code 1: diverged, out of memory

A message says what is wrong, where, and how to mend it. The command line prints it without a traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class RecipeboxError(Exception):
    """Base of all errors that recipebox raises on purpose."""

    exit_code = 1


class BadInput(RecipeboxError):
    """What the user gave cannot be used."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a recipe: where it stands, what is wrong, and what would be right."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class RecipeError(BadInput):
    """A recipe has one or more problems; all of them are reported at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PlanConflict(BadInput):
    """The recipe is well formed, but its parts exclude each other or the machine."""


class DataError(BadInput):
    """A data set is missing, incomplete or spoiled."""


class WeightsError(BadInput):
    """Weights are missing, unknown, corrupted or do not fit the model."""


class RunError(BadInput):
    """A run folder is missing, unfinished or not a run."""


class RunBusy(RunError):
    """Another process is at work on a run."""


class CheckFailed(RecipeboxError):
    """Everything ran, and a measured check says no."""

    exit_code = 3


class StorageError(RecipeboxError):
    """The file system refused: full, read-only or not permitted."""


class ConnectionFailed(RecipeboxError):
    """A host cannot be reached, is not the one whose key is known, or was lost on the way."""


class TrainingFailed(RecipeboxError):
    """Training cannot go on: the loss is not finite, or memory ran out."""


_ROOM = (
    "Free some space or choose another place (RECIPEBOX_RUNS for runs, XDG_CACHE_HOME for prepared data), "
    "then run the same command again."
)
_AWAY = "Move what is there away, then run the same command again."
_STORAGE = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EACCES: ("no permission to write", _ROOM),
    errno.EPERM: ("no permission to write", _ROOM),
    errno.EROFS: ("the file system is read-only", _ROOM),
    errno.EIO: ("the disk, or the way to it, fails", "Check it, then run the same command again."),
    errno.EISDIR: ("a folder stands where a file belongs", _AWAY),
    errno.EEXIST: ("a file stands where a folder belongs", _AWAY),
    errno.ENOTDIR: ("a file stands where a folder belongs", _AWAY),
    errno.ELOOP: ("a link that leads nowhere stands in its place", _AWAY),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter one."),
    errno.ENOENT: ("its folder is gone", "It was moved or deleted while it was being worked on."),
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating system refusal while writing `path` into a StorageError that names it.

    Raises:
        StorageError: the disk is full, the place is read-only or not permitted, or something else stands there.
    """
    try:
        yield
    except OSError as error:
        known = _STORAGE.get(error.errno or 0)
        if known is None:
            raise
        reason, mend = known
        raise StorageError(f"{path}: {reason}. {mend}") from error
