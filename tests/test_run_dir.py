"""What a run says of itself after its process is gone, and what a killed process leaves behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from recipebox.endings import state_kept
from recipebox.run_dir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create("some-recipe", tmp_path)


def change_state(run: RunDir, **changes: Any) -> None:
    path = run.root / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_run_whose_process_lives_is_running(run: RunDir) -> None:
    run.set_state("running")
    assert run.state()[0] == "running"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc that says when a process began")
def test_the_number_of_a_dead_process_is_given_again(run: RunDir) -> None:
    """In a container every first process has the same number, and the boot is the host's."""
    run.set_state("running")
    change_state(run, started="1")
    assert run.state() == ("stopped", "its process ended without a word")


@pytest.mark.parametrize("pid", [None, True, -1, 0, 10**30, "7", 2**22 + 1])
def test_no_process_is_no_running_run(run: RunDir, pid: Any) -> None:
    run.set_state("running")
    change_state(run, pid=pid, started="")
    assert run.state()[0] == "stopped"


def test_what_a_killed_process_had_half_written_goes_with_the_next_work(run: RunDir) -> None:
    half = [folder / f".x.{os.getpid()}-0000.part" for folder in (run.root, run.root / "weights")]
    mine = run.root / "notes.part"
    for path in (*half, mine):
        path.write_bytes(b"x")
    with state_kept(run):
        assert not any(path.exists() for path in half)
    assert mine.exists()
