"""A verdict only where the intervals allow one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timed_doubles import Slow

from recipebox.bench.compare import LEAST_PAIRS, compare, comparison
from recipebox.bench.measure import END_TO_END, Timings
from recipebox.bench.pipeline import STEPS, HostPipeline
from recipebox.bench.table import comparison_table
from recipebox.errors import WeightsError
from recipebox.run_dir import RunDir


def timings(seconds: Any) -> Timings:
    made = Timings()
    for step in (*STEPS, END_TO_END):
        made.steps[step] = list(seconds)
    return made


def test_a_real_difference_is_called_and_one_within_the_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    base = 0.010 + 0.001 * rng.random(120)
    slower = base * 1.05
    answer = comparison(timings(slower), timings(base))
    assert answer["faster"] == "b" and "B is faster than A" in answer["why"]
    assert answer["ratio"]["inference"]["p50"]["ratio"] == pytest.approx(1.05)
    assert comparison(timings(base), timings(slower))["faster"] == "a"
    same = comparison(timings(0.010 + 0.001 * rng.random(120)), timings(0.010 + 0.001 * rng.random(120)))
    low, high = same["ratio"][END_TO_END]["p50"]["interval"]
    assert same["faster"] is None and low <= 1 <= high and same["why"].startswith("no verdict")


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_no_verdict_exactly_where_the_interval_holds_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answer = comparison(timings(rng.gamma(50, 2e-4, 60) * rng.uniform(0.95, 1.05)), timings(rng.gamma(50, 2e-4, 60)))
    low, high = answer["ratio"][END_TO_END]["p50"]["interval"]
    assert answer["faster"] == ("a" if high < 1 else "b" if low > 1 else None)


def test_few_pairs_give_no_verdict() -> None:
    answer = comparison(timings([0.02] * (LEAST_PAIRS - 1)), timings([0.01] * (LEAST_PAIRS - 1)))
    assert answer["faster"] is None and "too few" in answer["why"]
    assert set(answer["ratio"]["inference"]["p50"]) == {"ratio", "interval"}
    assert set(answer["ratio"]["inference"]["p95"]) == {"ratio"}, "29 runs cannot bound it"


def test_files_take_turns_on_the_same_images() -> None:
    order: list[str] = []

    class Noting(Slow):
        def copy_in(self, inputs: Any) -> None:
            order.append(f"{id(self)} {inputs[0, 0, 0, 0]:.3f}")
            super().copy_in(inputs)

    first, second = Noting(0.004), Noting(0.002)
    images = [np.full((64, 64, 3), value, np.uint8) for value in (50, 100, 200)]
    document = compare(HostPipeline(first, conf=0.5), HostPipeline(second, conf=0.5), images, pairs=LEAST_PAIRS)
    assert document["faster"] in ("b", None)  # on a machine that others use, the difference may drown
    timed = order[document["a"]["warmup_runs"] + document["b"]["warmup_runs"] :]
    assert len(timed) == 2 * LEAST_PAIRS
    who = [entry.split()[0] for entry in timed]
    a, b = str(id(first)), str(id(second))
    assert who[:8] == [a, b, b, a, a, b, b, a]
    shown = [entry.split()[1] for entry in timed]
    assert shown[0::2] == shown[1::2] and len(set(shown)) == 3


IDLE = """
import sys, time
from pathlib import Path
import numpy as np
from recipebox.export.detector import OnnxDetector
detector = OnnxDetector(Path(sys.argv[1]), threads=2)
told = detector._session.get_session_options()
assert told.get_session_config_entry("session.force_spinning_stop") == "1"
used = []
for _ in range(5):
    detector(np.zeros((1, 3, 64, 64), np.float32))
    before = time.process_time()
    time.sleep(0.02)
    used.append(time.process_time() - before)
print(min(used))
"""


def test_a_file_that_is_not_running_leaves_the_cores_to_the_other(run: RunDir) -> None:
    """ONNX Runtime's threads wait awake for tens of milliseconds, about as long as the other file's turn takes.

    In a process of its own: here, threads of other tests' sessions count too.
    """
    from conftest import command_line_environment

    done = subprocess.run(
        [sys.executable, "-c", IDLE, str(run.onnx)], env=command_line_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.005


def test_other_classes_are_other_work() -> None:
    class Other(Slow):
        names = ("b",)

    with pytest.raises(WeightsError, match="do not do the same work"):
        compare(HostPipeline(Slow(), conf=0.5), HostPipeline(Other(), conf=0.5), [], pairs=2)


def test_table_shows_both_and_the_verdict() -> None:
    images = [np.zeros((64, 64, 3), np.uint8)]
    document = compare(HostPipeline(Slow(), conf=0.5), HostPipeline(Slow(), conf=0.5), images, pairs=3)
    about = {"file": "x.onnx", "backend": "onnxruntime-cpu", "device": "cpu", "precision": "fp32", "imgsz": 64}
    for side in "ab":
        document[side] = about | {"sha256": "0" * 64} | document[side]
    text = comparison_table(document | {"machine": {"cpu": "Example", "threads": 1, "cores": 2}})
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("inference")] == ["-"]
    assert "copy in" in text and "no verdict" in text and "3 images each, in turn, on Example, 1 thread" in text
