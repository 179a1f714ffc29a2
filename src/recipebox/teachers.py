"""The runs a student may learn from: found by their lock, waited for while others train them, checked before use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from recipebox.endings import folder_locked
from recipebox.errors import RunError, storage_errors
from recipebox.progress import say
from recipebox.run_dir import RunDir, runs_root
from recipebox.stages import read_lock

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
