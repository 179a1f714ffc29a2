"""What a run says of itself after its process is gone, and what a killed process leaves behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from recipebox.endings import state_kept
from recipebox.errors import RunError, StorageError
from recipebox.run_dir import RunDir, read_object


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not there"),
        (b"", "not valid JSON"),
        (b'{"a": [1, 2', "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "it holds NaN"),
        (b'{"a": -Infinity}', "it holds -Infinity"),
        (b'{"a": 1e999}', "it holds 1e999"),
    ],
)
def test_a_spoiled_result_names_the_file_and_what_writes_it_anew(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    run = RunDir.create("r", tmp_path)
    run.plan.write_text("name: r\n")
    if content is not None:
        run.result("bench").write_bytes(content)
    with pytest.raises(RunError, match=words) as refusal:
        run.read_result("bench")
    said = str(refusal.value)
    assert said.startswith(f"{run.result('bench')}: ") and said.endswith(f"`recipebox bench {run.root}` makes one.")
    assert "\n" not in said


def test_a_folder_in_a_results_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "bench.json").mkdir()
    with pytest.raises(RunError, match=r"bench\.json: cannot be read \(Is a directory\)\. Mend it\."):
        read_object(tmp_path / "bench.json", "Mend it.")


def test_the_report_may_read_what_is_not_finite(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": NaN, "b": 1e999}')
    assert set(read_object(tmp_path / "a.json", "", finite=False)) == {"a", "b"}


def test_a_run_in_another_container_is_running_while_it_is_claimed(run: RunDir) -> None:
    """There its process has a number that says nothing here; the claim on the folder holds across containers."""
    with state_kept(run):
        change_state(run, pids="pid:[1]", pid=2**22 + 1)
        assert run.state()[0] == "running"
        change_state(run, boot="another")
        assert run.state()[0] == "stopped"
        change_state(run, boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    change_state(run, state="running", pids="pid:[1]")
    assert run.state() == ("stopped", "its process ended without a word")


def test_runs_are_not_begun_where_training_could_not_end(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(StorageError, match="not UTF-8"):
        RunDir.create("some-recipe", folder)
    assert not folder.exists()
