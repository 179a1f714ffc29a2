from __future__ import annotations

import copy
import json

import pytest

from recipebox.recipe.changes import parse_set
from recipebox.recipe.load import load_recipe
from recipebox.recipe.lock import code_sha256, lock_difference, lock_digest, make_lock, versions
from recipebox.recipe.plan import make_plan


@pytest.fixture
def lock(write, machine, good):
    """lock("train.epochs=3") of a recipe with that change."""

    def make(*changes, name="one", device="cpu", **more):
        plan = make_plan(load_recipe(write(name, good)), machine(device), overrides=parse_set(changes))
        return make_lock(plan, **{"data_sha256": "d" * 64, "weights_sha256": "w" * 64, "cpu_threads": 2, **more})

    return make


def test_equal_runs_have_equal_locks(lock):
    assert lock() == lock()
    assert lock_difference(lock(), lock()) == []
    assert json.loads(json.dumps(lock(), allow_nan=False)) == lock(), "what is written is what is compared"


@pytest.mark.parametrize(
    "change",
    [
        "export.max_map_drop=0.01",
        "evaluate.iou=0.6",
        "bench.images=7",
        "train.workers=0",
        "data.fallback=pcb-synthetic",
        "model.fallback=scratch",
        "model.arch=yolov8n",
        "techniques.ema.evaluate_both=on",
    ],
)
def test_what_does_not_decide_the_weights_is_not_in_it(lock, change):
    assert lock_digest(lock(change)) == lock_digest(lock())
    assert lock_difference(lock(), lock(change)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.epochs=13", "train.epochs: 12 -> 13"),
        ("train.seed=1", "train.seed: 0 -> 1"),
        ("augment.mosaic=0.5", "augment.mosaic: 1.0 -> 0.5"),
        ("techniques.ema.tau=7", "techniques.ema.tau: 100.0 -> 7.0"),
        ("techniques.ema=off", 'techniques.ema: {"decay": 0.9999, "tau": 100.0, "every": 1} -> false'),
        ("data.images=7", "data.images: not set -> 7"),
    ],
)
def test_settings_that_decide_are_said(lock, change, words):
    assert lock_digest(lock(change)) != lock_digest(lock())
    assert lock_difference(lock(), lock(change)) == [words]


def test_a_name_does_not_decide(lock):
    assert lock_digest(lock(name="two")) == lock_digest(lock())


def test_everything_else_that_decides(lock):
    old = lock()
    for key, value, words in [
        ("data_sha256", "e" * 64, "the images or labels differ (dddddddddddd -> eeeeeeeeeeee)"),
        ("weights_sha256", None, "the initial weights differ (wwwwwwwwwwww -> none)"),
        ("code_sha256", "c" * 64, "recipebox's own code differ"),
        ("device", "cuda", 'device: "cpu" -> "cuda"'),
        ("cpu_threads", 4, "CPU threads: 2 -> 4"),
        ("versions", {**old["versions"], "torch": "0.1"}, " -> 0.1"),
    ]:
        new = {**copy.deepcopy(old), key: value}
        assert lock_digest(new) != lock_digest(old)
        found = lock_difference(old, new)
        assert len(found) == 1
        assert words in found[0]


def test_teachers_are_part_of_it(lock):
    student = lock(teacher_locks=[lock(name="teacher")])
    assert lock_digest(student) == lock_digest(lock(teacher_locks=[lock(name="renamed")]))
    other = lock(teacher_locks=[lock("train.epochs=13", name="teacher")])
    assert lock_digest(other) != lock_digest(student)
    assert lock_difference(student, other) == ["teacher teacher: train.epochs: 12 -> 13"]
    assert lock_difference(student, lock()) == ["teachers: 1 -> 0"]


def test_threads_count_on_a_cpu_only(lock, monkeypatch):
    assert lock(device="cuda:0")["cpu_threads"] is None
    assert lock(device="cuda:1")["device"] == "cuda"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert lock(cpu_threads=None)["cpu_threads"] == 3


def test_code_hash_follows_names_and_contents(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "report").mkdir()
    file = tmp_path / "train" / "a.py"
    file.write_text("x = 1\n")
    first = code_sha256(tmp_path)
    (tmp_path / "report" / "b.py").write_text("y = 1\n")
    (tmp_path / "train" / "notes.txt").write_text("no code")
    assert code_sha256(tmp_path) == first
    file.rename(tmp_path / "train" / "b.py")
    second = code_sha256(tmp_path)
    assert second != first
    (tmp_path / "train" / "b.py").write_text("x = 2\n")
    assert code_sha256(tmp_path) != second


def test_versions_name_what_computes():
    found = versions()
    assert {"python", "torch", "ultralytics", "numpy"} <= set(found)
    assert any(name.startswith("opencv") for name in found)
