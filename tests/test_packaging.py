"""What pyproject.toml allows, what the locks install and what was tested are the same story."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = ("runtime.lock", "dev.lock")


def requirements() -> dict[str, Requirement]:
    """What pyproject.toml asks for, by the name that the locks install (OpenCV's headless build)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    found = {canonicalize_name(one.name): one for one in map(Requirement, lines)}
    found["opencv-python-headless"] = found.pop("opencv-python")
    return found


def pins(lock: str) -> dict[str, set[Version]]:
    """Every version a lock names; a package can have one for each range of Pythons or platforms."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "docker" / lock).read_text(), re.M):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


def lowest(requirement: Requirement) -> Version | None:
    bounds = [one.version for one in requirement.specifier if one.operator == ">="]
    return Version(bounds[0]) if bounds else None


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_pyproject_allows(lock: str) -> None:
    locked = pins(lock)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]}
    for name, requirement in requirements().items():
        needed = lock == "dev.lock" or name.replace("-headless", "") in runtime
        assert name in locked or not needed, f"{lock} has no {name}: scripts/lock.sh"
        for version in locked.get(name, ()):
            assert version in requirement.specifier, f"{lock}: {name} {version} is outside {requirement.specifier}"


def test_both_locks_agree() -> None:
    runtime, dev = map(pins, LOCKS)
    assert runtime.items() <= dev.items()


@pytest.mark.parametrize("lock", ["image.lock", "devbox.lock"])
def test_an_image_holds_what_the_locks_hold(lock: str) -> None:
    """The same versions as outside; only ONNX Runtime has another name, with CUDA's providers in it."""
    outside = pins("runtime.lock" if lock == "image.lock" else "dev.lock")
    inside = pins(lock)
    inside["onnxruntime"] = inside.pop("onnxruntime-gpu")
    assert outside.items() <= inside.items()


@pytest.mark.parametrize("lock", (*LOCKS, "image.lock", "devbox.lock"))
def test_every_file_has_a_hash_and_no_place(lock: str) -> None:
    text = (ROOT / "docker" / lock).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]
    assert len(entries) >= len(pins(lock))
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_page_of_versions_names_the_bounds() -> None:
    """A bound may be moved only with the page that says what was run with it."""
    page = (ROOT / "docs" / "results" / "versions.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z0-9-]+) \| ([0-9.]+) \| ([0-9.]+) \|$", page, re.M)
    tested = {canonicalize_name(name): (Version(low), Version(high)) for name, low, high in rows}
    locked = pins("dev.lock")
    for name, requirement in requirements().items():
        bound = lowest(requirement)
        if bound is not None:
            assert name in tested, f"docs/results/versions.md has no row for {name}"
            assert tested[name][0] == bound
            assert tested[name][1] in locked[name]
    assert tested["torch"][0] == Version("2.11.0")
