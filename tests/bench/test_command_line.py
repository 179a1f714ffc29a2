"""`recipebox bench` and `bench compare` as they are called, with everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from recipebox.bench_job import bench_job, compare_job
from recipebox.errors import BadInput, WeightsError
from recipebox.run_dir import RunDir, write_json

if TYPE_CHECKING:
    from conftest import CommandLine


def test_bench_shows_a_table_and_writes_its_document(shipped: RunDir, command_line: CommandLine) -> None:
    done = command_line("bench", str(shipped.root), "--threads", "1")
    assert done.returncode == 0, done.stderr
    for words in ("pre-process", "copy in", "copy out", "jitter", "bench.min_fps 0.5: passed", "one image after the"):
        assert words in done.stdout
    assert shipped.read_result("bench")["machine"]["threads"] == 1


def test_too_slow_is_exit_code_3_with_the_whole_document(shipped: RunDir, command_line: CommandLine) -> None:
    shipped.plan.write_text(shipped.plan.read_text().replace("min_fps: 0.5", "min_fps: 1000000.0"))
    done = command_line("bench", "--json", "--", "tiny", RECIPEBOX_RUNS=str(shipped.root.parents[1]))
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] is False and document == shipped.read_result("bench")
    _, text, code = bench_job(str(shipped.root), backend=None, threads=1)
    assert code == 3 and "check failed" in text and "FAILED" in text


def test_compare_of_a_file_and_the_weights_it_came_from(shipped: RunDir) -> None:
    before = sorted(path.name for path in shipped.root.rglob("*"))
    document, _ = compare(str(shipped.root), str(shipped.best), pairs=8)
    assert (document["a"]["backend"], document["b"]["backend"]) == ("onnxruntime-cpu", "pytorch-cpu")
    assert document["a"]["sha256"] == shipped.read_result("export")["sha256"]
    assert document["pairs"] == 8 and document["faster"] is None
    assert document["a"]["detections_per_image"] == pytest.approx(document["b"]["detections_per_image"], abs=0.5)
    assert sorted(path.name for path in shipped.root.rglob("*")) == before


def test_compare_of_files_without_a_run_wants_images(shipped: RunDir, tmp_path: Path) -> None:
    copy = tmp_path / "one.onnx"
    copy.write_bytes(shipped.onnx.read_bytes())
    with pytest.raises(BadInput, match="give --dataset"):
        compare(str(copy), str(copy))
    assert "too few" in compare(str(copy), str(shipped.onnx))[1]


def spoiled(kind: str, good: bytes) -> bytes:
    """An ONNX file with one thing wrong."""
    if kind == "empty":
        return b""
    if kind == "garbage":
        return bytes(range(256)) * 40
    if kind == "truncated":
        return good[: len(good) // 2]
    model = onnx.load_from_string(good)
    if kind == "class count":
        next(entry for entry in model.metadata_props if entry.key == "names").value = "{0: 'a', 1: 'b'}"
    elif kind == "no names":
        del model.metadata_props[:]
    elif kind == "NaN weights":
        weights = next(entry for entry in model.graph.initializer if len(entry.dims) == 4)
        weights.raw_data = b"\xff\xff\xff\x7f" * (len(weights.raw_data) // 4)
    elif kind == "operator":
        model.graph.node[0].op_type = "Bogus"
    return bytes(model.SerializeToString())


KINDS = {
    "empty": "ONNX",
    "garbage": "not an ONNX file",
    "truncated": "not an ONNX file",
    "class count": "classes",
    "no names": "no class names",
    "NaN weights": "NaN or infinity",
    "operator": "not an ONNX file that ONNX Runtime can run",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_gives_one_clear_message(kind: str, shipped: RunDir, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(spoiled(kind, shipped.onnx.read_bytes()))
    with pytest.raises(WeightsError, match=KINDS[kind]) as caught:
        compare(str(shipped.root), str(bad))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["garbage", "truncated", "class count", "NaN weights"])
def test_a_run_whose_file_was_spoiled_is_not_timed(kind: str, shipped: RunDir) -> None:
    """Also where export.json was made to fit: nothing is written, nothing crashes."""
    content = spoiled(kind, shipped.onnx.read_bytes())
    shipped.onnx.write_bytes(content)
    with pytest.raises(WeightsError):
        bench_job(str(shipped.root), backend=None, threads=1)
    export = shipped.read_result("export") | {"sha256": hashlib.sha256(content).hexdigest()}
    write_json(shipped.result("export"), export)
    with pytest.raises(WeightsError, match=KINDS[kind]):
        bench_job(str(shipped.root), backend=None, threads=1)
    assert not shipped.result("bench").exists()


def test_a_spoiled_file_never_shows_a_traceback(shipped: RunDir, tmp_path: Path, command_line: CommandLine) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(spoiled("NaN weights", shipped.onnx.read_bytes()))
    done = command_line("bench", "compare", str(shipped.root), str(bad), "--runs", "2", "--json")
    assert done.returncode == 2, (done.returncode, done.stderr)
    error = json.loads(done.stdout)["error"]
    assert "NaN or infinity" in error["message"] and error["kind"] == "WeightsError"
    assert "Traceback" not in done.stderr


def compare(a: str, b: str, **changes: Any) -> Any:
    wishes: dict[str, Any] = {"dataset": None, "backends": (None, None), "threads": 1, "pairs": 2}
    return compare_job((a, b), **(wishes | changes))


def test_what_cannot_be_used_is_said(shipped: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipebox.bench.backend.has_gpu", lambda: False)
    run = str(shipped.root)
    garbage = shipped.root / "weights" / "plan.engine"
    garbage.write_bytes(bytes(range(256)))
    for words, call in {
        "no such file": lambda: compare("gone.onnx", "gone.onnx"),
        "at least one image": lambda: compare(run, run, pairs=0),
        "nowhere": lambda: compare(run, run, dataset="nowhere/at-all"),
        "no finished run": lambda: compare("nothing", run),
        "there are pytorch-cpu": lambda: bench_job(run, backend="warp-drive", threads=1),
        r"export-engine\.json: is not there.*--format engine": lambda: bench_job(run, backend="tensorrt", threads=1),
        "runs .engine files": lambda: compare(str(shipped.onnx), run, backends=("tensorrt", None)),
        r"plan\.engine\.json": lambda: compare(run, str(garbage)),
        "needs an NVIDIA GPU": lambda: bench_job(run, backend="onnxruntime-cuda", threads=1),
        "between 1 and 1024": lambda: bench_job(run, backend=None, threads=0),
    }.items():
        with pytest.raises(BadInput, match=words):
            call()
    assert not shipped.result("bench").exists()


def test_another_variant_is_timed_into_a_file_of_its_own(shipped: RunDir, command_line: CommandLine) -> None:
    run = str(shipped.root)
    with pytest.raises(BadInput, match=r"export-fp16\.json: is not there.*recipebox export .* --precision fp16`"):
        bench_job(run, backend=None, threads=1, precision="fp16")
    content = shipped.onnx.read_bytes() + b"\xa2\x06\x00"  # an unknown, empty field: another file
    (shipped.root / "weights" / "best-fp16.onnx").write_bytes(content)
    made = {"file": "weights/best-fp16.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    write_json(shipped.root / "export-fp16.json", shipped.read_result("export") | made)
    done = command_line("bench", run, "--precision", "fp16", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((shipped.root / "bench-fp16.json").read_text())
    assert document["file"] == "weights/best-fp16.onnx" and document["sha256"] == made["sha256"]
    assert not shipped.result("bench").exists()
    shipped.plan.write_text(shipped.plan.read_text().replace("min_fps: 0.5", "min_fps: 1000000.0"))
    slow, text, code = bench_job(run, backend=None, threads=1, precision="fp16")
    assert code == 3 and slow["file"] == "weights/best-fp16.onnx" and "FAILED" in text
    with pytest.raises(BadInput, match="there are fp32, fp16, int8"):
        bench_job(run, backend=None, threads=1, precision="int4")
    with pytest.raises(BadInput, match=r"export-fp16-engine\.json: is not there.*--precision fp16 --format engine`"):
        bench_job(run, backend="tensorrt", threads=1, precision="fp16")
