"""Every exported file with its own numbers; accuracy beside latency only where both are of the same file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recipebox.listing import list_runs, runs_table
from recipebox.report.headline import headline
from recipebox.report.shipped import shipped_section
from recipebox.report.source import read_run
from recipebox.report.variants import HEADER, variants_section
from recipebox.run_dir import RunDir

Edit = Callable[..., None]


def add_variant(run: RunDir, name: str, **changes: Any) -> str:
    """Write export-<name>.json and its file; returns the file's hash."""
    content = f"an onnx file in {name}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    (run.onnx.parent / f"best-{name}.onnx").write_bytes(content)
    own = json.loads(run.result("export").read_text())
    document = own | {"file": f"weights/best-{name}.onnx", "sha256": sha256, "precision": name, "bytes": 3_300_000}
    (run.root / f"export-{name}.json").write_text(json.dumps(document | changes))
    return sha256


def add_timing(run: RunDir, name: str, sha256: str, p50: float, fps: float) -> None:
    own = json.loads(run.result("bench").read_text())
    latency = own["latency_ms"] | {"end_to_end": own["latency_ms"]["end_to_end"] | {"p50": p50}}
    changed = own | {"sha256": sha256, "latency_ms": latency, "fps": fps}
    (run.root / f"bench-{name}.json").write_text(json.dumps(changed))


def rows(run: RunDir) -> dict[str, dict[str, str]]:
    """The table by file name and column."""
    lines = [line for line in variants_section(read_run(run)).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == HEADER
    return {row[0]: dict(zip(HEADER, row, strict=True)) for row in cells[2:]}


def test_one_exported_file_needs_no_table(run: RunDir) -> None:
    assert variants_section(read_run(run)) == ""


def test_each_file_has_its_own_numbers(run: RunDir) -> None:
    before = run.read_result("evaluate")["test"]["mAP50-95"]
    test = run.read_result("export")["test"]
    add_variant(run, "fp16")
    int8 = add_variant(run, "int8", test=test | {"mAP50-95": before - 0.031}, passed=False, keep=["/a/Conv"], nms=True)
    add_timing(run, "int8", int8, 11.5, 80.25)
    table = rows(run)
    assert list(table) == ["best.pt", "best.onnx", "best-fp16.onnx", "best-int8.onnx (1 kept in fp16)"]
    assert (table["best.onnx"]["p50 ms"], table["best.onnx"]["fps"]) == ("25.50", "38.4")
    assert table["best-fp16.onnx"]["p50 ms"] == table["best-fp16.onnx"]["fps"] == "not measured"
    add_variant(run, "nms", reference={"mAP50-95": test["mAP50-95"] + 0.005})
    assert rows(run)["best-nms.onnx"]["from best.pt"] == "-0.0050", "from best.pt behind the same NMS"
    assert table["best-fp16.onnx"]["from best.pt"] == "-0.0002" and table["best-fp16.onnx"]["gate"] == "passed"
    broken = table["best-int8.onnx (1 kept in fp16)"]
    assert (broken["from best.pt"], broken["gate"], broken["MiB"]) == ("-0.0310", "**FAILED**", "3.1")
    assert (broken["p50 ms"], broken["fps"]) == ("11.50", "80.2")
    add_timing(run, "onnxruntime-cuda", int8, 2.5, 400.0)
    assert rows(run)["best-int8.onnx (1 kept in fp16)"]["p50 ms"] == "11.50 (onnxruntime-cpu); 2.50 (onnxruntime-cpu)"
    assert "### Every exported file" in shipped_section(read_run(run), {})


def test_a_timing_of_another_file_is_nobodys(run: RunDir, edit_result: Edit) -> None:
    add_variant(run, "int8")
    add_timing(run, "int8", "0" * 64, 11.5, 80.25)
    edit_result(run, "bench", ("sha256",), "1" * 64)
    assert {row["fps"] for row in rows(run).values()} == {"not measured"}
    text = shipped_section(read_run(run), {"latency.png": b""})
    assert "**is not** the exported one" in text and "end to end**" not in text and "latency.png" not in text
    assert "**Speed**" not in headline(read_run(run), [])


def test_files_that_were_changed_or_made_from_other_weights_are_said(run: RunDir) -> None:
    add_variant(run, "fp16", weights_sha256="2" * 64)
    add_variant(run, "int8")
    (run.onnx.parent / "best-int8.onnx").write_bytes(b"changed")
    table = rows(run)
    assert table["best-fp16.onnx"]["gate"] == "made from other weights"
    assert table["best-fp16.onnx"]["from best.pt"] == ""
    assert "was changed since" in table["best-int8.onnx"]["gate"]
    (run.onnx.parent / "best-int8.onnx").unlink()
    assert rows(run)["best-int8.onnx"]["gate"] == "passed; the file is gone"


def test_a_spoiled_variant_is_a_problem_in_words(run: RunDir) -> None:
    (run.root / "export-int8.json").write_text('{"schema": 1')
    (run.root / "bench-tensorrt.json").write_text('{"schema": 9}')
    facts = read_run(run)
    said = " ".join(facts.problems)
    assert "export-int8.json: not valid JSON" in said and str(run.root) not in said
    assert "bench-tensorrt.json is of another version" in said
    assert len(facts.exports) == len(facts.benches) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("file", "sha256", "bytes", "format", "precision", "batch", "nms", "keep", "weights_sha256", "test", "passed")


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_in_an_export_breaks_the_table(run: RunDir, changes: dict[str, Any]) -> None:
    add_variant(run, "int8", **changes)
    table = [line for line in variants_section(read_run(run)).splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert {line.replace("\\|", "").count("|") for line in table} == {len(HEADER) + 1}


@pytest.fixture
def row(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    monkeypatch.setenv("RECIPEBOX_RUNS", str(run.root.parents[1]))
    return lambda: next(entry for entry in list_runs() if entry["id"] == run.id)


def test_the_list_of_runs_shows_accuracy_and_latency_of_one_file(
    run: RunDir, edit_result: Edit, row: Callable[[], dict[str, Any]]
) -> None:
    evaluated, exported = run.read_result("evaluate")["test"], run.read_result("export")["test"]
    assert row()["file"] == "best.onnx" and row()["mAP50-95"] == exported["mAP50-95"] != evaluated["mAP50-95"]
    assert row()["end_to_end_p50_ms"] == 25.5
    assert "best.onnx" in runs_table([row()])
    edit_result(run, "bench", ("sha256",), "0" * 64)
    assert row()["file"] == "best.pt" and row()["mAP50-95"] == evaluated["mAP50-95"]
    assert "end_to_end_p50_ms" not in row()
    edit_result(run, "evaluate", ("test",), {})
    assert "file" not in row()
