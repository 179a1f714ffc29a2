"""A run folder is read without trust: what is spoiled is named, never raised and never made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recipebox.errors import RunError
from recipebox.report.source import Document, read_run, started_at
from recipebox.run_dir import RunDir

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.lists(st.sampled_from("abc"), max_size=3))
def test_a_document_answers_any_question_about_any_content(content: object, path: list[str]) -> None:
    document = Document(content if isinstance(content, dict) else {"a": content})
    number = document.number(*path)
    assert number is None or abs(number) < float("inf")
    assert document.count(*path) is None or document.count(*path) == number
    assert all(value is None or abs(value) < float("inf") for row in document.rows(*path) for value in row)
    assert isinstance(document.part(*path).content, dict)
    assert all(isinstance(entry, Document) for entry in document.entries(*path))
    assert document.flag(*path) in (None, True, False)


def test_a_whole_run_has_no_problems(run: RunDir) -> None:
    facts = read_run(run)
    assert facts.problems == ()
    assert facts.absent == {}
    assert len(facts.epochs) == 12
    assert len(facts.steps) == 528
    assert facts.recipe == "pcb-distill"
    assert facts.folder == f"runs/pcb-distill/{run.id}"


def test_a_missing_stage_names_the_command_that_makes_it(run: RunDir) -> None:
    run.result("export").unlink()
    facts = read_run(run)
    assert f"`recipebox export runs/pcb-distill/{run.id}`" in facts.absent["export"]
    assert not facts.export


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema": 3}', "schema 3, this version reads 2"),
        (b"{}", "no schema number"),
    ],
)
def test_a_spoiled_result_is_absent_with_a_reason(run: RunDir, content: bytes, words: str) -> None:
    run.result("bench").write_bytes(content)
    facts = read_run(run)
    assert words in facts.absent["bench"]
    assert "recipebox bench" in facts.absent["bench"]
    assert not facts.bench


def test_nan_is_not_measured_and_is_named(run: RunDir) -> None:
    document = json.loads(run.result("evaluate").read_text())
    document["test"]["mAP50"] = float("nan")
    document["pr_curves"]["recall"][3] = float("inf")
    run.result("evaluate").write_text(json.dumps(document))
    facts = read_run(run)
    assert facts.evaluate.number("test", "mAP50") is None
    assert any("evaluate.json, test, mAP50" in text for text in facts.problems)
    assert any("pr_curves, recall" in text for text in facts.problems)


def test_half_a_last_line_is_left_out(run: RunDir) -> None:
    with open(run.epochs, "ab") as file:
        file.write(b'{"epoch": 13, "val": {"mAP')
    facts = read_run(run)
    assert len(facts.epochs) == 12
    assert "epochs.jsonl: the last line is only half written and was left out" in facts.problems


def test_spoiled_lines_are_counted(run: RunDir) -> None:
    lines = run.epochs.read_text().splitlines()
    run.epochs.write_text("\n".join([lines[0], "nonsense", "[]", *lines[1:]]))
    facts = read_run(run)
    assert len(facts.epochs) == 12
    assert any("2 spoiled line(s) left out (line 2, 3)" in text for text in facts.problems)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_log_is_said(run: RunDir, content: str) -> None:
    run.epochs.write_text(content)
    assert any("epochs.jsonl is empty" in text for text in read_run(run).problems)


def test_missing_logs_and_a_spoiled_plan_and_lock_are_said(run: RunDir) -> None:
    run.epochs.unlink()
    run.plan.write_text("{unclosed: [")
    run.lock.write_text("{")
    facts = read_run(run)
    said = " ".join(facts.problems)
    assert "epochs.jsonl is missing" in said
    assert "plan.yaml cannot be read" in said
    assert "lock.json: not valid JSON" in said
    assert facts.plan is None
    assert str(run.root) not in said
    assert facts.recipe == "pcb-distill"


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_in_a_log_are_survived(run: RunDir, content: bytes) -> None:
    run.epochs.write_bytes(content)
    assert isinstance(read_run(run).problems, tuple)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no plan\.yaml"):
        read_run(RunDir(tmp_path))


def test_the_start_comes_from_the_folder(tmp_path: Path) -> None:
    began = started_at(RunDir(tmp_path / "20261121-090426-ab12"))
    assert began is not None
    assert began.isoformat() == "2026-11-21T09:04:26+00:00"
    assert started_at(RunDir(tmp_path / "named-by-hand")) is None
