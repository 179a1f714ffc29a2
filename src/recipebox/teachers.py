"""The runs a student may learn from: found by their lock, waited for while others train them, checked before use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.endings import folder_locked
from recipebox.errors import RunError, storage_errors
from recipebox.progress import say
from recipebox.run_dir import RunDir, runs_root
from recipebox.stages import read_lock

if TYPE_CHECKING:
    from recipebox.recipe.plan import Plan

_LOOK_AGAIN_S = 1.0


def runs_with_lock(recipe: str, digest: str) -> list[RunDir]:
    """Runs of a recipe whose lock has this digest, oldest first: a resumed student finds the teacher it began with."""
    from recipebox.recipe.lock import lock_digest

    found = []
    for folder in sorted(path.parent for path in (runs_root() / recipe).glob("*/lock.json")):
        with suppress(RunError):
            run = RunDir.open(folder)
            if lock_digest(read_lock(run)) == digest:
                found.append(run)
    return found


@contextmanager
def settled_runs(recipe: str, digest: str, whose: str = "") -> Iterator[list[RunDir]]:
    """As `runs_with_lock`, once no process is working on any of them.

    Until the block ends nobody else looks: whoever makes the run that is not there makes the only one.

    Args:
        whose: what a line begins with that says which run is waited for.

    Raises:
        StorageError: the recipe's folder of runs cannot be made.
    """
    folder = runs_root() / recipe
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        with folder_locked(folder, wait=True):
            found = runs_with_lock(recipe, digest)
            busy = next((run for run in found if run.state()[0] == "running"), None)
            if busy is None:
                yield found
                return
        wait_for(busy, whose)


def wait_for(run: RunDir, whose: str = "") -> None:
    """Return once no other process is working on `run`; a line that begins with `whose` says that it is waited for."""
    say(f"{whose}waiting for {run.root}, which another process is working on")
    time.sleep(_LOOK_AGAIN_S)
    while run.state()[0] == "running":
        time.sleep(_LOOK_AGAIN_S)


def finished_teacher(runs: list[RunDir]) -> RunDir | None:
    """The first of `runs` that is finished with the weights it trained; None where there is none."""
    for run in runs:
        if run.state()[0] == "finished" and _intact(run):
            say(f"teacher: {run.root} is reused, its lock is the same")
            return run
    return None


def run_as_it_is(teacher: Plan, lock: dict[str, Any] | None = None) -> RunDir:
    """The run that a recipe names as a teacher.

    Args:
        teacher: its plan.
        lock: the student's of it; None: the student has none yet.

    Raises:
        RunError: gone, no longer finished, spoiled, or another run than the student began with.
    """
    from recipebox.recipe.lock import lock_digest

    run = RunDir.open(Path(teacher.run or "").resolve())
    if run.state()[0] != "finished":
        raise RunError(f"teacher: {run.root} is {run.state()[0]}; only a finished run teaches.")
    if lock is not None and lock_digest(read_lock(run)) != lock_digest(lock):
        raise RunError(
            f"teacher: {run.root} is not the run that the student began with. Put that one back, or train the "
            "student's recipe again."
        )
    if not _intact(run):
        raise RunError(f"teacher: {run.root} cannot teach. Put its weights back as they were, or name another run.")
    return run


def _intact(run: RunDir) -> bool:
    """Whether a finished run's weights are those that training wrote."""
    from recipebox.data.archive import file_sha256

    try:
        recorded = run.read_result("train")["weights"]["best"]["sha256"]
        whole: bool = file_sha256(run.best) == recorded
    except (RunError, KeyError, TypeError, OSError):
        whole = False
    if not whole:
        say(f"teacher: {run.root} is not reused, its weights are not those that were trained")
    return whole
