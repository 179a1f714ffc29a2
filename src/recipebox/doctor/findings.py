"""Findings, commands that may hang or answer rubbish, and checks that may not stop each other. Python 3.8."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import subprocess
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[dict[str, Any]], "list[Finding]"]
    """A check takes the request (see `request.default_request`) and returns its rows."""

OK, NOTE, WARNING, PROBLEM, UNKNOWN = "ok", "note", "warning", "problem", "unknown"
"""Works; not there, and not needed; works with a catch; keeps recipebox from working; could not be found out."""

MOST_OUTPUT = 1 << 20
"""Bytes of a command's output that are read; a command that writes more is ended."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One row of the table: which check, how it stands, what was found, why that matters, the command that mends it."""

    check: str
    status: str
    found: str
    why: str = ""
    mend: str = ""


@dataclasses.dataclass(frozen=True)
class Said:
    """How a command ended. `code` is None where it could not be started or did not end; `ending` says so in words."""

    code: int | None
    output: str
    ending: str = ""

    @property
    def first_line(self) -> str:
        return next((line.strip() for line in self.output.splitlines() if line.strip()), "")


_running: set[subprocess.Popen[bytes]] = set()


def call(command: list[str], limit_s: float) -> Said:
    """Run a command with no input, both outputs together, and end it (and its children) when the time is up."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "utf-8"},
        )
    except (OSError, ValueError) as error:
        return Said(None, "", f"cannot be started ({getattr(error, 'strerror', None) or error})")
    _running.add(process)
    try:
        content, ending = _read(process, time.monotonic() + limit_s)
        if not ending:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                ending = "closed its output and did not end"
    finally:
        end(process)
        _running.discard(process)
    text = plain(content.decode("utf-8", "replace"))
    if ending:
        return Said(None, text, ending.format(limit=f"{limit_s:g}"))
    code = process.returncode
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return Said(code, text, f"was ended by {name}")
    return Said(code, text, f"ended with exit code {code}" if code else "")


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, str]:
    """What a process writes until it closes its output: (content, why reading ended early)."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    content = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return content, "did not answer within {limit} s"
        ready, _, _ = select.select([descriptor], [], [], left)
        if not ready:
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return content, ""
        content += chunk
        if len(content) > MOST_OUTPUT:
            return content, "did not stop writing"


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started, and do not wait for one that even SIGKILL does not reach (a hung driver)."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    if process.stdout is not None:
        process.stdout.close()


def plain(text: str) -> str:
    """Text that a terminal may be shown: what it would obey is spelled out, lines stay lines."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def shown(path: str) -> str:
    """A path on one line, whatever its name holds."""
    return plain(path).replace("\n", "\\n")


def short(text: str, most: int = 160) -> str:
    """One line of at most `most` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def gigabytes(count: float) -> str:
    """Bytes as people read them: `3.2 GB`, `64 MB`."""
    if count >= 1 << 30:
        return f"{count / (1 << 30):.1f} GB"
    return f"{count / (1 << 20):.0f} MB"


def read(path: str, most: int = 65536) -> str:
    """A small file of the system as text, without NUL; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most).decode("utf-8", "replace").replace("\0", "").strip()
    except OSError:
        return ""


def examine(
    checks: dict[str, tuple[Check, float]], request: dict[str, Any], done: Callable[[str], None] = lambda name: None
) -> list[Finding]:
    """Run the checks side by side; none can stop another, and none is waited for longer than its limit.

    Args:
        checks: name -> (check, seconds).
        request: what the checks are told; see `request.default_request`.
        done: called with the name of each check that is over.

    Returns:
        The findings in the order of `checks`. A check that raised or hung is a finding `unknown`.
    """
    answers: dict[str, list[Finding]] = {}

    def work(name: str, check: Check) -> None:
        try:
            answers[name] = list(check(request))
        except BaseException as error:
            answers[name] = [Finding(name, UNKNOWN, f"the check itself failed: {short(repr(error))}")]

    began = time.monotonic()
    threads = {}
    for name, (check, _) in checks.items():
        threads[name] = threading.Thread(target=work, args=(name, check), daemon=True)
        threads[name].start()
    findings: list[Finding] = []
    try:
        for name, (_, limit_s) in checks.items():
            threads[name].join(max(0.0, began + limit_s - time.monotonic()))
            late = [Finding(name, UNKNOWN, f"no answer within {limit_s:g} s", "a disk or driver that hangs")]
            findings += answers.get(name, late)
            done(name)
    finally:
        for process in list(_running):
            end(process)
    return findings


def document(findings: list[Finding]) -> dict[str, Any]:
    """For --json."""
    counts = {status: sum(one.status == status for one in findings) for status in (PROBLEM, WARNING, UNKNOWN)}
    rows = [{key: value for key, value in dataclasses.asdict(one).items() if value} for one in findings]
    return {
        "schema": 1,
        "problems": counts[PROBLEM],
        "warnings": counts[WARNING],
        "unknown": counts[UNKNOWN],
        "findings": rows,
    }


def table(findings: list[Finding], width: int = 0) -> str:
    """For people: a row a finding; beneath what is not well why that matters and what mends it.

    `width` is that of the terminal in characters; 0 asks for it. A command stays on one line, to be copied.
    """
    width = max(width or shutil.get_terminal_size((100, 24)).columns, 60)
    signs = {OK: "ok", NOTE: "-", WARNING: "warning", PROBLEM: "PROBLEM", UNKNOWN: "unknown"}
    wide = max([len(one.check) for one in findings] + [5])
    lines = []
    space = " " * (8 + 1 + wide + 2)
    for one in findings:
        lines += folded(f"{signs[one.status]:8} {one.check:{wide}}  ", one.found, space, width)
        if one.why:
            lines += folded(space, one.why, space, width)
        if one.mend:
            lines.append(f"{space}$ {one.mend}")
    return "\n".join([*lines, "", verdict(findings)])


def folded(begin: str, text: str, space: str, width: int) -> list[str]:
    """Text in lines of at most `width` characters where its words allow that."""
    return textwrap.wrap(
        text, width, initial_indent=begin, subsequent_indent=space, break_long_words=False, break_on_hyphens=False
    ) or [begin.rstrip()]


def verdict(findings: list[Finding]) -> str:
    """One line: how many problems and warnings, and where."""
    parts = []
    for status, word in ((PROBLEM, "problem"), (WARNING, "warning"), (UNKNOWN, "unanswered check")):
        names = list(dict.fromkeys(one.check for one in findings if one.status == status))
        count = sum(one.status == status for one in findings)
        if count:
            parts.append(f"{count} {word}{'' if count == 1 else 's'} ({', '.join(names)})")
    return "; ".join(parts) or "nothing is wrong"
