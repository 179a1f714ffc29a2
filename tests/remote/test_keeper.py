"""The keeper by itself, on a disk that is really full: a job is kept, ends as it would, or never begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import command_line_environment
from small_disks import mounted

PAGE = os.sysconf("SC_PAGE_SIZE")
MARK = "a-word-of-this-test-only"
"""Among the arguments of what is started, so that it is found among the machine's processes."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "size=256k")


@pytest.fixture
def talkative(tmp_path: Path) -> dict[str, str]:
    """Environment of a recipebox that says half a megabyte, waits for Ctrl-C, and says how it ended."""
    package = tmp_path / "talkative"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if sys.argv[0] == '-m' and 'recipebox.cli' in sys.orig_argv:\n"
        "    for _ in range(8):\n        os.write(1, b'x' * 65536)\n"
        f"    open({str(tmp_path / 'said')!r}, 'w').close()\n"
        "    try:\n        time.sleep(600)\n"
        "    except KeyboardInterrupt:\n        os.write(1, b'stopped')\n        os._exit(130)\n"
    )
    given = command_line_environment()
    return given | {"PYTHONPATH": os.pathsep.join((given["PYTHONPATH"], str(package)))}


def keeper(environment: dict[str, str], *arguments: str, sent: object = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recipebox.remote.keeper", *arguments], input=json.dumps(sent), env=environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def asked(folder: Path, *, terminal: bool) -> dict[str, Any]:
    shown = {"stdout": terminal, "stderr": terminal, "columns": 80, "lines": 24}
    return {"arguments": ["version", MARK], "folder": str(folder), "terminal": shown}


def commands() -> list[int]:
    """Numbers of the processes that a job of this test started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"recipebox.cli" in words and MARK.encode() in words:
            found.append(int(path.parent.name))
    return found


def wait_for(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("number", ["stop", "stop-all"])
def test_a_job_outlives_a_full_disk(tmp_path: Path, talkative: dict[str, str], small_disk: Path, number: str) -> None:
    """What it says finds no room: it goes on, is stopped as ever, and its end and what is missing are known."""
    environment = talkative | {"RECIPEBOX_RUNS": str(small_disk)}
    done = keeper(environment, "start", sent=asked(tmp_path, terminal=True))
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    wait_for((tmp_path / "said").exists)
    assert json.loads(keeper(environment, "list").stdout)[0]["state"] == "running"
    assert keeper(environment, *([number] if number == "stop-all" else [number, job])).returncode == 0
    end = small_disk / ".jobs" / job / "exit.json"
    wait_for(end.is_file)
    code = 130 if number == "stop" else 143
    assert json.loads(end.read_text())["exit_code"] == code
    followed = keeper(environment, "follow", job)
    kept = (small_disk / ".jobs" / job / "stdout").stat().st_size
    assert followed.returncode == code
    lost = 8 * 65536 - kept + (len("stopped") if number == "stop" else 0)
    assert f"{lost} bytes of what the job said are missing here" in followed.stderr
    assert commands() == []


@pytest.mark.parametrize("pages", range(6))
def test_a_job_begins_whole_or_not_at_all(
    tmp_path: Path, talkative: dict[str, str], small_disk: Path, pages: int
) -> None:
    """However much room is left when it is started: it runs and can be stopped, or nothing of it is there."""
    (small_disk / ".jobs").mkdir()
    with open(small_disk / "ballast", "wb", buffering=0) as ballast:
        ballast.write(b"x" * ((256 << 10) - pages * PAGE))
    environment = talkative | {"RECIPEBOX_RUNS": str(small_disk)}
    done = keeper(environment, "start", sent=asked(tmp_path, terminal=True))
    jobs = json.loads(keeper(environment, "list").stdout)
    if done.returncode:
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{small_disk / '.jobs'}: the disk is full. Free some space" in done.stderr
        assert jobs == [] and list((small_disk / ".jobs").iterdir()) == []
        assert commands() == []
        assert pages < 5
        return
    assert [one["state"] for one in jobs] == ["running"]
    wait_for((tmp_path / "said").exists)
    assert keeper(environment, "stop", jobs[0]["id"]).returncode == 0
    wait_for((small_disk / ".jobs" / jobs[0]["id"] / "exit.json").is_file)
    assert commands() == []
    assert pages > 0


@pytest.mark.parametrize("terminal", [[1], {"stdout": True, "lines": "many"}, {"stdout": True, "columns": -1}])
def test_what_cannot_be_begun_is_said(tmp_path: Path, talkative: dict[str, str], own_runs: Path, terminal: Any) -> None:
    done = keeper(talkative, "start", sent=asked(tmp_path, terminal=False) | {"terminal": terminal})
    assert done.returncode == 2 and done.stderr.startswith("keeper: "), done.stderr
    assert list((own_runs / ".jobs").iterdir()) == []
    assert commands() == []
