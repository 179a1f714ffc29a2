"""A run as it is made: two jobs at once make one teacher, and how a run ended is said while it is still claimed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipebox import endings, making, teachers
from recipebox.errors import CheckFailed, RunBusy, RunError, WeightsError
from recipebox.recipe import plan as recipe_plan
from recipebox.run_dir import RunDir, write_json, write_text
from recipebox.supplies import Supplies

LOCK: dict[str, Any] = {"settings": {}, "versions": {}, "teachers": []}
WEIGHTS = b"weights"
TRAIN_S = 1.5

JOB = """\
import sys, time
from recipebox.run_dir import runs_root
from test_making import invent, teacher_of
invent(create_s=float(sys.argv[1]), claim_s=float(sys.argv[2]))
while sys.argv[3:] and not [*runs_root().glob("*/*/plan.yaml")]:
    time.sleep(0.01)
print(teacher_of("some-teacher").id, flush=True)
"""
CLAIM = """\
import sys, time
from pathlib import Path
from recipebox.endings import claimed
from recipebox.run_dir import RunDir
with claimed(RunDir(Path(sys.argv[1]))):
    print("claimed", flush=True)
    time.sleep(1)
"""


def train(run: RunDir, *_: Any) -> list[CheckFailed]:
    """What training leaves, after a moment."""
    time.sleep(TRAIN_S)
    run.best.write_bytes(WEIGHTS)
    write_json(run.result("train"), {"weights": {"best": {"sha256": hashlib.sha256(WEIGHTS).hexdigest()}}})
    return []


def invent(create_s: float = 0, claim_s: float = 0) -> None:
    """Runs without training. A job takes its time between looking for runs, making its own and working on it."""
    create, carry_out = RunDir.create.__func__, making.carry_out  # type: ignore[attr-defined]

    def slowly_create(kind: type[RunDir], *given: Any) -> RunDir:
        time.sleep(create_s)
        made: RunDir = create(kind, *given)
        return made

    def slowly_carry_out(*given: Any) -> list[CheckFailed]:
        time.sleep(claim_s)
        return carry_out(*given)

    RunDir.create = classmethod(slowly_create)  # type: ignore[assignment, method-assign]
    recipe_plan.plan_to_yaml = lambda plan: "a plan\n"
    making.carry_out = slowly_carry_out
    making.plan_lock = lambda plan, supplies: LOCK
    making.run_missing_stages = train
    making.write_report = lambda *given, **more: None


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """`invent()`, undone after the test."""
    for owner, name in (
        (recipe_plan, "plan_to_yaml"),
        *((making, name) for name in ("carry_out", "plan_lock", "run_missing_stages", "write_report")),
        (RunDir, "create"),
    ):
        monkeypatch.setattr(owner, name, vars(owner)[name])
    monkeypatch.setattr(teachers, "_LOOK_AGAIN_S", 0.05)
    monkeypatch.setitem(globals(), "TRAIN_S", 0.0)
    invent()


def teacher_of(name: str, lock: dict[str, Any] = LOCK) -> RunDir:
    """The teacher of a student that has one, called `name`; `lock` is the student's of it."""
    student: Any = SimpleNamespace(name="some-student", teachers=(SimpleNamespace(name=name, teachers=(), run=None),))
    return making.teacher_runs(student, Supplies(), {"teachers": [lock]})[0]


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folders(own_runs: Path) -> list[str]:
    return sorted(path.name for path in (own_runs / "some-teacher").iterdir())


@pytest.mark.parametrize(("create_s", "claim_s"), [(2.0, 0), (0, 0.7)], ids=["before it is there", "before the claim"])
def test_two_jobs_at_once_train_a_teacher_once(own_runs: Path, create_s: float, claim_s: float) -> None:
    """The other one looks while the first makes its run, or has made it and is not at work on it yet."""
    first, second = (
        started(JOB, create_s, claim_s),
        started(JOB, create_s, 0, *(["when it is there"] if claim_s else [])),
    )
    try:
        said = [(*process.communicate(timeout=60), process.returncode) for process in (first, second)]
    finally:
        for process in (first, second):
            process.kill()
    assert [code for *_, code in said] == [0, 0], said
    (run,) = folders(own_runs)
    assert [out.strip() for out, *_ in said] == [run, run]
    assert RunDir(own_runs / "some-teacher" / run).state()[0] == "finished"


def test_a_run_is_not_seen_before_it_is_worked_on(invented: None, own_runs: Path) -> None:
    """Whoever sees a plan.yaml may go on with a run that nobody works on."""
    seen = []

    def watch(plan: Any) -> str:
        (run,) = map(RunDir, (own_runs / "r").iterdir())
        seen.append(run.state()[0])
        return "a plan\n"

    recipe_plan.plan_to_yaml = watch
    plan: Any = SimpleNamespace(name="r")
    assert making.new_run(plan, Supplies()).state()[0] == "running"
    assert seen == ["running"]


def test_a_stopped_teacher_that_another_process_took_up_is_waited_for(
    invented: None, own_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has claimed the run, and has not said so in its state yet."""
    run = RunDir.create("some-teacher")
    write_json(run.lock, LOCK)
    write_text(run.plan, "a plan\n")
    run.set_state("stopped")
    other = started(CLAIM, run.root)
    try:
        assert other.stdout is not None and other.stdout.readline() == "claimed\n"
        assert teacher_of("some-teacher") == run
    finally:
        other.kill()
        other.communicate()
    assert folders(own_runs) == [run.id]
    assert "cannot be continued" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [RunError, WeightsError])
def test_a_spoiled_stopped_teacher_is_given_up_once(
    invented: None, own_runs: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    stopped = making.new_run(SimpleNamespace(name="some-teacher"), Supplies())  # type: ignore[arg-type]
    stopped.set_state("failed", "half a checkpoint")

    def spoiled(run: RunDir, *given: Any) -> list[CheckFailed]:
        if run == stopped:
            raise error("spoiled")
        return train(run)

    monkeypatch.setattr(making, "run_missing_stages", spoiled)
    assert teacher_of("some-teacher") != stopped
    assert len(folders(own_runs)) == 2


def test_a_teacher_of_other_data_is_not_made_for_a_student_that_goes_on(invented: None, own_runs: Path) -> None:
    with pytest.raises(RunError, match="some-teacher: the images or labels differ"):
        teacher_of("some-teacher", LOCK | {"data_sha256": "0" * 64})
    assert folders(own_runs) == []


def test_what_has_changed_since_a_stopped_teacher_began_stays_with_it(invented: None, own_runs: Path) -> None:
    run, lock = RunDir.create("some-teacher"), LOCK | {"code_sha256": "0" * 64}
    write_json(run.lock, lock)
    write_text(run.plan, "a plan\n")
    run.set_state("stopped")
    assert teacher_of("some-teacher", lock) == run
    assert "own code differ" in run.differences()[0]


def test_a_failed_check_is_the_only_end_a_run_ever_had(
    invented: None, own_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed after any of its states leaves no run that failed as finished."""
    run, said = RunDir.create("r"), []
    write_json(run.lock, LOCK)
    set_state = RunDir.set_state

    def watched(self: RunDir, state: Any, reason: str = "") -> None:
        with pytest.raises(RunBusy), endings.claimed(self):
            pass
        set_state(self, state, reason)
        said.append((state, reason))

    monkeypatch.setattr(RunDir, "set_state", watched)
    monkeypatch.setattr(making, "run_missing_stages", lambda *given: [CheckFailed("too slow"), CheckFailed("bad")])
    plan: Any = SimpleNamespace(name="r", teachers=())
    assert len(making.carry_out(run, plan, Supplies(), ())) == 2
    assert said == [("running", ""), ("failed", "too slow; bad")]
