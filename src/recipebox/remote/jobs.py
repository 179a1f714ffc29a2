"""The folders of jobs on the devbox's side: docs/run-files.md, runs/.jobs. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
EXIT_BYTES = 4096
"""Room for exit.json, taken when a job begins: how it ended is noted on a full disk too."""


@dataclass(frozen=True)
class Job:
    """The folder of one job."""

    root: Path

    @property
    def asked(self) -> dict[str, Any]:
        return _read(self.root / "job.json")

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and for ever where its keeper was killed."""
        code = _read(self.root / "exit.json").get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def lost_bytes(self) -> int:
        """Bytes of its output that found no room. 0 while it runs."""
        lost = _read(self.root / "exit.json").get("lost_bytes")
        return lost if isinstance(lost, int) else 0

    def make(self, asked: dict[str, Any]) -> None:
        """Make the folder, with room for how the job will end. Raises OSError."""
        self.root.mkdir(mode=0o700)
        _write(self.root / "job.json", asked)
        for name in ("stdout", "stderr"):
            (self.root / name).touch()
        self._ending.write_bytes(b" " * EXIT_BYTES)

    def note_process(self, pid: int) -> None:
        """Raises OSError."""
        _write(self.root / "process.json", {"pid": pid})

    def note_end(self, document: dict[str, Any]) -> None:
        """Write exit.json into the room that `make` took. Raises OSError."""
        with open(self._ending, "r+b") as file:
            file.write(json.dumps(document).encode().ljust(EXIT_BYTES - 1) + b"\n")
        os.replace(self._ending, self.root / "exit.json")

    @property
    def _ending(self) -> Path:
        return self.root / ".exit.json.part"

    def alive(self) -> bool:
        """Whether its keeper holds the lock."""
        try:
            folder = os.open(self.root, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(folder)
        return False

    def state(self) -> str:
        """running, ended, or lost: its keeper went without a word."""
        if self.exit_code is not None:
            return "ended"
        return "running" if self.alive() else "lost"

    def signal(self, number: int) -> bool:
        """Send a signal to the command, where it still runs."""
        pid = _read(self.root / "process.json").get("pid")
        if not isinstance(pid, int) or self.state() != "running":
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True


def jobs_root() -> Path:
    """Where jobs are kept: beside the runs, so that they survive the container."""
    return Path(os.environ.get("RECIPEBOX_RUNS") or "runs").absolute() / ".jobs"


def all_jobs() -> list[Job]:
    """All jobs, latest first."""
    try:
        names = sorted((one.name for one in jobs_root().iterdir() if JOB_ID.fullmatch(one.name)), reverse=True)
    except OSError:
        return []
    return [Job(jobs_root() / name) for name in names]


def find_job(name: str) -> Job:
    """Raises ValueError where no job has that id."""
    job = Job(jobs_root() / name)
    if not JOB_ID.fullmatch(name) or not job.root.is_dir():
        raise ValueError(f"no job {name[:40]!r}")
    return job


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
