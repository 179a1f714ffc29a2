"""doctor as a whole: by the command line, by itself on a bare machine, and what it may stand on."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from recipebox.doctor import facts

if TYPE_CHECKING:
    from conftest import CommandLine

REPOSITORY = Path(__file__).resolve().parents[2]
DOCTOR = REPOSITORY / "src" / "recipebox" / "doctor"
FILES = sorted(DOCTOR.glob("*.py"))
SINCE_38 = {"graphlib", "zoneinfo", "tomllib"}
"""Modules of the standard library that Python 3.8 does not have."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_python_38_and_stands_by_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            assert name.startswith("recipebox.doctor") or (top in sys.stdlib_module_names and top not in SINCE_38), name
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not called.endswith((".removeprefix", ".removesuffix", ".is_relative_to", ".readlink")), called
            assert "strict" not in [keyword.arg for keyword in node.keywords]
    for statement in tree.body:  # what runs at import: annotations do not, subscripts of types do
        value = getattr(statement, "value", None)
        if isinstance(statement, ast.Assign) and isinstance(value, ast.Subscript):
            raise AssertionError(f"{path.name}:{statement.lineno}: Python 3.8 cannot subscript a type when it runs")


def pythons() -> list[str]:
    """This Python, and a 3.8 where there is one."""
    older = [shutil.which("python3.8"), *map(str, Path.home().glob(".pyenv/versions/3.8*/bin/python"))]
    working = [one for one in older if one and subprocess.run([one, "-c", ""], capture_output=True).returncode == 0]
    return [sys.executable, *working[:1]]


@pytest.mark.parametrize("python", pythons())
def test_a_machine_with_nothing_gets_a_table(tmp_path: Path, python: str) -> None:
    """Copied somewhere else, no site-packages, an environment without anything, a PATH that leads nowhere."""
    shutil.copytree(DOCTOR, tmp_path / "recipebox" / "doctor")
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{python}" -I -S "$@"\n')
    bare.chmod(0o755)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"python": str(bare)}))
    done = subprocess.run(
        [python, "-S", "-E", str(tmp_path / "recipebox" / "doctor"), "--request", str(request)],
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    long = [line for line in done.stdout.splitlines() if len(line) > 80 and "$ " not in line]
    assert all(len(line.split()) <= 3 for line in long), "only a path that cannot be parted may be longer"
    for words in ("PROBLEM  torch", "not installed", "$ make setup", "shared memory", "container"):
        assert words in done.stdout


@pytest.mark.parametrize("request_text", [None, "not JSON", "[1, 2]"])
def test_a_request_that_cannot_be_read_is_told(tmp_path: Path, request_text: str | None) -> None:
    if request_text is not None:
        (tmp_path / "request.json").write_text(request_text)
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(DOCTOR), "--request", str(tmp_path / "request.json")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: --request") and not done.stdout


def test_the_command_line(command_line: CommandLine, tmp_path: Path) -> None:
    """A hanging driver, an engine that answers rubbish and spoiled weights; whatever else this machine has."""
    commands = {"nvidia-smi": "echo 'Driver/library version mismatch'; exit 18", "docker": "echo ????; exit 5"}
    (tmp_path / "bin").mkdir()
    for name, script in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "yolov8n.pt").write_bytes(b"cut short")
    done = command_line(
        "doctor",
        "--json",
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        RECIPEBOX_WEIGHTS=str(tmp_path / "weights"),
        RECIPEBOX_DATA=str(tmp_path / "nowhere"),
    )
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    problems = {row["check"]: row for row in document["findings"] if row["status"] == "problem"}
    assert {"GPU", "weights", "data"} <= set(problems)
    assert problems["GPU"]["mend"] == "sudo reboot"
    assert document["problems"] == sum(row["status"] == "problem" for row in document["findings"])
    assert {row["check"]: row["status"] for row in document["findings"]}["torchvision"] == "ok"


def test_make_doctor_needs_no_environment(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    done = subprocess.run(
        [make, "doctor", f"PYTHON={sys.executable}", f"RECIPEBOX_VENV={tmp_path / 'none'}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "shared memory" in done.stdout, done.stderr
    assert not (tmp_path / "none").exists()


def test_an_environment_that_is_broken_does_not_matter(tmp_path: Path) -> None:
    """A recipebox that does not start, a current folder that is gone, a temporary folder that cannot be written."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "recipebox").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "recipebox").chmod(0o755)
    script = f'cd "{tmp_path}" && mkdir gone && cd gone && rmdir ../gone && "{make}" -C "{REPOSITORY}" doctor'
    done = subprocess.run(
        ["/bin/sh", "-c", f'{script} RECIPEBOX_VENV="{tmp_path}"'],
        env=os.environ | {"TMPDIR": "/nowhere", "RECIPEBOX_RUNS": "", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "shared memory" in done.stdout, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_facts_are_those_of_pyproject() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    allowed = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    for name, (low, high) in facts.TESTED.items():
        assert SpecifierSet(f">={low},<{high}") == allowed[name], name
    assert SpecifierSet(f">={facts.PYTHON[0][0]}.{facts.PYTHON[0][1]}") == SpecifierSet(project["requires-python"])


def test_newer_drivers_come_first() -> None:
    drivers = [facts.numbers(driver) for driver, _ in facts.CUDA_OF_DRIVER]
    assert drivers == sorted(drivers, reverse=True)
    assert facts.cuda_of_driver("580.95.05") == "13.0"
    assert facts.cuda_of_driver("390.1") is None
    assert facts.jetpack_of_l4t("36.4") == "6.1"
    assert facts.jetpack_of_l4t("35.1.0") == "5.0.2"
