"""One process works on a run at a time, and the run says how that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recipebox.endings import claimed, state_kept
from recipebox.errors import RunError
from recipebox.run_dir import RunDir

HOLD = """\
import sys, time
from recipebox.endings import claimed
from recipebox.run_dir import RunDir
from pathlib import Path
with claimed(RunDir(Path(sys.argv[1]))):
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create("some-recipe", tmp_path)


def test_a_run_is_claimed_once(run: RunDir) -> None:
    with claimed(run), pytest.raises(RunError, match="worked on by another process"), claimed(run):
        pass
    with claimed(run):
        pass


def test_a_second_worker_does_not_touch_the_state(run: RunDir) -> None:
    with state_kept(run):
        before = (run.root / "state.json").read_bytes()
        with pytest.raises(RunError), state_kept(run):
            pass
        assert (run.root / "state.json").read_bytes() == before
    assert run.state()[0] == "finished"


def test_a_claim_goes_with_its_process(run: RunDir) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.root)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
        with pytest.raises(RunError, match=str(run.root)), claimed(run):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with claimed(run):
        pass
