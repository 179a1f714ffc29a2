"""Records survive half-written lines, and a resumed run never has a hole in them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.errors import RunError
from recipebox.run_dir import RunDir
from recipebox.train.records import learning_rate, progress_info
from recipebox.train.telemetry import Telemetry, finite, read_json_lines


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    values = {"mAP50": 0.1 * number, "mAP50-95": 0.05 * number, "precision": 0.5, "recall": 0.5, "box_loss": 2.0}
    record = {"epoch": number, "step": 6 * number, "optimizer_steps": 6 * number, "seconds": 1.5, "val": values}
    record |= {"train": {"box_loss": 2.0, "kd_loss": 0.3}, "lr": 0.01, "lr_groups": [0.01, 0.02], "best": True}
    return record | changes


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create("r", tmp_path)
    telemetry = Telemetry(run)
    for number in (1, 2, 3):
        telemetry.step({"step": number, "epoch": number, "loss": {}, "lr": 0.01, "techniques": {}})
        telemetry.epoch(epoch(number))
    telemetry.close()
    return run


def test_results_csv_has_the_columns_of_ultralytics(run: RunDir) -> None:
    with open(run.results_csv, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["metrics/mAP50(B)"] == "0.2" and rows[1]["time"] == "3"
    assert rows[0]["train/kd_loss"] == "0.3" and "val/kd_loss" not in rows[0]
    assert rows[0]["lr/pg1"] == "0.02"


def test_results_csv_has_the_live_weights_where_they_were_validated(tmp_path: Path) -> None:
    run = RunDir.create("r", tmp_path)
    telemetry = Telemetry(run)
    telemetry.epoch(epoch(1, val_live={"mAP50": 0.4, "box_loss": 3.0}))
    telemetry.close()
    with open(run.results_csv, newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["live/metrics/mAP50(B)"], row["live/val/box_loss"]) == ("0.4", "3")
    assert row["metrics/mAP50(B)"] == "0.1"


def test_the_epoch_and_the_decay_come_before_the_losses() -> None:
    losses = {"box_loss": 1.234, "kd_loss": 2.0}
    assert progress_info(7, 100, losses, {"ema/decay": 0.99341}) == "epoch 7/100 ema 0.9934 box 1.23 kd 2.00"
    in_swa = {"ema/decay": 1.0, "swa/averaged": 2.0}
    assert progress_info(7, 100, losses, in_swa) == "epoch 7/100 swa 2 box 1.23 kd 2.00"
    assert progress_info(7, 100, losses, {}) == "epoch 7/100 box 1.23 kd 2.00"


def test_resuming_forgets_what_came_after_the_checkpoint(run: RunDir) -> None:
    Telemetry(run, epoch=2).close()
    assert [line["epoch"] for line in read_json_lines(run.epochs)] == [1, 2]
    assert [line["epoch"] for line in read_json_lines(run.steps)] == [1, 2]
    assert run.results_csv.read_text().count("\n") == 3


@pytest.mark.parametrize("tail", [b'{"epoch": 4, "st', b"\xff\xfe\n", b"[1, 2]\n", b'{"epoch": "four"}\n'])
def test_a_half_written_line_is_left_out(run: RunDir, tail: bytes) -> None:
    run.epochs.write_bytes(run.epochs.read_bytes() + tail)
    telemetry = Telemetry(run, epoch=3)
    telemetry.close()
    assert len(telemetry.epochs) == 3
    assert tail not in run.epochs.read_bytes()


@pytest.mark.parametrize("spoil", ["missing", "hole", "keys", "garbage"])
def test_a_hole_in_the_records_is_refused(run: RunDir, spoil: str) -> None:
    lines = run.epochs.read_text().splitlines(keepends=True)
    if spoil == "missing":
        run.epochs.unlink()
    elif spoil == "hole":
        run.epochs.write_text(lines[0] + lines[2])
    elif spoil == "keys":
        run.epochs.write_text(lines[0] + json.dumps({"epoch": 2}) + "\n" + lines[2])
    else:
        run.epochs.write_text("no records")
    with pytest.raises(RunError, match="start a new one"):
        Telemetry(run, epoch=3)


def test_only_finite_numbers_are_numbers() -> None:
    assert finite({"a": 1, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}


def test_an_epoch_is_on_the_disk_before_the_checkpoint_that_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """state.pt is synced when it is written: after a power cut the records must not lag behind it."""
    synced: dict[str, str] = {}
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced[path.name] = path.read_text(encoding="utf-8")

    run = RunDir.create("r", tmp_path)
    telemetry = Telemetry(run)
    monkeypatch.setattr(os, "fsync", watched)
    for number in (1, 2):
        telemetry.step({"step": number, "epoch": number, "loss": {}, "lr": 0.01, "techniques": {}})
        telemetry.epoch(epoch(number))
        for path in (run.epochs, run.steps):
            assert synced[path.name] == path.read_text(encoding="utf-8")
            assert synced[path.name].count("\n") == number
    telemetry.close()


def test_the_learning_rate_is_that_of_most_parameters() -> None:
    """MuSGD's first group is the class branch, at three times the rate."""
    groups = [(3, 0.03), (2, 0.01), (2000, 0.01), (4, 0.1)]
    optimizer = torch.optim.SGD([{"params": [torch.zeros(size)], "lr": rate} for size, rate in groups], lr=0.01)
    assert learning_rate(optimizer) == 0.01
