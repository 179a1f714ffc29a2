"""The command line: answers, exit codes, one JSON document on stdout, and make's way of calling it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recipebox import answers
from recipebox.errors import BadInput, CheckFailed, TrainingFailed
from recipebox.verbs.options import Answer

if TYPE_CHECKING:
    from conftest import CommandLine

REPOSITORY = Path(__file__).resolve().parents[1]
VERBS = (
    *("init", "plan", "train", "evaluate", "export", "bench", "report", "runs", "recipes", "data", "doctor", "version"),
    "check-data",
    "anchors",
    "predict",
)


def test_help_names_every_verb(command_line: CommandLine) -> None:
    done = command_line("--help")
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize(
    "arguments",
    [["version"], ["runs"], ["recipes"], ["recipes", "schema"], ["plan", "pcb-distill"]],
    ids=" ".join,
)
def test_json_is_the_only_thing_on_stdout(command_line: CommandLine, arguments: list[str]) -> None:
    done = command_line(*arguments, "--json", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["plan", "pcb-distil"], "RecipeError", "no such recipe"),
        (["plan", "pcb-distill", "--device", "7"], "PlanConflict", "no such GPU"),
        (["plan"], "UsageError", "RECIPE"),
        (["plan", "pcb-distill", "--profil", "cpu"], "UsageError", "--profil"),
        (["plann"], "UsageError", "plann"),
        (["train"], "BadInput", "RECIPE"),
        (["train", "--resume", "./nowhere"], "RunError", "not a run folder"),
        (["evaluate", "pcb-distill"], "RunError", "no finished run"),
        (["export", ""], "RunError", "no run was named"),
        (["bench", "x" * 5000], "RunError", "no finished run"),
        (["report", "x/" + "y" * 5000], "RunError", "not a run folder"),
        (["train", "--resume", "x/" + "y" * 5000], "RunError", "not a run folder"),
        (["data", "prepare", "nowhere"], "DataError", "no such data set"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_an_error_is_a_document_too(command_line: CommandLine, arguments: list[str], kind: str, words: str) -> None:
    done = command_line(*arguments, "--json", cwd=REPOSITORY)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 2
    assert error["kind"] == kind
    assert words in error["message"]
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_problems_of_a_recipe_come_with_file_and_line(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("data: {dataset: pcb-synthetic}\nmodel: {weights: 3}\ntrain: {epoch: 3}\n", encoding="utf-8")
    error = json.loads(command_line("plan", str(path), "--json").stdout)["error"]
    assert {problem["line"] for problem in error["problems"]} >= {3}
    assert all(problem["file"].endswith("bad.yaml") and problem["message"] for problem in error["problems"])


def test_an_interrupt_and_a_bug_are_documents_too(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from recipebox.answers import deliver\n"
        "def verb():\n"
        "    raise {}\n"
        "sys.exit(deliver(verb, as_json=True))\n"
    )
    for raised, status, kind in (("KeyboardInterrupt", 130, "Interrupted"), ("KeyError('x')", 1, "UnexpectedFailure")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(raised)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "TMPDIR": str(tmp_path)},
        )
        error = json.loads(done.stdout)["error"]
        assert done.returncode == error["exit_code"] == status
        assert error["kind"] == kind


def test_a_name_cannot_speak_to_the_terminal(command_line: CommandLine) -> None:
    done = command_line("report", "red\x1b[31m\rgone")
    assert done.returncode == 2
    assert "red\\x1b[31m\\rgone" in done.stderr


@pytest.mark.parametrize("wait", [0.12, 0.2, 0.3])
def test_ctrl_c_while_it_starts_shows_no_traceback(tmp_path: Path, wait: float) -> None:
    """Most of the start is an import. The interpreter's own start, before any line of recipebox, is Python's."""
    code = (
        "import os, signal, sys, threading\n"
        "class Press:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            threading.Timer(float(sys.argv.pop()), os.kill, [os.getpid(), signal.SIGINT]).start()\n"
        "sys.meta_path.insert(0, Press())\n"
        "import recipebox.cli\n"
        "import time; recipebox.cli.app = lambda **_: time.sleep(20)\n"
        "recipebox.cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(wait / 10)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_recipes_are_listed_with_their_purpose(command_line: CommandLine) -> None:
    rows = json.loads(command_line("recipes", "--json", cwd=REPOSITORY).stdout)
    assert {"pcb-baseline", "pcb-distill", "pcb-teacher"} <= {row["name"] for row in rows}
    assert all(row["purpose"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train"], 2, "RECIPE"),
        (["train", "a", "--resume", "b"], 2, "one of"),
        (["train", "--resume", "b", "--profile", "cpu"], 2, "--profile"),
        (["train", "--resume", "pcb-distill"], 2, "no stopped run"),
        (["train", "--locked", "pcb-distill"], 2, "no finished run"),
        (["train", "--resume", "./nowhere"], 2, "not a run folder"),
        (["report", "pcb-distill"], 2, "no finished run"),
        (["bench", "./nowhere"], 2, "not a run folder"),
        (["plan", "pcb-distil"], 2, "pcb-distill"),
        (["plan", "pcb-distill", "--profile", "smok"], 2, "smoke"),
        (["plan", "pcb-distill", "--set", "train.epoch=3"], 2, "train.epochs"),
        (["plan", "pcb-distil", "--set", "train.epoch=3"], 2, "pcb-distill"),
        (["plan", "pcb-distil", "--set", "train.epoch=3"], 2, "train.epochs"),
        (["plan", "pcb-distill", "--set", "nonsense"], 2, "key=value"),
        (["plan", "pcb-distill", "--device", "97"], 2, "no such GPU"),
        (["data", "prepare", "deepcb"], 2, "deeppcb"),
        (["data", "prepare", "deeppcb", "--from", "nowhere.tar"], 2, "no such file"),
        (["fly"], 2, "fly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_used_is_refused_in_words(
    command_line: CommandLine, arguments: list[str], code: int, words: str
) -> None:
    done = command_line(*arguments, cwd=REPOSITORY)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def deliver_raising(error: BaseException, **options: Any) -> int:
    def verb() -> Answer:
        raise error

    return answers.deliver(verb, as_json=options.get("as_json", False))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadInput("the width is 0"), 2, "error: the width is 0"),
        (CheckFailed("too slow"), 3, "error: too slow"),
        (TrainingFailed("diverged"), 1, "error: diverged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/data/x"), 1, "the disk is full"),
        (PermissionError(13, "Permission denied", "/data/x"), 1, "no permission"),
        (MemoryError(), 1, "out of memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_errors_have_a_message_and_a_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deliver_raising(error) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_bug_is_called_one_and_its_details_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECIPEBOX_DEBUG", raising=False)
    assert deliver_raising(IndexError("list index out of range")) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: IndexError: list index out of range\n")
    assert "this is a bug in recipebox" in message
    assert "Traceback" not in message
    log = Path(message.split("details in ")[1].strip())
    assert "Traceback" in log.read_text(encoding="utf-8")
    log.unlink()


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPEBOX_DEBUG", "1")
    assert deliver_raising(BadInput("the width is 0")) == 2
    assert "Traceback" in capsys.readouterr().err


def test_json_survives_libraries_that_print() -> None:
    code = (
        "import os, sys\n"
        "from recipebox.answers import deliver\n"
        "from recipebox.verbs.options import Answer\n"
        "def verb():\n"
        "    print('a library talks')\n"
        "    os.system('echo a program talks')\n"
        "    return Answer({'ok': True}, 'fine')\n"
        "sys.exit(deliver(verb, as_json=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == {"ok": True}
    assert "a library talks" in done.stderr
    assert "a program talks" in done.stderr


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """A checkout whose recipebox prints its arguments, one a line; its set-up counts as done."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "docker", "scripts"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    program = tmp_path / ".venv" / "bin" / "recipebox"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_make_calls_the_verb_with_its_choices(makefile: Path) -> None:
    assert make(makefile, "train") == ["train", "--", "pcb-distill"]
    assert make(makefile, "train", "RECIPE=x", "PROFILE=smoke", "DEVICE=cpu", "SET=train.epochs=3 train.seed=1") == [
        *("train", "--set", "train.epochs=3", "--set", "train.seed=1"),
        *("--profile", "smoke", "--device", "cpu", "--", "x"),
    ]
    assert make(makefile, "init", "DATASET=my boards", "NAME=line-3") == ["init", "--name", "line-3", "--", "my boards"]
    assert make(makefile, "init", NAME="of-the-machine") == ["init"]
    assert make(makefile, "prove", "RECIPE=x", "PROFILE=smoke") == ["prove", "--profile", "smoke", "--", "x"]
    swept = ("OVER=train.lr0=0.01,0.02 techniques.ema=off,null", "SEEDS=1,2,3", "SET=train.epochs=3")
    assert make(makefile, "sweep", *swept) == [
        *("sweep", "--set", "train.epochs=3", "--over", "train.lr0=0.01,0.02", "--over", "techniques.ema=off,null"),
        *("--seeds", "1,2,3", "--", "pcb-distill"),
    ]
    assert make(makefile, "bench", "RECIPE=x") == ["bench", "--", "x"]
    assert make(makefile, "bench", "RECIPE=x", "RUN=runs/x/1") == ["bench", "--", "runs/x/1"]
    assert make(makefile, "bench") == ["bench", "--", "pcb-distill"]
    assert make(makefile, "bench-compare", "A=my run", "B=x.onnx") == ["bench", "compare", "--", "my run", "x.onnx"]
    assert make(makefile, "predict", "RUN=r", "IMAGES=my images", "OUT=my out") == [
        *("predict", "--out", "my out", "--", "r", "my images"),
    ]
    assert make(makefile, "predict") == ["predict", "--", "pcb-distill", ""]
    assert make(makefile, "anchors") == ["anchors", "--", "pcb-distill"]
    assert make(makefile, "anchors", "DATASET=my set", "IMGSZ=320", "OUT=a b.png") == [
        *("anchors", "--imgsz", "320", "--plot", "a b.png", "--", "my set"),
    ]
    assert make(makefile, "doctor") == ["doctor"]
    assert make(makefile, "data", "DATASET=d", "FROM=my file.tar") == [
        "data",
        "prepare",
        "--from",
        "my file.tar",
        "--",
        "d",
    ]


@pytest.mark.parametrize(
    "variable", ["RECIPE", "RUN", "A", "PROFILE", "DEVICE", "DATASET", "FROM", "SEEDS", "NAME", "IMAGES"]
)
@pytest.mark.parametrize(
    "value",
    [
        "a; touch harm",
        "$(touch harm)",
        "`touch harm`",
        "$(shell touch harm)",
        "${shell touch harm}",
        '"; touch harm; "',
        "'; touch harm; '",
        "a && touch harm #",
        "a\ntouch harm",
        "--help",
    ],
)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_make_never_runs_a_value(makefile: Path, variable: str, value: str, way: str) -> None:
    target = {
        "RUN": "report",
        "A": "bench-compare",
        "DATASET": "data",
        "FROM": "data",
        "SEEDS": "sweep",
        "NAME": "init",
        "IMAGES": "predict",
    }.get(variable, "train")
    if way == "argument":
        shown = make(makefile, target, f"{variable}={value}")
    else:
        shown = make(makefile, target, **{variable: value})
    assert not (makefile / "harm").exists()
    # Some systems set NAME for everybody, so make takes it from the command line only.
    assert (value in "\n".join(shown)) != (variable == "NAME" and way == "environment")


@pytest.mark.parametrize("value", ["a=$(shell touch harm)", "a=1;touch${IFS}harm", "a=*", "`touch harm`"])
def test_make_passes_settings_as_they_are(makefile: Path, value: str) -> None:
    for target, variable, option in (("train", "SET", "--set"), ("sweep", "OVER", "--over")):
        shown = make(makefile, target, f"{variable}={value}")
        assert not (makefile / "harm").exists()
        assert shown[1:-2] == [part for word in value.split() for part in (option, word)]


def test_make_help_explains_every_target(makefile: Path) -> None:
    text = (makefile / "Makefile").read_text(encoding="utf-8")
    phony = text.split(".PHONY:")[1].splitlines()[0].split()
    shown = "\n".join(make(makefile, "help"))
    assert all(f"  {target} " in shown for target in phony)


def test_setup_refuses_an_old_python_in_words(makefile: Path) -> None:
    old = makefile / "python-old"
    old.write_text('#!/bin/sh\ncase "$2" in *exit*) exit 1;; *) echo 3.9;; esac\n', encoding="utf-8")
    old.chmod(0o755)
    (makefile / ".venv" / ".ready").unlink()
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}"], cwd=makefile, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "recipebox needs 3.11" in done.stderr
    assert not (makefile / ".venv" / ".ready").exists()
