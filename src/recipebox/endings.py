"""How a job ends: the run's state in state.json, and signals as interrupts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from recipebox.errors import CheckFailed, RecipeboxError, RunBusy, StorageError, storage_errors
from recipebox.run_dir import RunDir


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a signal; `exit_code` is what the shell expects of it, the text what to tell."""

    def __init__(self, message: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class UnexpectedFailure(Exception):
    """Something that recipebox does not raise on purpose went wrong in a run; the cause is its `__cause__`."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        super().__init__(f"in {run_folder}")


@contextmanager
def claimed(run: RunDir) -> Iterator[None]:
    """Keep other processes from working on a run at the same time; the claim goes when the process goes.

    Raises:
        RunBusy: another process is at work on it.
    """
    with folder_locked(run.root, wait=False) as mine:
        if not mine:
            raise RunBusy(f"{run.root}: this run is being worked on by another process. Wait for it, or stop it first.")
        yield


@contextmanager
def folder_locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a folder's lock, which goes when the process goes; nothing is held on systems without locks.

    Args:
        wait: until another process lets go of it.

    Yields:
        False where another process holds it.

    Raises:
        StorageError: the folder cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield True
        return
    with storage_errors(folder):
        opened = os.open(folder, os.O_RDONLY)
    try:
        mine = True
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            mine = False
        except OSError:
            pass  # a file system without locks; state.json still says that a run is being worked on
        yield mine
    finally:
        os.close(opened)


@contextmanager
def state_kept(run: RunDir) -> Iterator[list[CheckFailed]]:
    """Claim the run, and say in state.json that it is being worked on, and how that ended. Raises as `claimed`.

    Yields:
        A list for the checks that say no: with any in it the run ends as failed.
    """
    with claimed(run):
        run.sweep()
        with _state_kept(run) as failed:
            yield failed


@contextmanager
def _state_kept(run: RunDir) -> Iterator[list[CheckFailed]]:
    failed: list[CheckFailed] = []
    run.set_state("running")
    try:
        yield failed
        run.set_state("failed" if failed else "finished", "; ".join(map(str, failed)))
    except KeyboardInterrupt as interrupt:
        _record(run, "stopped", str(interrupt) or "interrupted")
        raise
    except (RecipeboxError, UnexpectedFailure) as error:
        _record(run, "failed", str(error))
        raise
    except Exception as error:
        _record(run, "failed", f"{type(error).__name__}: {error}")
        raise UnexpectedFailure(run.root) from error


def _record(run: RunDir, state: Any, reason: str) -> None:
    """The state, where it can be written: a full disk must not hide what went wrong first."""
    with suppress(StorageError, OSError):
        run.set_state(state, reason)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the job as Ctrl-C does, in the order that leaves a run to resume."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}", 128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
