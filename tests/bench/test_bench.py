"""What is timed, on which file, and what happens when it is too slow."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from recipebox.bench.local import STAGES, Timings, decode, run_once, time_pipeline
from recipebox.bench.machine_state import cpu_model, machine_state, usable_cpus
from recipebox.bench.run import bench
from recipebox.data.letterbox import read_image
from recipebox.errors import CheckFailed, DataError, RunError
from recipebox.run_dir import RunDir


class Slow:
    """Takes its time and finds one box of 16 px in the middle of a canvas of 64 px."""

    names, imgsz, sha256, precision = ("a",), 64, "0" * 64, "fp32"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.seen = seconds, []  # type: ignore[var-annotated]

    def __call__(self, images: Any) -> Any:
        self.seen.append(images)
        time.sleep(self.seconds)
        raw = np.zeros((1, 5, 84), np.float32)
        raw[0, :, 0] = [32, 32, 16, 16, 0.9]
        return raw


def test_one_run_is_the_pipeline_that_ships() -> None:
    detector, timings = Slow(0.02), Timings()
    image = np.full((64, 128, 3), 200, np.uint8)
    found = run_once(detector, image, 0.5, timings)
    assert detector.seen[0].shape == (1, 3, 64, 64) and detector.seen[0].dtype == np.float32
    # 128x64 on a canvas of 64 is scaled by a half and moved down by 16
    np.testing.assert_allclose(found[0], [48, 16, 80, 48, 0.9, 0], atol=1e-4)
    seconds = {stage: timings.stages[stage][0] for stage in STAGES}
    assert seconds["inference"] >= 0.02
    parts = seconds["preprocess"] + seconds["inference"] + seconds["postprocess"]
    assert parts <= seconds["end_to_end"] <= parts + 0.005


def test_pipeline_warms_up_first_and_goes_round() -> None:
    images = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200)]
    detector = Slow(0.003)
    timings, warmup, _ = time_pipeline(detector, images, conf=0.5, runs=5)
    assert timings.runs == 5 and warmup >= 10
    assert len(detector.seen) == 5 + warmup
    assert [float(image.max()) > 0.5 for image in detector.seen[warmup:]] == [False, True, False, True, False]
    assert timings.wall >= sum(timings.stages["end_to_end"])
    assert timings.found == 5


def test_bench_times_the_exported_file(make: Any, run: RunDir, tiny: Any) -> None:
    document = bench(run, make.tiny_settings(), tiny.data, threads=1)
    assert document == run.read_result("bench")
    assert document["sha256"] == run.read_result("export")["sha256"]
    assert (document["images"], document["runs"], document["machine"]["threads"]) == (8, 12, 1)
    low, high = document["fps_interval"]
    assert low <= high and low * 0.8 <= document["fps"] <= high * 1.2
    assert document["fps"] == pytest.approx(1000 / document["latency_ms"]["end_to_end"]["mean"], rel=0.05)
    for stage in STAGES:
        values = document["latency_ms"][stage]
        assert 0 < values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
    assert document["machine"]["versions"]["onnxruntime"]


def test_a_file_that_was_changed_after_the_check_is_not_timed(make: Any, run: RunDir, tiny: Any) -> None:
    run.onnx.write_bytes(run.onnx.read_bytes() + b"\x00\x00"[:0] + b"\xa2\x06\x00")  # an unknown, empty field
    with pytest.raises(RunError, match="not the file whose accuracy was checked"):
        bench(run, make.tiny_settings(), tiny.data)
    assert not run.result("bench").exists()


def test_too_slow_fails_after_the_result_is_written(make: Any, run: RunDir, tiny: Any) -> None:
    with pytest.raises(CheckFailed, match=r"bench\.min_fps asks for 1e\+09"):
        bench(run, make.tiny_settings(bench={"images": 3, "min_fps": 1e9}), tiny.data)
    assert run.read_result("bench")["runs"] == 3


def test_stages_that_are_missing_are_named(make: Any, run: RunDir, tiny: Any) -> None:
    run.result("export").unlink()
    with pytest.raises(RunError, match="recipebox export"):
        bench(run, make.tiny_settings(), tiny.data)


def test_decoding_spreads_over_the_split(tiny: Any) -> None:
    paths = tiny.data.test.images
    images, seconds = decode(paths, 3)
    assert len(images) == len(seconds) == 3
    np.testing.assert_array_equal(images[-1], read_image(paths[-1]))
    with pytest.raises(DataError, match="test split is empty"):
        decode((), 3)


def test_machine_state_is_about_this_machine() -> None:
    state = machine_state(3)
    assert state["threads"] == 3 and state["cores"] == usable_cpus() >= 1
    assert state["cpu"] == cpu_model() != ""
    assert state["os"]
