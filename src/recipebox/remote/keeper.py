"""On the devbox's side: recipebox commands that outlive the connection they were started from. Standard library only.

    python -m recipebox.remote.keeper start       what to run as JSON on stdin; prints the job's id
    python -m recipebox.remote.keeper follow ID   its output as it comes; ends with the job's own exit code
    python -m recipebox.remote.keeper stop ID     as Ctrl-C would;  stop-all: as SIGTERM would, and waits
    python -m recipebox.remote.keeper list        all jobs as JSON, latest first
    python -m recipebox.remote.keeper files       a run's files with their hashes; which run as JSON on stdin

A job is a folder <runs>/.jobs/<id>/: job.json (what was asked), stdout and stderr (what it said), exit.json (its exit
code, once there is one). Its keeper, a process of its own session, holds a lock on the folder for as long as it lives.
Only recipebox itself is ever started, and its arguments come as JSON: no shell sees them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

from recipebox.errors import StorageError, storage_errors
from recipebox.remote.jobs import Job, all_jobs, find_job, jobs_root

_PLAIN = re.compile(r"(?!\.)[^/\0]{1,200}")
POLL_S = 0.05
CHUNK = 1 << 16
STOP_LIMIT_S = 25.0
"""An engine gives a container 30 s to end (docker/compose.yaml)."""
TAIL_BYTES = 64 << 10
"""What `follow --tail` shows of what was said before."""
NO_ROOM = 3
"""Exit code where the disk is full, read-only or not permitted."""
PASSED_ON = ("RECIPEBOX_DEBUG", "OMP_NUM_THREADS", "TERM")


def start(asked: dict[str, Any]) -> Job:
    """Start `recipebox ARGUMENTS` under a keeper of its own and return once it runs.

    Args:
        asked: arguments (list of text), folder (by default the devbox's project), terminal ({stdout, stderr: is it
            one; columns, lines}), environment.

    Raises:
        ValueError: what was asked cannot be understood, or the folder is not there.
        StorageError: the disk is full, read-only or not permitted; nothing is left of the job.
        OSError: the command cannot be started.
    """
    arguments, folder = asked.get("arguments"), asked.get("folder")
    if not isinstance(arguments, list) or not all(isinstance(one, str) and "\0" not in one for one in arguments):
        raise ValueError("the arguments are no list of text")
    if folder is None:
        folder = os.environ.get("RECIPEBOX_PROJECT")
        if not folder:
            raise ValueError("no RECIPEBOX_PROJECT here. A devbox's sshd sets it: does HOST lead to a devbox?")
    if not isinstance(folder, str) or not os.path.isdir(folder):
        raise ValueError(f"no folder {folder!r} here")
    asked = {**asked, "folder": folder}
    with storage_errors(jobs_root()):
        jobs_root().mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        job = Job(jobs_root() / f"{stamp}-{secrets.token_hex(4)}")
        try:
            job.make({**asked, "started": time.time()})
            _keep(job, asked)
        except (OSError, ValueError):
            shutil.rmtree(job.root, ignore_errors=True)  # what never began is no job
            raise
    return job


def _keep(job: Job, asked: dict[str, Any]) -> None:
    """Start the job's keeper and wait until the command runs. Raises what kept it from that."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _become_keeper(job, asked, writer)
    os.close(writer)
    os.wait()
    with os.fdopen(reader, "rb") as said:
        problem = said.read()
    if problem:
        number, words = json.loads(problem)
        raise OSError(number, words) if number else ValueError(words)


def _become_keeper(job: Job, asked: dict[str, Any], ready: int) -> None:
    """In a fork: leave the connection's session for good, run the command and note how it ended. Never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        try:
            process, pumped = _begin(job, asked)
        except Exception as error:  # whatever it is: the other side waits to hear of it
            number, words = getattr(error, "errno", None), getattr(error, "strerror", None)
            os.write(ready, json.dumps([number, words or str(error) or type(error).__name__]).encode())
            os._exit(1)
        os.close(ready)
        lost = sum([_pump(terminal, file) for terminal, file in pumped])
        code = process.wait()
        document = {"exit_code": code if code >= 0 else 128 - code, "ended": time.time()}
        job.note_end(document | ({"lost_bytes": lost} if lost else {}))
    finally:
        os._exit(0)


def _begin(job: Job, asked: dict[str, Any]) -> tuple[subprocess.Popen[bytes], list[tuple[int, int]]]:
    """Take the lock, for as long as this process lives, and launch the command; where that cannot be noted, end it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the command gets its signals by itself
    lock = os.open(job.root, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    process, pumped = _launch(job, asked)
    try:
        job.note_process(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
    return process, pumped


def _launch(job: Job, asked: dict[str, Any]) -> tuple[subprocess.Popen[bytes], list[tuple[int, int]]]:
    """The command, and the terminals (at most one) whose output has to be carried to a file: descriptors."""
    terminal = asked.get("terminal") or {}
    ends = {name: os.open(job.root / name, os.O_WRONLY | os.O_APPEND) for name in ("stdout", "stderr")}
    pumped: list[tuple[int, int]] = []
    on_terminal = [name for name in ("stdout", "stderr") if terminal.get(name)]
    if on_terminal:
        master, slave = pty.openpty()
        size = struct.pack("HHHH", int(terminal.get("lines") or 24), int(terminal.get("columns") or 80), 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        pumped.append((master, ends[on_terminal[0]]))
        ends |= dict.fromkeys(on_terminal, slave)
    given = asked.get("environment") or {}
    environment = os.environ | {key: str(given[key]) for key in PASSED_ON if key in given}
    process = subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", *asked["arguments"]],
        cwd=asked["folder"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=ends["stdout"],
        stderr=ends["stderr"],
        start_new_session=True,
        preexec_fn=_ordinary_signals,
    )
    if on_terminal:
        os.close(slave)
    return process, pumped


def _ordinary_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _pump(terminal: int, file: int) -> int:
    """Carry what is written to a terminal into a file until nobody has it open.

    Goes on where the file takes no more (a full disk): the command must not wait for a reader, nor lose its terminal.

    Returns:
        Bytes that the file did not take.
    """
    lost = 0
    while True:
        try:
            data = os.read(terminal, CHUNK)
        except OSError:  # EIO: nobody has it open
            return lost
        if not data:
            return lost
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            lost += len(left)


def follow(job: Job, *, tail: bool = False) -> int:
    """Copy a job's output to stdout and stderr as it grows; its exit code when it ends, 1 where its keeper is lost."""
    outs = [(os.open(job.root / name, os.O_RDONLY), stream) for name, stream in (("stdout", 1), ("stderr", 2))]
    if tail:
        for file, _ in outs:
            _seek_tail(file)
    while True:
        ended = job.state() != "running"  # asked before the last look, so that nothing said is missed
        copied = [_copy(file, stream) for file, stream in outs]
        if not any(copied):
            if ended:
                break
            time.sleep(POLL_S)
    code = job.exit_code
    if code is None:
        _write_all(2, b"the job ended without a word: its devbox was stopped or the process killed\n")
        return 1
    if job.lost_bytes:
        words = f"{job.lost_bytes} bytes of what the job said are missing here: {job.root} had no room for them\n"
        _write_all(2, words.encode(errors="replace"))
    return code


def _seek_tail(file: int) -> None:
    """To the first line that begins in the last TAIL_BYTES."""
    end = os.lseek(file, 0, os.SEEK_END)
    begin = max(0, end - TAIL_BYTES)
    os.lseek(file, begin, os.SEEK_SET)
    if begin:
        skipped = os.read(file, TAIL_BYTES).find(b"\n")
        os.lseek(file, begin + skipped + 1, os.SEEK_SET)


def _copy(file: int, stream: int) -> bool:
    data = os.read(file, CHUNK)
    _write_all(stream, data)
    return bool(data)


def _write_all(stream: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(stream, left) :]


def stop_all() -> int:
    """End all jobs as SIGTERM ends a training, and wait until they have. Returns how many did not."""
    live = [job for job in all_jobs() if job.signal(signal.SIGTERM)]
    limit = time.monotonic() + STOP_LIMIT_S
    while live and time.monotonic() < limit:
        live = [job for job in live if job.state() == "running"]
        time.sleep(POLL_S)
    return len(live)


def listing() -> list[dict[str, Any]]:
    """All jobs for `list`."""
    rows = []
    for job in all_jobs():
        code = job.exit_code
        row = {"id": job.root.name, "state": job.state(), "arguments": job.asked.get("arguments", [])}
        rows.append(row | ({} if code is None else {"exit_code": code}))
    return rows


def files(asked: dict[str, Any]) -> dict[str, Any]:
    """The files of a run, to be fetched: {folder, files: [{path, bytes, sha256}]}.

    Raises:
        ValueError: there is no such run.
    """
    recipe, run_id = str(asked.get("recipe")), str(asked.get("id"))
    folder = jobs_root().parent / recipe / run_id
    if not _PLAIN.fullmatch(recipe) or not _PLAIN.fullmatch(run_id) or not (folder / "plan.yaml").is_file():
        raise ValueError(f"no run {recipe[:80]}/{run_id[:40]} in {jobs_root().parent}")
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".part"):
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": digest})
    return {"folder": str(folder), "files": found}


def main(arguments: list[str]) -> int:
    """Exit codes: the job's own for `follow`; else 0, or with a line on stderr 2, or NO_ROOM where storage refuses."""
    try:
        if arguments == ["start"]:
            print(start(json.load(sys.stdin)).root.name)
        elif arguments == ["list"]:
            print(json.dumps(listing()))
        elif arguments == ["files"]:
            print(json.dumps(files(json.load(sys.stdin))))
        elif arguments == ["stop-all"]:
            return 1 if stop_all() else 0
        elif len(arguments) == 2 and arguments[0] == "stop":
            return 0 if find_job(arguments[1]).signal(signal.SIGINT) else 1
        elif len(arguments) in (2, 3) and arguments[0] == "follow" and arguments[2:] in ([], ["--tail"]):
            return follow(find_job(arguments[1]), tail=len(arguments) == 3)
        else:
            raise ValueError("expected start, follow ID, stop ID, stop-all, list or files")
    except BrokenPipeError:
        os._exit(0)  # the connection went away; the job goes on
    except StorageError as error:
        print(error, file=sys.stderr)
        return NO_ROOM
    except (ValueError, OSError, AttributeError) as error:
        print(f"keeper: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
