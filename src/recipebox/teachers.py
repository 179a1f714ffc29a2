"""The runs a student may learn from: found by their lock, waited for while others train them, checked before use."""

from __future__ import annotations

import time
from contextlib import suppress

from recipebox.errors import RunError
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


def wait_for(run: RunDir, whose: str = "") -> None:
    """Return once no other process is working on `run`; a line that begins with `whose` says that it is waited for."""
    if run.state()[0] == "running":
        say(f"{whose}waiting for {run.root}, which another process is working on")
        while run.state()[0] == "running":
            time.sleep(_LOOK_AGAIN_S)


def finished_teacher(runs: list[RunDir]) -> RunDir | None:
    """The first of `runs` that is finished with the weights it trained; None where there is none.

    One that another process trains is waited for: two jobs with the same teacher train it once.
    """
    for run in runs:
        wait_for(run, "teacher: ")
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
