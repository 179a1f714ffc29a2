"""What is timed, on which file, and what happens when it is too slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from timed_doubles import Slow

from recipebox.bench import machine_state as machine
from recipebox.bench.machine_state import OtherWork, cpu_model, machine_after, machine_state, usable_cpus
from recipebox.bench.measure import END_TO_END, ROUND, Decoded, Timings, decode, run_once, run_overlapped, time_pipeline
from recipebox.bench.pipeline import STEPS, HostPipeline
from recipebox.bench.run import bench
from recipebox.data.letterbox import read_image
from recipebox.errors import CheckFailed, DataError, RunError, WeightsError
from recipebox.run_dir import RunDir, write_json


def in_files(folder: Path, values: tuple[int, ...]) -> Decoded:
    images, paths = [], []
    for value in values:
        images.append(np.full((64, 64, 3), value, np.uint8))
        paths.append(folder / f"{value}.png")
        cv2.imwrite(str(paths[-1]), images[-1])
    return Decoded(tuple(paths), tuple(images), tuple(0.001 for _ in values))


def test_steps_add_up_to_the_whole() -> None:
    timings = Timings()
    found = run_once(HostPipeline(Slow(0.02), conf=0.5), np.full((64, 128, 3), 200, np.uint8), timings)
    assert len(found) == 1 and timings.found == 1
    seconds = {step: values[0] for step, values in timings.steps.items()}
    assert seconds["inference"] >= 0.02
    parts = sum(seconds[step] for step in STEPS)
    assert parts == pytest.approx(seconds[END_TO_END])


def test_overlapped_timings_add_up_to_the_wall() -> None:
    import time

    image = np.zeros((64, 64, 3), np.uint8)
    began = time.perf_counter()
    seconds = run_overlapped(HostPipeline(Slow(0.005), conf=0.5), [lambda: image] * 12)
    wall = time.perf_counter() - began
    assert len(seconds) == 12 and min(seconds) >= 0
    assert 0.05 <= sum(seconds) <= wall


def test_pipeline_warms_up_first_and_goes_round(tmp_path: Path) -> None:
    backend = Slow(0.001)
    timings, warmup = time_pipeline(HostPipeline(backend, conf=0.5), in_files(tmp_path, (10, 200)), runs=ROUND + 5)
    assert timings.runs == ROUND + 5 and warmup.runs >= 10
    assert all(len(lane) == ROUND + 5 for lane in timings.lanes.values())
    assert len(backend.seen) == warmup.runs + 3 * (ROUND + 5)
    bright = [float(inputs.max()) > 0.5 for inputs in backend.seen[warmup.runs :]]
    assert bright[:4] == [False, True, False, True] == bright[ROUND : ROUND + 4]
    assert timings.found == ROUND + 5


def test_bench_times_the_exported_file(make: Any, run: RunDir, tiny: Any) -> None:
    document = bench(run, make.tiny_settings(), tiny.data, threads=1)
    assert document == run.read_result("bench")
    assert document["schema"] == 2 and document["file"] == "weights/best.onnx"
    assert document["sha256"] == run.read_result("export")["sha256"]
    assert (document["images"], document["runs"], document["machine"]["threads"]) == (8, 12, 1)
    for way in ("one_by_one", "overlapped", "overlapped_with_decoding"):
        fps, (low, high) = document["throughput"][way]["fps"], document["throughput"][way]["interval"]
        assert low <= high and low * 0.8 <= fps <= high * 1.2
    assert document["fps"] == document["throughput"]["overlapped"]["fps"]
    assert document["throughput"]["one_by_one"]["fps"] == pytest.approx(
        1000 / document["latency_ms"]["end_to_end"]["mean"]
    )
    for step in (*STEPS, END_TO_END):
        values = document["latency_ms"][step]
        assert 0 < values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
        assert values["jitter"] >= 0 and values["interval"]["p50"][0] <= values["p50"] <= values["interval"]["p50"][1]
    assert document["machine"]["versions"]["onnxruntime"]
    assert "passed" not in document


def test_pytorch_is_timed_beside_and_does_not_replace_the_exported_file(make: Any, run: RunDir, tiny: Any) -> None:
    settings = make.tiny_settings(bench={"images": 3, "min_fps": 1e9})
    document = bench(run, settings, tiny.data, backend="pytorch-cpu", threads=1)
    assert document["file"] == "weights/best.pt" and document["sha256"] == tiny.sha256
    assert not run.result("bench").exists() and (run.root / "bench-pytorch-cpu.json").is_file()


def test_a_file_that_was_changed_after_the_check_is_not_timed(make: Any, run: RunDir, tiny: Any) -> None:
    run.onnx.write_bytes(run.onnx.read_bytes() + b"\xa2\x06\x00")  # an unknown, empty field
    with pytest.raises(WeightsError, match="not the file whose accuracy was checked"):
        bench(run, make.tiny_settings(), tiny.data)
    assert not run.result("bench").exists()


def test_too_slow_fails_after_the_result_is_written(make: Any, run: RunDir, tiny: Any) -> None:
    with pytest.raises(CheckFailed, match=r"bench\.min_fps asks for 1e\+09"):
        bench(run, make.tiny_settings(bench={"images": 3, "min_fps": 1e9}), tiny.data)
    document = run.read_result("bench")
    assert document["runs"] == 3 and document["passed"] is False and document["min_fps"] == 1e9
    assert bench(run, make.tiny_settings(bench={"images": 3, "min_fps": 0.1}), tiny.data)["passed"] is True


def test_stages_that_are_missing_are_named(make: Any, run: RunDir, tiny: Any) -> None:
    run.result("export").unlink()
    with pytest.raises(RunError, match="recipebox export"):
        bench(run, make.tiny_settings(), tiny.data)


@pytest.mark.parametrize("name", ["../../outside.onnx", "/etc/passwd", 7, None])
def test_an_export_that_names_a_file_elsewhere_is_refused(make: Any, run: RunDir, tiny: Any, name: Any) -> None:
    write_json(run.result("export"), run.read_result("export") | {"file": name})
    with pytest.raises(RunError, match=r"export\.json"):
        bench(run, make.tiny_settings(), tiny.data)


def test_decoding_spreads_over_the_split(tiny: Any) -> None:
    paths = tiny.data.test.images
    decoded = decode(paths, 3)
    assert len(decoded.images) == len(decoded.seconds) == 3
    assert (decoded.paths[0], decoded.paths[-1]) == (paths[0], paths[-1])
    np.testing.assert_array_equal(decoded.images[-1], read_image(paths[-1]))
    with pytest.raises(DataError, match="test split is empty"):
        decode((), 3)


def test_machine_state_is_about_this_machine() -> None:
    state = machine_state(3)
    assert state["threads"] == 3 and state["cores"] == usable_cpus() >= 1
    assert state["cpu"] == cpu_model() != ""
    assert state["os"]
    after = machine_after(state, OtherWork())
    assert after["load_after"] >= 0 and after["load_before"] == state["load_before"]


def test_what_others_do_meanwhile_is_told_from_what_this_process_does() -> None:
    begin = "import sys, time; print(flush=True); end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", begin], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        others = OtherWork()
        time.sleep(1)
        state = others.state(os.cpu_count() or 1)
        assert state["others_cores"] > 0.3 and state["disturbed"]


@pytest.mark.parametrize(("threads", "disturbed"), [(5, False), (6, True)])
def test_threads_that_have_their_cores_are_not_disturbed(
    threads: int, disturbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_used_by_others", iter([100.0, 130.0]).__next__)
    monkeypatch.setattr(machine.time, "monotonic", iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    assert OtherWork().state(threads) == {"others_cores": 3.0, "disturbed": disturbed}


def test_clocks_are_read_where_the_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, clock in enumerate((2201000, 1500000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{clock}\n")
        (folder / "scaling_governor").write_text("schedutil\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    state = machine_state(1)
    assert state["clocks_mhz"] == [2201, 1500] and state["governor"] == ["schedutil"]


def test_every_key_of_bench_json_is_documented(make: Any, run: RunDir, tiny: Any) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "run-files.md").read_text(encoding="utf-8")
    section = text.partition("## bench.json")[2].partition("\n## ")[0]
    document = bench(run, make.tiny_settings(bench={"images": 3, "min_fps": 0.1}), tiny.data, threads=1)
    document["machine"].pop("versions")  # one key a package

    def keys(value: Any) -> set[str]:
        inside = value.values() if isinstance(value, dict) else []
        return set(value if isinstance(value, dict) else ()).union(*map(keys, inside))

    assert {key for key in keys(document) if f'"{key}"' not in section} <= {"gpu", "gpu_after"}
