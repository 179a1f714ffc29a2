"""Which run a student learns from: finished and whole, waited for where another job trains it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipebox import making, teachers
from recipebox.errors import PlanConflict, RunError
from recipebox.recipe.lock import lock_digest
from recipebox.run_dir import RunDir, write_json
from recipebox.supplies import Supplies

WEIGHTS = b"weights"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create("some-teacher", tmp_path)
    run.best.write_bytes(WEIGHTS)
    write_json(run.result("train"), {"weights": {"best": {"sha256": hashlib.sha256(WEIGHTS).hexdigest()}}})
    return run


def settled(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[list[RunDir]]:
    """`settled_runs` where `run` is the one that has the lock."""
    monkeypatch.setattr(teachers, "_LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(teachers, "runs_with_lock", lambda recipe, digest: [run])
    return teachers.settled_runs(run.recipe, "digest", "teacher: ")


def test_a_finished_teacher_is_reused(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.set_state("finished")
    assert teachers.finished_teacher([run]) == run
    assert "is reused" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_an_unfinished_teacher_is_not(run: RunDir, state: str) -> None:
    run.set_state(state)  # type: ignore[arg-type]
    assert teachers.finished_teacher([run]) is None


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"weights": {"best": 3}}', "half a"])
def test_a_spoiled_teacher_is_not(run: RunDir, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    run.set_state("finished")
    run.result("train").unlink()
    if content is not None:
        run.result("train").write_text(content, encoding="utf-8")
    assert teachers.finished_teacher([run]) is None
    assert "is not reused" in capsys.readouterr().err


def test_a_teacher_in_training_is_waited_for(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run.set_state("running")
    done = threading.Timer(0.2, run.set_state, ["finished"])
    done.start()
    with settled(run, monkeypatch) as found:
        assert teachers.finished_teacher(found) == run
    done.join()
    assert "waiting for" in capsys.readouterr().err


def test_a_teacher_whose_trainer_dies_is_not_waited_for_longer(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, time; from pathlib import Path; from recipebox.run_dir import RunDir\n"
        "RunDir(Path(sys.argv[1])).set_state('running'); print(flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    trainer = subprocess.Popen([sys.executable, "-c", code, str(run.root)], stdout=subprocess.PIPE, env=environment)
    try:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        assert run.state()[0] == "running"
        killer = threading.Timer(0.1, trainer.kill)
        killer.start()
        with settled(run, monkeypatch) as found:
            assert teachers.finished_teacher(found) is None
    finally:
        trainer.kill()
        trainer.wait()
    assert run.state()[0] == "stopped"


def test_each_teacher_is_asked_for_by_its_own_lock_in_the_plans_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {name: RunDir.create(name, tmp_path) for name in ("first", "second")}
    locks = [{"settings": {"train": name}, "teachers": []} for name in runs]
    digests = {lock_digest(lock): name for lock, name in zip(locks, runs, strict=True)}

    @contextmanager
    def found(name: str, digest: str, whose: str) -> Iterator[list[RunDir]]:
        assert digests[digest] == name
        yield [runs[name]]

    monkeypatch.setattr(making, "settled_runs", found)
    monkeypatch.setattr(making, "finished_teacher", lambda found: found[0])
    plan: Any = SimpleNamespace(name="student", teachers=[SimpleNamespace(name=name, run=None) for name in runs])
    assert making.teacher_runs(plan, Supplies(), {"teachers": locks}) == list(runs.values())
    with pytest.raises(RunError, match="does not say which teachers"):
        making.teacher_runs(plan, Supplies(), {"teachers": locks[:1]})


LOCK: dict[str, Any] = {"settings": {"train": 1}, "versions": {}, "teachers": []}


def as_it_is(run: RunDir, lock: dict[str, Any] | None = None) -> RunDir:
    plan: Any = SimpleNamespace(run=str(run.root))
    return teachers.run_as_it_is(plan, lock)


def test_a_run_teaches_as_it_is(run: RunDir) -> None:
    write_json(run.lock, LOCK)
    run.plan.write_text("a plan", encoding="utf-8")
    run.set_state("stopped")
    with pytest.raises(RunError, match="is stopped; only a finished run teaches"):
        as_it_is(run)
    run.set_state("finished")
    assert as_it_is(run) == as_it_is(run, LOCK) == run
    with pytest.raises(RunError, match="is not the run that the student began with"):
        as_it_is(run, {**LOCK, "settings": {"train": 2}})
    run.best.write_bytes(b"others")
    with pytest.raises(RunError, match="cannot teach"):
        as_it_is(run)
    run.plan.unlink()
    with pytest.raises(RunError, match="not a run folder"):
        as_it_is(run)


def test_one_run_is_not_two_teachers(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "run_as_it_is", lambda teacher, lock: run)
    monkeypatch.setattr(making, "_teacher_run", lambda teacher, supplies, lock: run)
    both = [SimpleNamespace(name="one", run=str(run.root)), SimpleNamespace(name="one", run=None)]
    plan: Any = SimpleNamespace(name="student", teachers=both)
    with pytest.raises(PlanConflict, match="is the run of two teachers"):
        making.teacher_runs(plan, Supplies(), {"teachers": [LOCK, LOCK]})
