"""Only what is comparable stands beside a run, and what is missing says which command makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recipebox.report.compare import (
    counted,
    differences,
    matching_runs,
    peers,
    result_table,
    teacher_peers,
    ticked,
    weaker,
)
from recipebox.report.source import Document, read_run
from recipebox.run_dir import RunDir

Edit = Callable[..., None]


def test_equal_data_size_and_split_are_comparable(run: RunDir, baseline_run: RunDir) -> None:
    assert differences(read_run(run), read_run(baseline_run)) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("dataset", "sha256"), "0" * 64, "other data (deeppcb 000000000000"),
        (("dataset", "sha256"), None, "SHA-256 is not recorded"),
        (("imgsz",), 640, "imgsz 640, this run 320"),
        (("imgsz",), None, "imgsz not recorded"),
        (("iou",), 0.33, "IoU 0.33, this run 0.5"),
        (("test", "images"), 499, "test images 499, this run 500"),
        (("test", "instances"), 3141, "test instances 3141, this run 3140"),
        (("names",), ["open"], "other class names"),
    ],
)
def test_every_difference_is_a_reason(
    run: RunDir, baseline_run: RunDir, edit_result: Edit, path: tuple[str, ...], value: Any, words: str
) -> None:
    edit_result(baseline_run, "evaluate", path, value)
    found = differences(read_run(run), read_run(baseline_run))
    assert len(found) == 1
    assert words in found[0]
    this = read_run(run)
    rows = peers(this, [baseline_run])
    text = result_table(this, rows)
    assert "not comparable" in text
    row = next(line for line in text.splitlines() if line.startswith("| baseline"))
    assert not any(character.isdigit() for character in row)
    assert "difference to" not in text


def test_a_baseline_that_was_never_run_names_its_command(run: RunDir) -> None:
    rows = peers(read_run(run), [])
    assert [row.recipe for row in rows] == ["pcb-baseline"]
    assert rows[0].reason == "no finished run; `recipebox train pcb-baseline --profile cpu` makes one"
    assert "`recipebox train pcb-baseline --profile cpu`" in result_table(read_run(run), rows)


def test_an_unevaluated_baseline_names_its_command(run: RunDir, baseline_run: RunDir) -> None:
    baseline_run.result("evaluate").unlink()
    rows = peers(read_run(run), [baseline_run])
    assert f"recipebox evaluate runs/pcb-baseline/{baseline_run.id}" in rows[0].reason


def test_the_run_itself_is_no_baseline(run: RunDir) -> None:
    assert all(row.facts is None for row in peers(read_run(run), [run]))


def test_the_teacher_is_found_by_itself(run: RunDir, teacher_run: RunDir) -> None:
    (row,) = teacher_peers(read_run(run), [])
    assert row is not None
    assert row.facts is not None
    assert row.reason == ""
    assert row.facts.run.root == teacher_run.root


def test_a_moved_teacher_folder_is_found_beside_the_run(run: RunDir, teacher_run: RunDir) -> None:
    document = json.loads(run.result("train").read_text())
    document["teachers"][0]["run"] = f"/elsewhere/pcb-teacher/{teacher_run.id}"
    run.result("train").write_text(json.dumps(document))
    (row,) = teacher_peers(read_run(run), [])
    assert row is not None
    assert row.facts is not None


def test_a_lost_teacher_names_the_command(run: RunDir, teacher_run: RunDir) -> None:
    teacher_run.plan.unlink()
    (row,) = teacher_peers(read_run(run), [])
    assert row is not None
    assert row.facts is None
    assert "recipebox train pcb-teacher --profile cpu" in row.reason


def test_a_teacher_with_other_weights_does_not_count(run: RunDir, teacher_run: RunDir, edit_result: Edit) -> None:
    edit_result(teacher_run, "evaluate", ("weights_sha256",), "1" * 64)
    (row,) = teacher_peers(read_run(run), [teacher_run])
    assert row is not None
    assert "not those this run learned from" in row.reason


def test_a_run_without_teacher_has_no_teacher_row(baseline_run: RunDir) -> None:
    assert teacher_peers(read_run(baseline_run), []) == []


def test_the_table_adds_up(run: RunDir, baseline_run: RunDir) -> None:
    this = read_run(run)
    rows = result_table(this, peers(this, [baseline_run])).splitlines()
    cells = {row.split("|")[1].strip(): [cell.strip(" *") for cell in row.split("|")[2:-1]] for row in rows[2:5]}
    mine, theirs = cells["**this run** pcb-distill"], cells["baseline pcb-baseline"]
    difference = cells["difference to pcb-baseline"]
    for column in range(6):
        assert float(mine[column]) - float(theirs[column]) == pytest.approx(float(difference[column]), abs=1e-9)
    assert mine[0] == f"{this.evaluate.number('test', 'mAP50'):.3f}"
    assert int(mine[4]) == sum(entry.count("escapes") or 0 for entry in this.evaluate.entries("per_class"))


def test_other_budget_is_said(run: RunDir, baseline_run: RunDir) -> None:
    text = baseline_run.plan.read_text()
    assert "epochs: 12" in text
    baseline_run.plan.write_text(text.replace("epochs: 12", "epochs: 50"))
    assert "train.epochs 50, this run 12" in weaker(read_run(run), read_run(baseline_run))


def test_the_latest_matching_run_is_taken(run: RunDir, baseline_run: RunDir, edit_result: Edit) -> None:
    newer = RunDir(baseline_run.root.with_name("29990101-000000-ffff"))
    baseline_run.root.joinpath("weights").mkdir(exist_ok=True)
    newer.root.mkdir()
    for name in ("plan.yaml", "evaluate.json", "state.json"):
        (newer.root / name).write_bytes((baseline_run.root / name).read_bytes())
    assert [found.id for found in matching_runs(run, ["pcb-baseline", "never-run"])] == [newer.id]
    edit_result(newer, "evaluate", ("imgsz",), 640)
    assert [found.id for found in matching_runs(run, ["pcb-baseline"])] == [baseline_run.id]


def test_counts_with_a_gap_are_not_summed() -> None:
    document = Document({"per_class": [{"escapes": 3, "overkill": 1}, {"overkill": 2}]})
    assert counted(document).escapes is None
    assert counted(document).overkill == 3


def test_commands_in_reasons_stay_code_and_the_rest_is_escaped() -> None:
    assert ticked("no <run>; `make it` makes one") == "no &lt;run&gt;; `make it` makes one"
    assert "`" not in ticked("a lone ` tick").replace("\\`", "")


def test_several_teachers_have_a_row_each_in_their_order(
    run: RunDir, teacher_run: RunDir, make_run: Callable[..., RunDir]
) -> None:
    second = make_run("pcb-teacher-second", level=0.94)
    document = json.loads(run.result("train").read_text())
    used = second.read_result("evaluate")["weights_sha256"]
    document["teachers"].append({"recipe": second.recipe, "run": str(second.root), "weights_sha256": used})
    run.result("train").write_text(json.dumps(document))
    for given in ([], [teacher_run, second]):
        rows = teacher_peers(read_run(run), given)
        assert [(row.recipe, row.reason) for row in rows] == [("pcb-teacher", ""), ("pcb-teacher-second", "")]
