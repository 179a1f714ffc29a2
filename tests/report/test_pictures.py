"""Pictures are drawn from whatever was measured, at one width, and from nothing else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from recipebox.report import pictures
from recipebox.report.accuracy_pictures import confusion_matrix, latency, pr_curves
from recipebox.report.pictures import DPI, WIDTH, losses, schedules, validation
from recipebox.report.provenance import training_section
from recipebox.report.source import Document, RunFacts, read_run
from recipebox.run_dir import RunDir

DRAW: dict[str, Callable[[RunFacts], bytes | None]] = {
    "losses": losses,
    "validation": validation,
    "schedules": schedules,
    "pr": lambda facts: pr_curves(facts.evaluate),
    "confusion": lambda facts: confusion_matrix(facts.evaluate),
    "latency": lambda facts: latency(facts.bench),
}


def width(picture: bytes) -> int:
    assert picture.startswith(b"\x89PNG")
    return int(struct.unpack(">I", picture[16:20])[0])


@pytest.mark.parametrize("name", DRAW)
def test_every_picture_has_the_common_width_and_repeats_exactly(run: RunDir, name: str) -> None:
    facts = read_run(run)
    first = DRAW[name](facts)
    assert first is not None
    assert width(first) == round(WIDTH * DPI)
    assert DRAW[name](facts) == first


@pytest.mark.parametrize("name", DRAW)
def test_nothing_is_drawn_from_nothing(run: RunDir, name: str) -> None:
    for path in (run.epochs, run.steps, run.result("evaluate"), run.result("bench"), run.result("train")):
        path.unlink()
    assert DRAW[name](read_run(run)) is None


def test_one_epoch_is_visible(run: RunDir) -> None:
    whole = validation(read_run(run))
    run.epochs.write_text(run.epochs.read_text().splitlines()[0] + "\n")
    one = validation(read_run(run))
    assert one is not None
    assert one != whole


@pytest.mark.parametrize("draw", [losses, schedules])
def test_a_legend_of_many_lines_leaves_the_title_free(
    run: RunDir, draw: Callable[[RunFacts], bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (run.epochs, run.steps):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.setdefault("train", {}).update(kd_logits_loss=1.0, kd_box_loss=0.5, kd_features_loss=2.0)
            names = ("logits", "box", "features")
            row.setdefault("techniques", {}).update({f"distillation/{name}_weight": 1.0 for name in names})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    panels = 0

    def looked_at(figure: Figure) -> bytes:
        nonlocal panels
        figure.canvas.draw()
        for axes in figure.axes:
            legend = axes.get_legend()
            if legend is not None:
                panels += len(legend.get_lines()) == 3
                assert not legend.get_window_extent().overlaps(axes.title.get_window_extent()), axes.get_title()
        return b""

    monkeypatch.setattr("recipebox.report.pictures.png", looked_at)
    draw(read_run(run))
    assert panels == 1


def test_live_weights_are_drawn_and_compared_where_they_were_validated(run: RunDir) -> None:
    plain = validation(read_run(run))
    rows = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["val"]["mAP50-95"] = 0.5
        row["val_live"] = {"mAP50": 0.4, "mAP50-95": 0.3 + 0.1 * (number % 2)}
    run.epochs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = read_run(run)
    assert validation(facts) not in (None, plain)
    said = training_section(facts, {})
    assert "best 0.500 and 0.400, change from one epoch to the next 0.000 and 0.100" in said


def test_distillation_that_did_nothing_is_said(run: RunDir) -> None:
    rows = [json.loads(line) for line in run.epochs.read_text(encoding="utf-8").splitlines()]
    for values, silent in (([0.0] * len(rows), True), ([0.0] * (len(rows) - 1) + [0.1], False)):
        for row, loss in zip(rows, values, strict=True):
            row["train"]["kd_box_loss"] = loss
            row.setdefault("techniques", {})["distillation/box_weight"] = 0.5
        run.epochs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        assert ("distillation did **nothing**" in training_section(read_run(run), {})) == silent


def test_smoothing_is_drawn_for_the_classes_that_have_their_own(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    whole = pictures._curve

    def noted(axes: Any, points: Any, label: str, *how: Any) -> None:
        drawn.append(label)
        whole(axes, points, label, *how)

    monkeypatch.setattr(pictures, "_curve", noted)

    def labels(**epsilons: float) -> list[str]:
        rows = [json.loads(line) for line in run.steps.read_text().splitlines()]
        for row in rows:
            row["techniques"] = {f"smoothing/{key}": value for key, value in epsilons.items()}
        run.steps.write_text("".join(json.dumps(row) + "\n" for row in rows))
        drawn.clear()
        assert schedules(read_run(run))
        return [label.lstrip("\u200b") for label in drawn if label != "lr"]

    assert labels(epsilon=0.1) == ["epsilon"]
    assert labels(epsilon=0.1, epsilon_spur=0.2) == ["epsilon", "spur"]
    assert labels(epsilon=0.0, epsilon__x=0.2, **{"epsilon_$y": 0.1}) == ["_x", "$y"], "a flat line at 0 says nothing"


def test_what_the_class_levers_did_is_said(run: RunDir) -> None:
    plain = schedules(read_run(run))
    assert "smoothing" not in training_section(read_run(run), {})
    rows = [json.loads(line) for line in run.steps.read_text().splitlines()]
    for row in rows:
        row.setdefault("techniques", {})["smoothing/epsilon"] = 0.1
    run.steps.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    for number, row in enumerate(rows):
        row.setdefault("techniques", {}).update(
            {
                "smoothing/epsilon": 0.1 - 0.1 * number / (len(rows) - 1),
                "smoothing/epsilon_spur": 0.2,
                "smoothing/moved": 0.0,
                "class_weights/weight_spur": 1.25,
                "class_weights/weight_<b>": 0.75,
                "class_weights/positive_extra": 0.117,
                "sampling/share_spur": 0.4,
                "sampling/images": 0.8,
            }
        )
    run.epochs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = read_run(run)
    assert schedules(facts) not in (None, plain)
    said = training_section(facts, {})
    assert "label smoothing after the first epoch 0.1 (spur 0.2), at the end 0 (spur 0.2), 0.0000 taken" in said
    assert "class weights: spur 1.25, " in said and "<b>" not in said
    assert "changed the class loss of the last step by +12%" in said
    assert "by class: spur 40%, from 80% of the images" in said


def test_of_how_many_epochs_swa_made_the_weights_is_said(run: RunDir) -> None:
    rows = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    best = next(row["epoch"] for row in rows if row["best"])
    for first, says in ((best - 1, "best.pt of 2"), (best + 1, "best.pt is of an epoch before it began")):
        for row in rows:
            row["techniques"].pop("swa/averaged", None)
            if row["epoch"] >= first:
                row["techniques"]["swa/averaged"] = row["epoch"] - first + 1
        run.epochs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        said = training_section(read_run(run), {})
        assert f"last.pt is the mean of {rows[-1]['epoch'] - first + 1} epochs' ends, {says}" in said
        assert "EMA decay in force at the end" not in said


def test_names_are_never_formulas_and_never_lost() -> None:
    recall = [i / 10 for i in range(11)]
    curves = {name: [1.0] * 11 for name in (r"$\frac{$", "_hidden", "漢字", "a\nb")}
    document = Document({"pr_curves": {"recall": recall, "precision": curves}, "per_class": []})
    assert pr_curves(document) is not None
    labels = [*curves, "background"]
    matrix = [[1] * 5 for _ in labels]
    assert confusion_matrix(Document({"confusion": {"labels": labels, "matrix": matrix}})) is not None


def test_many_classes_are_drawn() -> None:
    recall = [i / 10 for i in range(11)]
    names = [f"class {i}" for i in range(80)]
    precision = {name: [1 - x * i / 80 for x in recall] for i, name in enumerate(names)}
    assert pr_curves(Document({"pr_curves": {"recall": recall, "precision": precision}})) is not None
    labels = [*names, "background"]
    matrix = [[i * j for i in range(81)] for j in range(81)]
    assert confusion_matrix(Document({"confusion": {"labels": labels, "matrix": matrix}})) is not None


@pytest.mark.parametrize(
    "matrix", [[], [[1]], [[1, 2], [3]], [[1, 2], [3, None]], [[1, -2], [3, 4]], "text", [[1, 2], "row"]]
)
def test_a_spoiled_matrix_is_not_drawn(matrix: object) -> None:
    assert confusion_matrix(Document({"confusion": {"labels": ["a", "background"], "matrix": matrix}})) is None


def test_curves_of_another_length_are_not_drawn() -> None:
    document = Document({"pr_curves": {"recall": [0.0, 1.0], "precision": {"a": [1.0], "b": [1.0, None]}}})
    assert pr_curves(document) is None
