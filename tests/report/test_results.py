"""Intervals, the file that ships, and the words around numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipebox.report.headline import headline, warnings_to_heed
from recipebox.report.results import (
    inspection_section,
    result_section,
    share_text,
    wilson_interval,
)
from recipebox.report.shipped import mismatches, shipped_section
from recipebox.report.source import read_run
from recipebox.run_dir import RunDir

Edit = Callable[..., None]


def test_wilson_interval_of_published_examples() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20 and 1/29.
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(count, of) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_holds_the_share(pair: tuple[int, int]) -> None:
    count, of = pair
    low, high = wilson_interval(count, of)
    assert 0 <= low <= count / of + 1e-12
    assert count / of - 1e-12 <= high <= 1


@pytest.mark.parametrize(("count", "of"), [(1, 0), (-1, 5), (6, 5)])
def test_what_is_no_share_is_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson_interval(count, of)


def test_a_share_says_why_there_is_none() -> None:
    assert share_text(0, 0) == "none to count"
    assert share_text(5, 3) == "counts disagree"
    assert share_text(None, 3) == "not measured"


def test_latency_has_two_decimals_and_the_files_hash(run: RunDir) -> None:
    text = shipped_section(read_run(run), {})
    sha = read_run(run).export.text("sha256") or ""
    assert "| **end to end** | 25.50 | 30.60 | 38.25 | 53.55 | 2.55 |" in text
    assert f"SHA-256 `{sha}`" in text
    assert f"with the file `{sha[:12]}`" in text
    assert "38.4 images a second end to end (95 % interval 37.1 to 39.6)" in text


def test_a_short_step_is_not_printed_as_nothing(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "bench", ("latency_ms", "copy_in"), {"p50": 0.004, "p95": 0.009, "p99": 0.012, "max": 0.12})
    text = shipped_section(read_run(run), {})
    assert "| copy in | 0.004 | 0.009 | 0.012 | 0.12 | not measured |" in text


def test_a_latency_that_was_not_measured_is_not_a_zero(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "bench", ("latency_ms", "postprocess"), None)
    text = shipped_section(read_run(run), {})
    assert "| post-process |" + " not measured |" * 5 in text


def test_a_class_without_instances_has_no_ap(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "evaluate", ("per_class",), [{"name": "open", "instances": 0, "escapes": 0, "overkill": 2}])
    text = inspection_section(read_run(run), {})
    row = next(line for line in text.splitlines() if line.startswith("| open"))
    assert row == "| open | 0 | 0 | none to count | not measured | 2 | no instances | no instances |"


def test_good_boards_are_counted_where_there_are_any(run: RunDir, edit_result: Edit) -> None:
    assert "holds no good boards" in inspection_section(read_run(run), {})
    edit_result(run, "evaluate", ("boards",), {"defective": 400, "escaped": 40, "good": 100, "overkilled": 3})
    text = inspection_section(read_run(run), {})
    assert "40 of 400 defective boards would pass, 10.0 %" in text
    assert "3 of 100 good boards would be rejected, 3.0 %" in text


def test_a_run_whose_files_fit_has_no_mismatch(run: RunDir) -> None:
    assert mismatches(read_run(run)) == []
    assert warnings_to_heed(read_run(run)) == []


@pytest.mark.parametrize(
    ("stage", "path", "words"),
    [
        ("bench", ("sha256",), "two different files"),
        ("export", ("weights_sha256",), "export.json was made from other weights"),
        ("evaluate", ("weights_sha256",), "evaluate.json was made from other weights"),
    ],
)
def test_results_of_other_files_are_said_loudly(
    run: RunDir, edit_result: Edit, stage: str, path: tuple[str, ...], words: str
) -> None:
    edit_result(run, stage, path, "0" * 64)
    assert any(words in line for line in warnings_to_heed(read_run(run)))


def test_a_changed_onnx_file_is_said_loudly(run: RunDir) -> None:
    run.onnx.write_bytes(b"another file")
    assert any("not the file that was measured" in line for line in warnings_to_heed(read_run(run)))


def test_a_failed_gate_and_a_failed_run_are_said_loudly(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "export", ("passed",), False)
    edit_result(run, "export", ("reasons",), ["mAP50-95 fell from 0.5660 to 0.5350, by 0.0310; 0.005 is allowed"])
    run.set_state("failed", "the loss is not <finite>")
    said = "\n".join(warnings_to_heed(read_run(run)))
    assert "failed the accuracy gate" in said
    assert "by 0.0310; 0.005 is allowed. Do not ship it." in said
    assert "The run **failed**: the loss is not &lt;finite&gt;." in said


def title(run: RunDir) -> str:
    return headline(read_run(run), []).splitlines()[0]


def test_the_title_says_what_was_measured(run: RunDir) -> None:
    score = run.read_result("evaluate")["test"]["mAP50-95"]
    assert title(run) == f"# pcb-distill: mAP50-95 {score:.3f} on deeppcb"


def test_a_test_split_without_defects_is_not_called_unmeasured(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "evaluate", ("test", "mAP50-95"), None)
    edit_result(run, "evaluate", ("test", "instances"), 0)
    assert title(run) == "# pcb-distill: no mAP, its test split holds no defects (deeppcb)"


def test_a_run_that_was_not_evaluated_says_so(run: RunDir) -> None:
    run.result("evaluate").unlink()
    assert title(run) == "# pcb-distill: not evaluated yet"


def test_a_score_that_is_gone_is_no_split_without_defects(run: RunDir, edit_result: Edit) -> None:
    """evaluate.json was spoiled: its instances are there, so the split does hold defects."""
    edit_result(run, "evaluate", ("test", "mAP50-95"), None)
    assert title(run) == "# pcb-distill: no mAP was recorded (deeppcb)"


def test_fallbacks_of_run_and_teacher_are_said_loudly(make_run: Callable[..., RunDir]) -> None:
    taken = "weights: scratch in place of yolov8n.pt"
    assert warnings_to_heed(read_run(make_run("pcb-distill", fallbacks=(taken,)))) == [f"**Fallback taken:** {taken}"]


def test_a_fallback_of_a_teachers_teacher_is_said_loudly(make_run: Callable[..., RunDir]) -> None:
    taken = "weights: scratch in place of yolov8x.pt"
    run = make_run("pcb-distill")
    plan = yaml.safe_load(run.plan.read_text(encoding="utf-8"))
    first = {**plan, "name": "first", "fallbacks": [taken]}
    plan = {**plan, "teachers": [{**plan, "name": "second", "teachers": [first]}]}
    run.plan.write_text(yaml.safe_dump(plan), encoding="utf-8")
    assert warnings_to_heed(read_run(run)) == [f"**Fallback taken by the teacher** (first): {taken}"]


def test_a_detector_that_finds_nothing_has_no_precision(run: RunDir, edit_result: Edit) -> None:
    edit_result(run, "evaluate", ("test", "precision"), None)
    edit_result(run, "evaluate", ("test", "recall"), 0.0)
    edit_result(run, "evaluate", ("threshold_from",), "default")
    this = read_run(run)
    row = next(line for line in result_section(this, []).splitlines() if line.startswith("| **this run**"))
    assert "**no detections**" in row
    assert "a default score threshold" in result_section(this, [])


def test_a_busy_machine_is_said(run: RunDir, edit_result: Edit) -> None:
    assert "not idle" not in shipped_section(read_run(run), {})
    edit_result(run, "bench", ("machine", "disturbed"), True)
    assert "not idle" in shipped_section(read_run(run), {})
