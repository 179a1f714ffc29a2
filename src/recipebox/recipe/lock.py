"""What decides a run's weights, as hashes and versions: two runs with equal locks are the same run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from recipebox.recipe.machine import cpu_count
from recipebox.recipe.plan_record import Plan
from recipebox.recipe.schema import Settings

CODE_FOLDERS = ("recipe", "data", "techniques", "train")
"""The part of recipebox whose code can change the weights."""

PACKAGES = ("torch", "torchvision", "ultralytics", "numpy", "opencv-python", "opencv-python-headless", "pillow")
"""What computes besides Python; those that are not installed are left out."""


def make_lock(
    plan: Plan,
    *,
    data_sha256: str,
    weights_sha256: str | None,
    teacher_locks: Sequence[dict[str, Any]] = (),
    cpu_threads: int | None = None,
) -> dict[str, Any]:
    """The lock of a run.

    Args:
        plan: the run's plan. Of its settings those that decide the weights are taken: evaluation, export and bench
            do not, nor do the number of loader processes or fallbacks that were not taken.
        data_sha256: `DetectionSet.sha256`.
        weights_sha256: of the initial weights; None when they are drawn (scratch).
        teacher_locks: the locks of the teachers' runs.
        cpu_threads: threads that compute, on a CPU; default OMP_NUM_THREADS or the cores this process may use. They
            change the order of sums, and so the last bits.
    """
    on_cpu = plan.device == "cpu"
    return {
        "schema": 1,
        "recipe": plan.name,
        "settings": deciding_settings(plan.settings),
        "data_sha256": data_sha256,
        "weights_sha256": weights_sha256,
        "code_sha256": code_sha256(),
        "versions": versions(),
        "device": plan.device.partition(":")[0],
        "cpu_threads": (cpu_threads or _threads()) if on_cpu else None,
        "teachers": list(teacher_locks),
    }


def lock_digest(lock: dict[str, Any]) -> str:
    """SHA-256 of everything in a lock that decides the weights; a recipe's name does not."""
    return hashlib.sha256(json.dumps(_nameless(lock), sort_keys=True, allow_nan=False).encode()).hexdigest()


def lock_difference(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What differs from lock `a` to lock `b`, in words; empty exactly when their digests are equal."""
    return list(_differences(a, b))


def input_difference(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The part of `lock_difference` that is a run's own data and initial weights: with others it is another run."""
    return list(_hash_differences(a, b, ("data_sha256", "weights_sha256")))


def deciding_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide the weights, as plain JSON values."""
    everything = settings.model_dump(mode="json", include={"data", "model", "train", "augment", "techniques"})
    del everything["data"]["fallback"], everything["model"]["fallback"], everything["train"]["workers"]
    # The same network said two ways; and the hash of the weights stands in the lock as such.
    everything["model"]["arch"] = settings.model.architecture
    del everything["model"]["sha256"]
    if everything["techniques"]["ema"]:
        del everything["techniques"]["ema"]["evaluate_both"]  # one more measurement, of the same training
    if everything["techniques"]["distillation"] is not None:
        # Who taught stands in the teachers' locks; under what name, or from which path, does not matter.
        weights = [teacher.pop("weight") for teacher in everything["techniques"]["distillation"]["teachers"]]
        everything["techniques"]["distillation"]["teachers"] = [weight / sum(weights) for weight in weights]
    return everything


def deciding_plan(plan: Plan) -> dict[str, Any]:
    """What of a plan decides the weights, its teachers in their order: plans that are equal in it are the same run."""
    decides = {"settings": deciding_settings(plan.settings), "teachers": [deciding_plan(one) for one in plan.teachers]}
    return decides if plan.run is None else {**decides, "run": plan.run}


def code_sha256(package: Path | None = None) -> str:
    """SHA-256 over the Python files of `CODE_FOLDERS` and the networks that are drawn there, by name and content."""
    root = package or Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in CODE_FOLDERS:
        for path in sorted(path for path in (root / folder).rglob("*") if path.suffix in {".py", ".yaml"}):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute, from their metadata: nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else cpu_count()


def _nameless(lock: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in lock.items() if key not in {"recipe", "teachers"}}
    return {**kept, "teachers": [_nameless(teacher) for teacher in lock.get("teachers", [])]}


_HASHES = {
    "data_sha256": "the images or labels",
    "weights_sha256": "the initial weights",
    "code_sha256": "recipebox's own code",
}


def _differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    for path, old, new in _leaves(a.get("settings", {}), b.get("settings", {}), ""):
        yield f"{path}: {_word(old)} -> {_word(new)}"
    yield from _hash_differences(a, b, _HASHES)
    for name, old, new in _leaves(a.get("versions", {}), b.get("versions", {}), ""):
        yield f"{name} {old or 'absent'} -> {new or 'absent'}"
    for key, words in (("device", "device"), ("cpu_threads", "CPU threads"), ("schema", "lock format")):
        if a.get(key) != b.get(key):
            yield f"{words}: {_word(a.get(key))} -> {_word(b.get(key))}"
    ours, theirs = a.get("teachers", []), b.get("teachers", [])
    if len(ours) != len(theirs):
        yield f"teachers: {len(ours)} -> {len(theirs)}"
    for old, new in zip(ours, theirs, strict=False):
        for words in _differences(old, new):
            yield f"teacher {new.get('recipe', '')}: {words}"


def _hash_differences(a: dict[str, Any], b: dict[str, Any], keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        if a.get(key) != b.get(key):
            yield f"{_HASHES[key]} differ ({_short(a.get(key))} -> {_short(b.get(key))})"


def _leaves(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from _leaves(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path, a, b


def _word(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def _short(value: Any) -> str:
    return str(value)[:12] if value else "none"
