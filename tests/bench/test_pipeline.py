"""The pipeline that ships: its steps, what overlaps, and what happens when a step fails."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timed_doubles import Slow

from recipebox.bench.backend import NAMES, ModelFile, choose_backend, kind_of, open_backend
from recipebox.bench.cpu_backends import OnnxCpu, TorchCpu
from recipebox.bench.pipeline import STEPS, HostPipeline, ahead, detect
from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import BadInput, DataError, WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import detections
from recipebox.export.detector import OnnxDetector
from recipebox.run_dir import RunDir


def grey(value: int, height: int = 64, width: int = 64) -> np.ndarray[Any, Any]:
    return np.full((height, width, 3), value, np.uint8)


def test_steps_are_the_pipeline_that_ships() -> None:
    backend = Slow()
    pipeline = HostPipeline(backend, conf=0.5)
    assert tuple(name for name, _ in pipeline.steps) == STEPS
    found = detect(pipeline, grey(200, 64, 128))
    assert backend.seen[0].shape == (1, 3, 64, 64) and backend.seen[0].dtype == np.float32
    # 128x64 on a canvas of 64 is scaled by a half and moved down by 16
    np.testing.assert_allclose(found[0], [48, 16, 80, 48, 0.9, 0], atol=1e-4)


def test_same_detections_as_evaluation_step_by_step_and_overlapped(run: RunDir, tiny: Any) -> None:
    detector = OnnxDetector(run.onnx, threads=1)
    images = [read_image(path) for path in tiny.data.test.images]
    expected = []
    for image in images:
        canvas, place = letterbox(image, detector.imgsz)
        found = detections(detector(to_input(canvas)[None]), conf=0.1)[0]
        expected.append(place.to_image(found, (image.shape[0], image.shape[1])))
    assert sum(map(len, expected)) > len(images)
    pipeline = HostPipeline(OnnxCpu(run.onnx, threads=1), conf=0.1)
    for image, wanted in zip(images, expected, strict=True):
        np.testing.assert_array_equal(detect(pipeline, image), wanted)
    twice = [partial(read_image, path) for path in (*tiny.data.test.images, *tiny.data.test.images)]
    for done, wanted in zip(pipeline.stream(twice), expected * 2, strict=True):
        np.testing.assert_array_equal(done.found, wanted)


def test_pytorch_backend_gives_what_its_detector_gives(run: RunDir, tiny: Any) -> None:
    inputs = to_input(letterbox(read_image(tiny.data.test.images[0]), 64)[0])[None]
    backend = TorchCpu(run.best, tiny.sha256, 64, threads=1)
    backend.copy_in(inputs)
    backend.infer()
    expected = TorchDetector(run.best, sha256=tiny.sha256, imgsz=64, device="cpu")(inputs)
    np.testing.assert_array_equal(backend.copy_out(), expected)


def test_steps_of_neighbouring_images_overlap() -> None:
    """The step of an image in the caller's thread and that of the image two later are under way at the same time."""
    meeting = threading.Barrier(2)

    def before(number: int) -> int:
        if number >= 3:
            meeting.wait(timeout=60)
        return number

    for number in ahead(before, range(10), depth=2):
        if 1 <= number <= 7:
            meeting.wait(timeout=60)
    assert not meeting.broken


def test_ahead_keeps_order_and_its_distance() -> None:
    taken: list[int] = []

    def items() -> Any:
        for number in range(10):
            taken.append(number)
            yield number

    stream = ahead(lambda number: number * number, items(), depth=2)
    assert next(stream) == 0
    assert len(taken) <= 4
    assert list(stream) == [number * number for number in range(1, 10)]
    assert list(ahead(abs, [])) == []


@pytest.mark.parametrize("place", ["source", "network", "consumer"])
def test_an_error_ends_the_stream_and_its_threads(place: str) -> None:
    before = threading.active_count()
    backend = Slow(error=WeightsError("spoiled") if place == "network" else None, after=3)

    def source(number: int) -> Any:
        if place == "source" and number == 3:
            raise DataError("unreadable")
        return grey(number)

    with pytest.raises((WeightsError, DataError, RuntimeError)):
        for count, _ in enumerate(HostPipeline(backend, conf=0.5).stream([partial(source, n) for n in range(50)])):
            if place == "consumer" and count == 3:
                raise RuntimeError("stopped looking")
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_refuses_another_kind_of_file(name: Any, tmp_path: Path) -> None:
    other = "engine" if kind_of(name) != "engine" else "onnx"
    with pytest.raises(BadInput, match=f"runs .{kind_of(name)} files"):
        open_backend(name, ModelFile(tmp_path / f"x.{other}"), threads=1)


def test_a_pt_file_of_unknown_origin_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can run code"):
        open_backend("pytorch-cpu", ModelFile(tmp_path / "x.pt"), threads=1)
    with pytest.raises(BadInput, match="not a file that the bench can run"):
        choose_backend(ModelFile(tmp_path / "x.zip"))


def test_a_file_other_than_recorded_is_not_timed(run: RunDir) -> None:
    with pytest.raises(WeightsError, match="not the file whose accuracy was checked"):
        open_backend("onnxruntime-cpu", ModelFile(run.onnx, "f" * 64), threads=1)


def test_without_a_gpu_its_backends_say_so(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipebox.bench.backend.has_gpu", lambda: False)
    assert choose_backend(ModelFile(run.onnx)) == "onnxruntime-cpu"
    for name, path in (("onnxruntime-cuda", run.onnx), ("onnxruntime-tensorrt", run.onnx), ("pytorch-cuda", run.best)):
        with pytest.raises(BadInput, match="needs an NVIDIA GPU"):
            open_backend(name, ModelFile(path), threads=1)  # type: ignore[arg-type]
    monkeypatch.setattr("recipebox.bench.backend.has_gpu", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert choose_backend(ModelFile(run.onnx)) == "onnxruntime-cpu"
    with pytest.raises(BadInput, match="onnxruntime-gpu"):
        open_backend("onnxruntime-cuda", ModelFile(run.onnx), threads=1)
