"""recipebox in the devbox as if it ran here: its output, its exit code, Ctrl-C; and coming back to it.

What runs is a job of the keeper (keeper.py): it goes on when this side is lost. Arguments travel as JSON on the
keeper's stdin; of what a shell reads, all is fixed but a job's id, which is checked.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from recipebox.errors import BadInput, ConnectionFailed, StorageError
from recipebox.progress import say
from recipebox.remote.hosts import Host, connected
from recipebox.remote.keeper import NO_ROOM

if TYPE_CHECKING:
    from fabric import Connection

KEEPER = "python -m recipebox.remote.keeper"
_JOB = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_PASSED_ON = ("RECIPEBOX_DEBUG", "OMP_NUM_THREADS", "TERM")
CHUNK = 1 << 16


class Detached(Exception):
    """The user left (Ctrl-\\), and the job goes on."""


def run_inside(host: Host, arguments: Sequence[str], folder: Path | None) -> int:
    """Run `recipebox ARGUMENTS` on a host, in a folder or in its project, and show it here; its exit code.

    Raises:
        BadInput: the other side does not understand it.
        ConnectionFailed: there is no way to it, or the way was lost; the job then goes on.
    """
    with connected(host) as connection:
        job = start_job(connection, arguments, folder)
        return follow_job(connection, host, job, tail=False)


def attach(host: Host, job: str | None) -> int:
    """Come back to a job: the one that runs, or the latest; its exit code.

    Raises:
        BadInput: there is none.
        ConnectionFailed: as `run_inside`.
    """
    with connected(host) as connection:
        jobs = list_jobs(connection)
        if job is None:
            running = [one for one in jobs if one["state"] == "running"]
            if not jobs:
                raise BadInput(f"{host.name}: nothing was run there yet. `make train` begins something.")
            chosen = (running or jobs)[0]
            job = str(chosen["id"])
            say(f"job {job}: recipebox {' '.join(map(str, chosen.get('arguments', [])))}")
        elif job not in {one["id"] for one in jobs}:
            raise BadInput(f"{host.name}: no job {job[:40]!r} there. `recipebox devbox jobs` lists them.")
        return follow_job(connection, host, job, tail=True)


def jobs_of(host: Host) -> list[dict[str, Any]]:
    """All jobs on a host, latest first: id, state, arguments, exit_code. Raises as `run_inside`."""
    with connected(host) as connection:
        return list_jobs(connection)


def start_job(connection: Connection, arguments: Sequence[str], folder: Path | None) -> str:
    """Start a job and return its id."""
    size = shutil.get_terminal_size()
    asked = {
        "arguments": list(arguments),
        "folder": None if folder is None else str(folder),
        "terminal": {
            "stdout": sys.stdout.isatty(), "stderr": sys.stderr.isatty(), "columns": size.columns, "lines": size.lines,
        },
        "environment": {key: os.environ[key] for key in _PASSED_ON if key in os.environ},
    }  # fmt: skip
    said = ask(connection, f"{KEEPER} start", json.dumps(asked).encode())
    job = said.decode(errors="replace").strip()
    if not _JOB.fullmatch(job):
        raise ConnectionFailed(f"the keeper answered {job[:80]!r} and no job's id. Is the image current? `make image`")
    return job


def list_jobs(connection: Connection) -> list[dict[str, Any]]:
    document = json.loads(ask(connection, f"{KEEPER} list"))
    return [one for one in document if isinstance(one, dict) and _JOB.fullmatch(str(one.get("id")))]


def ask(connection: Connection, command: str, sent: bytes = b"") -> bytes:
    """Run a fixed command with `sent` on its stdin: what it writes to stdout.

    Raises:
        BadInput: it ended with another code than 0; its words.
        StorageError: storage there refuses; its words.
        ConnectionFailed: no answer.
    """
    result = connection.client.exec_command(command, timeout=60)
    stdin, stdout, stderr = result
    try:
        stdin.write(sent)
        stdin.channel.shutdown_write()
        answer: bytes = stdout.read()
        words = stderr.read().decode(errors="replace").strip()
        code = stdout.channel.recv_exit_status()
    except (OSError, EOFError) as error:
        raise ConnectionFailed(f"the devbox does not answer ({error}). `make up` starts it again.") from None
    if code == NO_ROOM:
        raise StorageError(f"on the other side: {words[-500:]}")
    if code:
        raise BadInput(words[-500:] or f"the devbox's keeper ended with exit code {code}")
    return answer


def follow_job(connection: Connection, host: Host, job: str, *, tail: bool) -> int:
    """Show a job until it ends. Ctrl-C stops the job, Ctrl-\\ leaves it; a lost connection does nothing to it."""
    assert _JOB.fullmatch(job)
    channel = connection.client.get_transport().open_session()
    channel.exec_command(f"{KEEPER} follow {job}" + (" --tail" if tail else ""))
    channel.shutdown_write()
    with _quit_detaches():
        while True:
            try:
                _copy(channel)
                break
            except KeyboardInterrupt:
                stop = f"{KEEPER} stop {job}"
                try:
                    ask(connection, stop)
                except BadInput:
                    continue  # it ended just now
                except ConnectionFailed:
                    break
            except Detached:
                say(f"left; job {job} goes on. `make attach` comes back to it")
                return 0
    code = int(channel.recv_exit_status()) if channel.exit_status_ready() else -1
    if code < 0:  # paramiko's word for a channel that was closed without a code
        lost = "the connection was lost. The job goes on; `make attach` comes back to it"
        raise ConnectionFailed(f"{host.name}: {lost} ({job}).")
    return code


def _copy(channel: Any) -> None:
    """Write what a channel brings to stdout and stderr, byte for byte, until it ends or is lost."""
    while True:
        select.select([channel], [], [], 0.5)
        some = False
        while channel.recv_ready():
            _write(1, channel.recv(CHUNK))
            some = True
        while channel.recv_stderr_ready():
            _write(2, channel.recv_stderr(CHUNK))
            some = True
        if some:
            continue
        transport = channel.get_transport()
        ended = channel.exit_status_ready() and channel.eof_received
        if ended and not channel.recv_ready() and not channel.recv_stderr_ready():
            return
        if channel.closed or not transport.is_active():
            return


def _write(stream: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(stream, left) :]


@contextmanager
def _quit_detaches() -> Iterator[None]:
    def leave(number: int, frame: FrameType | None) -> None:
        raise Detached

    before = signal.signal(signal.SIGQUIT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGQUIT, before)


def jobs_table(jobs: Sequence[dict[str, Any]]) -> str:
    """For people."""
    if not jobs:
        return "nothing was run there yet"
    lines = []
    for one in jobs:
        code = f"exit {one['exit_code']}" if "exit_code" in one else one["state"]
        lines.append(f"{one['id']}  {code:<9} recipebox {' '.join(map(str, one['arguments']))}")
    return "\n".join(lines)
