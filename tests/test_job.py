"""The main job through the command line: teacher, stages, interrupt, resume, repeat."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recipebox.job import weights_difference
from recipebox.run_dir import RunDir, write_json

if TYPE_CHECKING:
    from conftest import CommandLine

TEACHER = """\
# purpose: a teacher as small as can be
data: {dataset: pcb-synthetic, images: 8}
model: {weights: scratch, arch: yolov8n}
train: {epochs: 3, imgsz: 64, batch: 4, nbs: 4, optimizer: AdamW, lr0: 0.001, warmup_epochs: 0, close_mosaic: 1}
techniques: {ema: {tau: 10}}
bench: {images: 2}
"""
STUDENT = """\
# purpose: a student as small as can be
extends: tiny-teacher
techniques: {distillation: {teachers: [{recipe: tiny-teacher}], logits: {weight: 1.0}}}
evaluate: {compare: [tiny-teacher]}
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes and one finished run of the student, whose teacher was trained first."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny-teacher.yaml").write_text(TEACHER, encoding="utf-8")
    (folder / "recipes" / "tiny-student.yaml").write_text(STUDENT, encoding="utf-8")
    from conftest import run_command_line

    done = run_command_line("train", "tiny-student", "--json", cwd=folder, RECIPEBOX_RUNS=str(folder / "runs"))
    assert done.returncode == 0, done.stderr
    (folder / "first.json").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture
def first(workplace: Path) -> dict[str, Any]:
    """What the finished run said with --json."""
    document: dict[str, Any] = json.loads((workplace / "first.json").read_text(encoding="utf-8"))
    return document


def runs_of(workplace: Path, recipe: str) -> list[RunDir]:
    return [RunDir(path) for path in sorted((workplace / "runs" / recipe).iterdir())]


def test_all_stages_leave_their_files(workplace: Path, first: dict[str, Any]) -> None:
    run = RunDir.open(Path(first["run"]))
    assert run.state()[0] == first["state"] == "finished"
    for path in (run.plan, run.lock, run.best, run.last, run.onnx, run.report_md, run.report_html):
        assert path.is_file(), path
    sha256 = first["train"]["weights"]["best"]["sha256"]
    assert first["evaluate"]["weights_sha256"] == first["export"]["weights_sha256"] == sha256
    assert first["bench"]["sha256"] == first["export"]["sha256"]


def test_the_teacher_was_trained_first_and_is_finished(workplace: Path, first: dict[str, Any]) -> None:
    (teacher,) = runs_of(workplace, "tiny-teacher")
    assert teacher.state()[0] == "finished"
    assert teacher.result("evaluate").is_file()
    recorded = teacher.read_result("train")["weights"]["best"]["sha256"]
    assert first["train"]["teachers"][0]["weights_sha256"] == recorded


def test_an_interrupted_run_resumes_to_the_same_weights(
    workplace: Path, first: dict[str, Any], command_line: CommandLine
) -> None:
    from conftest import command_line_environment

    known = set(runs_of(workplace, "tiny-student"))
    process = subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", "train", "tiny-student"],
        cwd=workplace,
        env=command_line_environment(RECIPEBOX_RUNS=str(workplace / "runs")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    run = None
    while time.monotonic() < deadline and process.poll() is None:
        new = set(runs_of(workplace, "tiny-student")) - known
        run = new.pop() if new else None
        if run is not None and run.checkpoint.is_file():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert run is not None
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert f"recipebox train --resume {run.root}" in errors
    assert "Traceback" not in errors
    assert "is reused, its lock is the same" in errors
    assert run.state() == ("stopped", "stopped by SIGTERM")
    assert not run.result("bench").exists()

    runs = str(workplace / "runs")
    resumed = command_line("train", "--resume", str(run.root), "--json", cwd=workplace, RECIPEBOX_RUNS=runs)
    assert resumed.returncode == 0, resumed.stderr
    document = json.loads(resumed.stdout)
    assert document["state"] == "finished"
    assert document["train"]["resumed"] >= 1
    assert document["train"]["weights"] == first["train"]["weights"]
    assert len(runs_of(workplace, "tiny-teacher")) == 1

    again = command_line("train", "--resume", str(run.root), cwd=workplace, RECIPEBOX_RUNS=runs)
    assert again.returncode == 2
    assert "finished" in again.stderr


def test_a_run_teaches_a_set_that_its_recipe_would_be_trained_on_anew(
    workplace: Path, first: dict[str, Any], command_line: CommandLine
) -> None:
    (teacher,) = runs_of(workplace, "tiny-teacher")
    kept = shutil.copytree(teacher.root, workplace / "kept")
    text = STUDENT.replace("{recipe: tiny-teacher}", "{run: ../kept}")
    (workplace / "recipes" / "tiny-kept.yaml").write_text(text, encoding="utf-8")
    runs = str(workplace / "runs")
    done = command_line(
        *("train", "tiny-kept", "--json", "--set", "data.images=12", "--set", "train.epochs=1"),
        *("--set", "train.close_mosaic=0"),
        cwd=workplace,
        RECIPEBOX_RUNS=runs,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["train"]["teachers"] == [{**first["train"]["teachers"][0], "run": str(kept)}]
    assert len(runs_of(workplace, "tiny-teacher")) == 1
    again = command_line("train", "--locked", run["run"], "--json", cwd=workplace, RECIPEBOX_RUNS=runs)
    assert again.returncode == 0, again.stderr
    assert "weights equal to the last bit" in again.stdout


def test_a_locked_run_is_the_same(workplace: Path, first: dict[str, Any], command_line: CommandLine) -> None:
    done = command_line("train", "--locked", first["run"], cwd=workplace, RECIPEBOX_RUNS=str(workplace / "runs"))
    assert done.returncode == 0, done.stderr
    assert f"same as {first['run']}" in done.stdout
    assert "not as in" not in done.stderr


def test_other_weights_are_called_different(first: dict[str, Any]) -> None:
    weights = first["train"]["weights"]
    other = {**weights, "last": {**weights["last"], "sha256": "0" * 64}}
    assert weights_difference(weights, weights, ["torch 2.14.1 -> 2.11.0"]) is None
    words = weights_difference(weights, other, ["torch 2.14.1 -> 2.11.0"])
    assert words is not None
    assert words.startswith("last weights differ")
    assert "torch 2.14.1 -> 2.11.0" in words


@pytest.mark.slow
def test_a_teacher_with_spoiled_weights_is_not_reused(
    workplace: Path, command_line: CommandLine, tmp_path: Path
) -> None:
    runs = tmp_path / "copied-runs"
    teacher = runs_of(workplace, "tiny-teacher")[0]
    spoiled = runs / "tiny-teacher" / teacher.id
    shutil.copytree(teacher.root, spoiled)
    with (spoiled / "weights" / "best.pt").open("ab") as file:
        file.write(b"x")
    done = command_line("train", "tiny-student", cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    assert "is not reused" in done.stderr
    assert len(list((runs / "tiny-teacher").iterdir())) == 2


def test_a_stage_can_be_run_again(workplace: Path, first: dict[str, Any], command_line: CommandLine) -> None:
    runs = str(workplace / "runs")
    (Path(first["run"]) / "bench.json").unlink()
    done = command_line("bench", first["run"], "--json", cwd=workplace, RECIPEBOX_RUNS=runs)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sha256"] == first["export"]["sha256"]


@pytest.mark.slow
def test_a_failed_check_is_said_and_measured_to_the_end(
    workplace: Path, first: dict[str, Any], command_line: CommandLine
) -> None:
    """A speed that no machine reaches: the run fails with exit code 3, and its report is there."""
    done = command_line(
        *("train", "tiny-teacher", "--set", "bench.min_fps=1000000"),
        cwd=workplace,
        RECIPEBOX_RUNS=str(workplace / "runs"),
    )
    assert done.returncode == 3, done.stderr
    run = runs_of(workplace, "tiny-teacher")[-1]
    state, reason = run.state()
    assert state == "failed"
    assert "min_fps" in reason
    assert run.report_md.is_file()


def test_a_run_in_work_is_left_alone(workplace: Path, first: dict[str, Any], command_line: CommandLine) -> None:
    run = RunDir(Path(first["run"]))
    before = (run.root / "state.json").read_text(encoding="utf-8")
    try:
        run.set_state("running")  # by this process, which lives
        done = command_line("train", "--resume", str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(workplace / "runs"))
    finally:
        (run.root / "state.json").write_text(before, encoding="utf-8")
    assert done.returncode == 2
    assert "another process" in done.stderr


def test_runs_are_listed_with_their_numbers(workplace: Path, first: dict[str, Any], command_line: CommandLine) -> None:
    done = command_line("runs", "--json", cwd=workplace, RECIPEBOX_RUNS=str(workplace / "runs"))
    rows = {row["run"]: row for row in json.loads(done.stdout)}
    row = rows[first["run"]]
    assert row["mAP50"] == first["evaluate"]["test"]["mAP50"]
    assert row["epochs"] == 3
    assert os.path.basename(first["run"]) == row["id"]


def spoilt_copy(workplace: Path, run: str, runs: Path, state: str = "finished") -> RunDir:
    """A copy of all runs in `runs`; returns the one to spoil, in this state."""
    shutil.copytree(workplace / "runs", runs)
    copy = RunDir(runs / Path(run).parent.name / Path(run).name)
    copy.set_state(state)  # type: ignore[arg-type]
    return copy


EVALUATION = {
    "weights_sha256": 7,
    "dataset": 7,
    "imgsz": "large",
    "test": [],
    "threshold": "high",
    "per_class": {"open": 1},
}


@pytest.mark.parametrize(
    ("verb", "name", "content", "words"),
    [
        (["evaluate"], "plan.yaml", "", "plan.yaml: not a plan"),
        (["export"], "plan.yaml", "schema: 1\n", "plan.yaml: not a whole plan: it has no 'name'"),
        (["bench"], "plan.yaml", "[" * 5000, "plan.yaml: "),
        (["evaluate"], "train.json", '{"weights": 3}', "train.json: does not say which weights"),
        (["evaluate"], "train.json", '{"seconds": NaN}', "train.json: not valid JSON"),
        (["train", "--locked"], "train.json", '{"weights": {"best": 3}}', "train.json: does not say which weights"),
        (["train", "--locked"], "lock.json", '{"teachers": 3}', "lock.json: not a lock"),
        (["train", "--locked"], "lock.json", "", "lock.json: not valid JSON"),
        *((["export"], "evaluate.json", json.dumps({key: value}), key) for key, value in EVALUATION.items()),
        (["bench"], "evaluate.json", json.dumps({"threshold": 1e300}), "evaluate.json: lacks threshold"),
    ],
)
def test_a_spoiled_file_is_named(
    workplace: Path,
    first: dict[str, Any],
    command_line: CommandLine,
    tmp_path: Path,
    verb: list[str],
    name: str,
    content: str,
    words: str,
) -> None:
    """One message that names the file and how to go on; every other file stays as it was."""
    run = spoilt_copy(workplace, first["run"], tmp_path / "copied-runs")
    path = run.root / name
    if name == "evaluate.json":
        content = json.dumps(json.loads(path.read_text(encoding="utf-8")) | json.loads(content))
    path.write_text(content, encoding="utf-8")
    before = {file: file.read_bytes() for file in run.root.rglob("*") if file.is_file()}
    done = command_line(*verb, str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(tmp_path / "copied-runs"))
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert name in done.stderr
    assert "`" in done.stderr or "again" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert before == {file: file.read_bytes() for file in run.root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["evaluate.json", "bench.json", "train.json"])
def test_runs_are_listed_without_what_is_no_number(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path, name: str
) -> None:
    run = spoilt_copy(workplace, first["run"], tmp_path / "copied-runs")
    (run.root / name).write_text(
        '{"epochs": 1e999, "test": {"mAP50": NaN, "mAP50-95": "x"}, "latency_ms": {"end_to_end": {"p50": -Infinity}}}',
        encoding="utf-8",
    )
    done = command_line("runs", "--json", cwd=workplace, RECIPEBOX_RUNS=str(tmp_path / "copied-runs"))
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads(done.stdout) if row["id"] == run.id)
    missing = {"evaluate.json": "mAP50", "bench.json": "end_to_end_p50_ms", "train.json": "epochs"}[name]
    assert missing not in row


def test_a_run_without_its_weights_cannot_go_on(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path
) -> None:
    run = spoilt_copy(workplace, first["run"], tmp_path / "copied-runs", "stopped")
    run.best.unlink()
    csv = run.results_csv.read_bytes()
    done = command_line("train", "--resume", str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(tmp_path / "copied-runs"))
    assert done.returncode == 2, done.stderr
    assert "weights/best.pt: is gone" in done.stderr
    assert run.results_csv.read_bytes() == csv


def test_a_refused_resume_keeps_what_is_known(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path
) -> None:
    """epochs.jsonl is spoiled: results.csv is all that is left of how training went."""
    run = spoilt_copy(workplace, first["run"], tmp_path / "copied-runs", "stopped")
    run.result("train").unlink()
    run.epochs.write_text("half a li", encoding="utf-8")
    csv = run.results_csv.read_bytes()
    done = command_line("train", "--resume", str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(tmp_path / "copied-runs"))
    assert done.returncode == 2, done.stderr
    assert "epochs.jsonl" in done.stderr
    assert run.results_csv.read_bytes() == csv
    assert run.epochs.read_text(encoding="utf-8") == "half a li"


@pytest.mark.slow
def test_a_spoiled_stopped_teacher_does_not_stop_its_student_for_ever(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path
) -> None:
    runs = tmp_path / "copied-runs"
    teacher = spoilt_copy(workplace, str(runs_of(workplace, "tiny-teacher")[0].root), runs, "stopped")
    teacher.result("train").unlink()
    teacher.checkpoint.write_bytes(b"half a checkpoint")
    for other in (runs / "tiny-teacher").iterdir():
        if other != teacher.root:
            shutil.rmtree(other)
    done = command_line("train", "tiny-student", cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    assert "cannot be continued" in done.stderr
    assert len(list((runs / "tiny-teacher").iterdir())) == 2


def elsewhere(run: RunDir) -> None:
    """As if the run had been made on a machine with more GPUs than there are."""
    run.plan.write_text(
        run.plan.read_text(encoding="utf-8").replace("device: cpu", "device: cuda:77"), encoding="utf-8"
    )


def test_a_run_of_a_gpu_that_is_not_here_is_evaluated_all_the_same(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path
) -> None:
    run = spoilt_copy(workplace, first["run"], tmp_path / "copied-runs")
    elsewhere(run)
    done = command_line("evaluate", str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(tmp_path / "copied-runs"))
    assert done.returncode == 0, done.stderr
    assert "cuda:77 is not on this machine" in done.stderr
    assert run.read_result("evaluate")["device"] in {"cpu", "cuda:0"}


@pytest.mark.parametrize("option", ["--resume", "--locked"])
def test_nothing_is_made_on_another_device(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path, option: str
) -> None:
    runs = tmp_path / "copied-runs"
    run = spoilt_copy(workplace, first["run"], runs, "stopped" if option == "--resume" else "finished")
    elsewhere(run)
    if option == "--resume":
        run.result("train").unlink()
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    done = command_line("train", option, str(run.root), cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert done.returncode == 2, done.stderr
    assert "cuda:77" in done.stderr
    assert "recipebox train tiny-student" in done.stderr
    assert before == {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}


def with_lock(run: RunDir, **changes: Any) -> None:
    write_json(run.lock, json.loads(run.lock.read_text(encoding="utf-8")) | changes)


@pytest.mark.parametrize(
    ("key", "words"), [("data_sha256", "the images or labels differ"), ("weights_sha256", "the initial weights differ")]
)
def test_training_does_not_go_on_with_other_data_or_weights(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path, key: str, words: str
) -> None:
    runs = tmp_path / "copied-runs"
    run = spoilt_copy(workplace, first["run"], runs, "stopped")
    run.result("train").unlink()
    with_lock(run, **{key: "0" * 64})
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    done = command_line("train", "--resume", str(run.root), "--json", cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "RunError"
    assert words in error["message"]
    assert "recipebox train tiny-student" in error["message"]
    assert before == {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_what_else_is_not_as_when_a_run_began_stays_with_it(
    workplace: Path, first: dict[str, Any], command_line: CommandLine, tmp_path: Path
) -> None:
    """Told once more after training, when data may differ too: what was trained is trained."""
    runs = tmp_path / "copied-runs"
    run = spoilt_copy(workplace, first["run"], runs, "stopped")
    run.result("train").unlink()
    with_lock(run, code_sha256="0" * 64)
    done = command_line("train", "--resume", str(run.root), "--json", cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (note,) = document["notes"]
    (difference,) = document["train"]["differences"]
    assert note.endswith(difference)
    assert "own code differ" in difference
    assert "own code differ" in run.report_md.read_text(encoding="utf-8")

    run.set_state("stopped")
    with_lock(run, data_sha256="0" * 64)
    again = command_line("train", "--resume", str(run.root), "--json", cwd=workplace, RECIPEBOX_RUNS=str(runs))
    assert again.returncode == 0, again.stderr
    assert len(json.loads(again.stdout)["notes"]) == 2
    assert json.loads(again.stdout)["train"]["differences"] == [difference]
