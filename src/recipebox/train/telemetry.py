"""What a run says of itself while it runs: steps.jsonl, epochs.jsonl, results.csv. Formats: docs/run-files.md."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

from recipebox.errors import RunError, storage_errors
from recipebox.run_dir import RunDir, atomic_writer, write_text


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file up to the first that is not one (a half-written line). Empty without a file."""
    if not path.exists():
        return []
    lines = []
    with storage_errors(path), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                document = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(document, dict) or not isinstance(document.get("epoch"), int):
                break
            lines.append(document)
    return lines


_EPOCH_KEYS = {"epoch", "step", "optimizer_steps", "seconds", "train", "val", "lr", "lr_groups", "best"}


def finite(values: dict[str, Any]) -> dict[str, float]:
    """Plain numbers, those that are not finite left out: a number is measured or it is absent."""
    numbers = {key: float(value) for key, value in values.items()}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def check_records(run: RunDir, epoch: int) -> list[dict[str, Any]]:
    """The records of the first `epoch` epochs.

    Raises:
        RunError: one is missing or spoiled, so the run's account of itself would have a hole.
        StorageError: the file cannot be read.
    """
    if run.epochs.is_dir():
        raise RunError(
            f"{run.epochs}: a folder stands where a file belongs. Move it away; the run cannot be continued."
        )
    records = [line for line in read_json_lines(run.epochs) if line["epoch"] <= epoch]
    if [line["epoch"] for line in records] != list(range(1, epoch + 1)) or any(
        not line.keys() >= _EPOCH_KEYS for line in records
    ):
        raise RunError(
            f"{run.epochs}: does not hold the {epoch} epochs that {run.checkpoint.name} has behind it. "
            "The run cannot be continued; start a new one."
        )
    return records


class Telemetry:
    """Appends to the run's records; on resume forgets what came after the checkpoint.

    Args:
        run: the run folder.
        epoch: epochs that count as done; later records are dropped.

    Raises:
        RunError: epochs that count as done are not on record, so the run's account of itself would have a hole.
        StorageError: the records cannot be written.
    """

    def __init__(self, run: RunDir, epoch: int = 0) -> None:
        self._run = run
        self._epochs = check_records(run, epoch)
        steps = [line for line in read_json_lines(run.steps) if line["epoch"] <= epoch]
        for path, lines in ((run.epochs, self._epochs), (run.steps, steps)):
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._write_results_csv()
        with storage_errors(run.steps):
            self._steps: IO[str] = open(run.steps, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    @property
    def seconds(self) -> float:
        """Training time of the epochs on record."""
        return float(sum(line["seconds"] for line in self._epochs))

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return list(self._epochs)

    def step(self, record: dict[str, Any]) -> None:
        """Record a batch."""
        with storage_errors(self._run.steps):
            self._steps.write(json.dumps(record, allow_nan=False) + "\n")

    def epoch(self, record: dict[str, Any]) -> None:
        """Record an epoch and bring results.csv up to date.

        All of it is on the disk when this returns: a checkpoint that counts epochs which a power cut took from the
        records could not be gone on from.
        """
        with storage_errors(self._run.steps):
            _to_disk(self._steps)
        self._epochs.append(record)
        with storage_errors(self._run.epochs), open(self._run.epochs, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            _to_disk(file)
        self._write_results_csv()

    def close(self) -> None:
        """Flush and close; nothing may be recorded afterwards."""
        with storage_errors(self._run.steps):
            self._steps.close()

    def _write_results_csv(self) -> None:
        if not self._epochs:
            self._run.results_csv.unlink(missing_ok=True)
            return
        rows = _results_rows(self._epochs)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_writer(self._run.results_csv, "w") as file:
            file.write(",".join(columns) + "\n")
            for row in rows:
                file.write(",".join(f"{row[key]:.6g}" if key in row else "" for key in columns) + "\n")


def _to_disk(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


_METRIC_COLUMNS = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "mAP50": "metrics/mAP50(B)",
    "mAP50-95": "metrics/mAP50-95(B)",
}


def _results_rows(epochs: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Ultralytics' columns; what was not measured (a validation value of a training-only loss) stays empty."""
    rows, elapsed = [], 0.0
    for line in epochs:
        elapsed += line["seconds"]
        row: dict[str, float] = {"epoch": line["epoch"], "time": elapsed}
        row |= {f"train/{key}": value for key, value in line["train"].items()}
        for prefix, values in (("", line["val"]), ("live/", line.get("val_live", {}))):
            row |= {prefix + column: values[key] for key, column in _METRIC_COLUMNS.items() if key in values}
            row |= {f"{prefix}val/{key}": value for key, value in values.items() if key not in _METRIC_COLUMNS}
        row |= {f"lr/pg{index}": value for index, value in enumerate(line["lr_groups"])}
        rows.append(row)
    return rows
