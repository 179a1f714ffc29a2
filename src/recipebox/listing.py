"""The lists that `recipebox recipes` and `recipebox runs` show. Nothing heavy: JSON and YAML headers are read."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipebox.errors import RunError
from recipebox.run_dir import RunDir, read_object, runs_root


def list_recipes() -> list[dict[str, str]]:
    """Name, purpose (the first comment line) and path of every recipe that can be called by name."""
    from recipebox.recipe.load import find_recipes

    return [{"name": path.stem, "purpose": _purpose(path), "path": str(path)} for path in find_recipes()]


def recipes_table(rows: Sequence[dict[str, str]]) -> str:
    """For people."""
    if not rows:
        return "no recipes here: they are looked for in ./recipes"
    return plain_table([("RECIPE", "PURPOSE"), *((row["name"], row["purpose"]) for row in rows)])


def list_runs() -> list[dict[str, Any]]:
    """Every run under the runs folder, latest first; numbers that were not measured are absent."""
    rows = []
    for plan in runs_root().glob("*/*/plan.yaml"):
        run = RunDir(plan.parent)
        state, reason = run.state()
        row: dict[str, Any] = {"run": str(run.root), "recipe": run.recipe, "id": run.id, "state": state}
        if reason:
            row["reason"] = reason
        epochs = _read(run.result("train")).get("epochs")
        rows.append(row | ({"epochs": epochs} if _is_number(epochs) else {}) | _measured(run))
    return sorted(rows, key=lambda row: row["id"], reverse=True)


def _measured(run: RunDir) -> dict[str, Any]:
    """Accuracy and latency of one file, which `file` names: the exported one where that was timed, else best.pt."""
    evaluated, exported, timed = (_read(run.result(stage)) for stage in ("evaluate", "export", "bench"))
    weights, sha256 = evaluated.get("weights_sha256"), exported.get("sha256")
    whole = weights is not None and exported.get("weights_sha256") == weights
    together = whole and sha256 is not None and timed.get("sha256") == sha256
    test = exported.get("test") if together else evaluated.get("test")
    numbers = {"mAP50": _at(test, "mAP50"), "mAP50-95": _at(test, "mAP50-95")}
    if together:
        numbers["end_to_end_p50_ms"] = _at(timed, "latency_ms", "end_to_end", "p50")
    found = {key: value for key, value in numbers.items() if _is_number(value)}
    return found | ({"file": "best.onnx" if together else "best.pt"} if found else {})


def runs_table(rows: Sequence[dict[str, Any]]) -> str:
    """For people."""
    if not rows:
        return f"no runs in {runs_root()}: `recipebox train RECIPE` makes one"
    lines = [("RUN", "STATE", "EPOCHS", "FILE", "mAP50", "mAP50-95", "P50 ms", "")]
    for row in rows:
        lines.append(
            (
                _shown(Path(row["run"])),
                row["state"],
                str(row.get("epochs", "-")),
                row.get("file", "-"),
                _number(row.get("mAP50"), 3),
                _number(row.get("mAP50-95"), 3),
                _number(row.get("end_to_end_p50_ms"), 1),
                str(row.get("reason", "")).partition("\n")[0][:60],
            )
        )
    return plain_table(lines)


def accuracy_table(document: dict[str, Any]) -> str:
    """What an evaluation measured on test, for people: the whole split, then each class.

    Args:
        document: as in evaluate.json.
    """
    test, dataset = document["test"], document["dataset"]["name"]
    rows = [("class", "defects", "AP50", "AP50-95", "escapes", "overkill")]
    for entry in document["per_class"]:
        counts = (str(entry[key]) for key in ("escapes", "overkill"))
        rows.append(
            (entry["name"], str(entry["instances"]), *(_number(entry.get(k), 3) for k in ("AP50", "AP50-95")), *counts)
        )
    whole = f"{dataset}: {test['images']} test images, mAP50 {_number(test.get('mAP50'), 3)}"
    return f"{whole}, mAP50-95 {_number(test.get('mAP50-95'), 3)}\n{plain_table(rows)}"


def _purpose(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
    return first.lstrip("# ").removeprefix("purpose:").strip() if first.startswith("#") else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, "", finite=False)
    except RunError:
        return {}


def _at(document: Any, *path: str) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _shown(path: Path) -> str:
    """A path as people would type it: relative to here when it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def fitted_table(rows: Sequence[Sequence[str]]) -> str:
    """`plain_table` where the terminal is as wide, and in a pipe or file. In a narrower one each row's first cell, with
    what stands under an empty head, is a line of its own, and the others follow below it with their heads.

    Args:
        rows: the heads, then the cells; `-` says nothing.
    """
    table, width = plain_table(rows), shutil.get_terminal_size((0, 0)).columns
    if not width or max(map(len, table.split("\n"))) <= width:
        return table
    head, lines = rows[0], []
    for row in rows[1:]:
        lines.append("  ".join([row[0], *(cell for name, cell in zip(head, row, strict=True) if not name)]))
        named = zip(head[1:], row[1:], strict=True)
        below = ", ".join(f"{name} {cell}" for name, cell in named if name and cell != "-")
        lines += textwrap.wrap(below, max(width, 40), initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
