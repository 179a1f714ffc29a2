"""A run folder as the report reads it: nothing in it is trusted to be there, whole, or of the right type."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from recipebox.errors import RecipeboxError, RunError
from recipebox.run_dir import RunDir, read_object

if TYPE_CHECKING:
    from recipebox.recipe.plan_record import Plan

Stage = Literal["train", "evaluate", "export", "bench"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_SCHEMAS: dict[Stage, tuple[int, ...]] = {"train": (1,), "evaluate": (1,), "export": (1,), "bench": (1, 2)}
"""What this version reads."""


@dataclass(frozen=True)
class Document:
    """A JSON object, asked by path. What is absent, of another type or not finite is None: not measured."""

    content: dict[str, Any] = field(default_factory=dict)

    def _at(self, path: tuple[str, ...]) -> Any:
        here: Any = self.content
        for key in path:
            if not isinstance(here, dict):
                return None
            here = here.get(key)
        return here

    def number(self, *path: str) -> float | None:
        return _finite(self._at(path))

    def count(self, *path: str) -> int | None:
        value = _finite(self._at(path))
        return int(value) if value is not None and value == int(value) else None

    def text(self, *path: str) -> str | None:
        value = self._at(path)
        return value if isinstance(value, str) else None

    def flag(self, *path: str) -> bool | None:
        value = self._at(path)
        return value if isinstance(value, bool) else None

    def part(self, *path: str) -> Document:
        """The object at `path`, empty where there is none."""
        value = self._at(path)
        return Document(value if isinstance(value, dict) else {})

    def entries(self, *path: str) -> list[Document]:
        """The objects of the list at `path`."""
        value = self._at(path)
        return [Document(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def texts(self, *path: str) -> list[str]:
        value = self._at(path)
        return [str(item) for item in value] if isinstance(value, list) else []

    def numbers(self, *path: str) -> list[float | None]:
        value = self._at(path)
        return [_finite(item) for item in value] if isinstance(value, list) else []

    def rows(self, *path: str) -> list[list[float | None]]:
        """The list of lists of numbers at `path`."""
        value = self._at(path)
        return [[_finite(x) for x in row] for row in value if isinstance(row, list)] if isinstance(value, list) else []

    def __bool__(self) -> bool:
        return bool(self.content)


@dataclass(frozen=True)
class RunFacts:
    """Everything the report knows about a run.

    A stage that has no usable result is an empty Document, and `absent[stage]` says why and which command makes it.
    `problems` are the things wrong with files that are there. `exports` and `benches` hold one document for each file
    that was exported or timed, the one that ships first.
    """

    run: RunDir
    plan: Plan | None
    lock: Document
    stages: dict[Stage, Document]
    absent: dict[Stage, str]
    epochs: tuple[Document, ...]
    steps: tuple[Document, ...]
    problems: tuple[str, ...]
    exports: tuple[Document, ...] = ()
    benches: tuple[Document, ...] = ()

    @property
    def recipe(self) -> str:
        return self.plan.name if self.plan is not None else self.run.recipe

    @property
    def train(self) -> Document:
        return self.stages["train"]

    @property
    def evaluate(self) -> Document:
        return self.stages["evaluate"]

    @property
    def export(self) -> Document:
        return self.stages["export"]

    @property
    def bench(self) -> Document:
        return self.stages["bench"]

    @property
    def folder(self) -> str:
        """The run as a command takes it: relative to the runs folder, so that a report names no one's home."""
        return run_name(self.run)


def run_name(run: RunDir) -> str:
    """`runs/<recipe>/<id>`, the default place, whatever folder this machine keeps its runs in."""
    return f"runs/{run.recipe}/{run.id}"


def read_run(run: RunDir, *, telemetry: bool = True) -> RunFacts:
    """Read what a run folder holds; a spoiled file becomes a problem in words.

    Args:
        telemetry: also read steps.jsonl and epochs.jsonl (a run shown for comparison does without).

    Raises:
        RunError: the folder is not a run folder, or may not be read.
    """
    RunDir.open(run.root)
    problems: list[str] = []
    stages: dict[Stage, Document] = {}
    absent: dict[Stage, str] = {}
    for stage in STAGES:
        document, why = _read_stage(run, stage)
        stages[stage] = document
        if why:
            absent[stage] = why
        problems.extend(_not_finite(document.content, f"{stage}.json"))
    plan = _read_plan(run, problems)
    lock = _read_lock(run, problems)
    epochs = _read_lines(run.epochs, problems) if telemetry else ()
    steps = _read_lines(run.steps, problems) if telemetry else ()
    exports, benches = (
        tuple(document for document in (stages[stage], *_read_others(run, stage, problems)) if document)
        for stage in ("export", "bench")
    )
    return RunFacts(run, plan, lock, stages, absent, epochs, steps, tuple(problems), exports, benches)


def _read_others(run: RunDir, stage: Literal["export", "bench"], problems: list[str]) -> list[Document]:
    """What a stage wrote about other files than the one that ships: export-int8.json, bench-tensorrt.json."""
    found = []
    for path in sorted(run.root.glob(f"{stage}-*.json")):
        try:
            document = Document(read_object(path, f"`recipebox {stage} {run_name(run)}` writes it anew", finite=False))
        except RunError as error:
            problems.append(_from(run, error))
            continue
        problems.extend(_not_finite(document.content, path.name))
        if document.count("schema") in _SCHEMAS[stage]:
            found.append(document)
        else:
            problems.append(f"{path.name} is of another version of recipebox and was left out")
    return found


def file_sha256(path: Path) -> str | None:
    """A file's hash; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a null byte in a name that a file of the run gave
        return None


def started_at(run: RunDir) -> datetime | None:
    """When the run began (UTC), from its folder's name."""
    try:
        return datetime.strptime(run.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _read_stage(run: RunDir, stage: Stage) -> tuple[Document, str]:
    command = f"recipebox train --resume {run_name(run)}" if stage == "train" else f"recipebox {stage} {run_name(run)}"
    path = run.result(stage)
    if not path.exists():
        return Document(), f"the {stage} stage has no result yet; `{command}` makes it"
    try:
        document = Document(read_object(path, f"`{command}` writes it anew", finite=False))
    except RunError as error:
        return Document(), _from(run, error)
    schema = document.count("schema")
    if schema not in _SCHEMAS[stage]:
        found = "no schema number" if schema is None else f"schema {schema}"
        return (
            Document(),
            f"{path.name} has {found}, this version reads {_SCHEMAS[stage][-1]}; `{command}` writes it anew",
        )
    return document, ""


def _read_plan(run: RunDir, problems: list[str]) -> Plan | None:
    from recipebox.recipe.plan_record import plan_from_yaml

    try:
        return plan_from_yaml(run.plan.read_text(encoding="utf-8"))
    except RecipeboxError as error:
        problems.append(f"plan.yaml cannot be read: {error}".replace(str(run.root), run_name(run)))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"plan.yaml cannot be read: {_reason(error)}")
    return None


def _read_lock(run: RunDir, problems: list[str]) -> Document:
    if not run.lock.exists():
        return Document()
    try:
        return Document(read_object(run.lock, f"`recipebox train {run.recipe}` makes a run with one", finite=False))
    except RunError as error:
        problems.append(_from(run, error))
        return Document()


def _from(run: RunDir, error: RunError) -> str:
    """What is wrong with a file, named as it stands in the run: a report names no one's home."""
    return str(error).replace(f"{run.root}/", "")


def _read_lines(path: Path, problems: list[str]) -> tuple[Document, ...]:
    """The objects of a JSON lines file; a half line at the end is what an interrupted write leaves."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        problems.append(f"{path.name} is missing: nothing recorded how training went")
        return ()
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({_reason(error)})")
        return ()
    rows: list[Document] = []
    spoiled: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(Document(row))
            if number <= 2 or number == len(lines):
                problems.extend(_not_finite(row, f"{path.name}:{number}"))
        else:
            spoiled.append(number)
    if spoiled == [len(lines)]:
        problems.append(f"{path.name}: the last line is only half written and was left out")
    elif spoiled:
        shown = ", ".join(map(str, spoiled[:5])) + (" …" if len(spoiled) > 5 else "")
        problems.append(f"{path.name}: {len(spoiled)} spoiled line(s) left out (line {shown})")
    elif not rows:
        problems.append(f"{path.name} is empty: no epoch or step was completed")
    return tuple(rows)


def _not_finite(content: Any, where: str) -> Iterator[str]:
    """Name the numbers that are NaN or infinite; the report shows them as not measured."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _not_finite(value, f"{where}, {key}")
    elif isinstance(content, list):
        if any(isinstance(value, float) and not math.isfinite(value) for value in content):
            yield f"{where}: holds NaN or infinity, shown as not measured"
        for value in content:
            if isinstance(value, dict | list):
                yield from _not_finite(value, where)
    elif isinstance(content, float) and not math.isfinite(content):
        yield f"{where}: is {content}, shown as not measured"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
