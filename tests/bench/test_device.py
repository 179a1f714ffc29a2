"""The GPU's path with memory of the CPU in a GPU's place: everything but CUDA itself. And what a GPU says of itself."""

from __future__ import annotations

import ctypes
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.bench import cuda_backends
from recipebox.bench import gpu_state as gpu
from recipebox.bench.cpu_backends import OnnxCpu
from recipebox.bench.cuda_backends import DeviceBackend, EngineRunner, OnnxRunner, TorchRunner, checked_onnx
from recipebox.bench.device_pipeline import DevicePipeline, device_detections, letterbox_into
from recipebox.bench.machine_state import OtherWork, machine_after, machine_state
from recipebox.bench.pipeline import STEPS, HostPipeline, detect
from recipebox.bench.run import pipeline_for
from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import detections
from recipebox.export.onnx import export_onnx
from recipebox.export.variant import Variant
from recipebox.run_dir import RunDir


class EngineOfTheCpu:
    """Stands in for a TensorRT engine: reads and writes raw addresses, as one does on a device."""

    def __init__(self, detector: Any, output_shape: tuple[int, ...], batch: int = 1) -> None:
        self.detector, self.output_shape = detector, output_shape
        self.names, self.imgsz, self.sha256, self.precision = detector.names, detector.imgsz, detector.sha256, "fp16"
        self.input_shape = (batch, 3, self.imgsz, self.imgsz)

    def enqueue(self, input_address: int, output_address: int, stream: int) -> None:
        inputs = self._at(input_address, self.input_shape)
        self._at(output_address, self.output_shape)[...] = self.detector(inputs.copy())

    @staticmethod
    def _at(address: int, shape: tuple[int, ...]) -> Any:
        count = int(np.prod(shape))
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


def backends(run: RunDir, sha256: str) -> dict[str, DeviceBackend]:
    """The three runners around the same network."""
    import onnxruntime

    about, shape = checked_onnx(run.onnx)
    session = onnxruntime.InferenceSession(str(run.onnx), providers=["CPUExecutionProvider"])
    torch_detector = TorchDetector(run.best, sha256=sha256, imgsz=64, device="cpu")
    return {
        "onnxruntime-cuda": DeviceBackend(OnnxRunner(session, shape, "cpu"), about, "onnxruntime-cuda", "cpu"),
        "tensorrt": DeviceBackend(EngineRunner(EngineOfTheCpu(about, shape)), about, "tensorrt", "cpu"),
        "pytorch-cuda": DeviceBackend(TorchRunner(torch_detector.model, 64), torch_detector, "pytorch-cuda", "cpu"),
    }


def test_every_backend_gives_the_networks_output(run: RunDir, tiny: Any) -> None:
    inputs = to_input(letterbox(read_image(tiny.data.test.images[0]), 64)[0])[None]
    reference = OnnxCpu(run.onnx, threads=1)
    reference.copy_in(inputs)
    reference.infer()
    for name, backend in backends(run, tiny.sha256).items():
        backend.copy_in(inputs)
        backend.infer()
        first = backend.copy_out()
        tolerance = 1e-2 if name == "pytorch-cuda" else 1e-5
        np.testing.assert_allclose(first, reference.copy_out(), atol=tolerance, err_msg=name)
        backend.copy_in(np.zeros_like(inputs))
        backend.infer()
        assert not np.array_equal(backend.copy_out(), first), "an image's output is not overwritten by the next one's"


def test_the_device_finds_what_the_host_finds(run: RunDir, tiny: Any) -> None:
    images = [read_image(path) for path in tiny.data.test.images]
    host = HostPipeline(OnnxCpu(run.onnx, threads=1), conf=0.3)
    for name, backend in backends(run, tiny.sha256).items():
        pipeline = pipeline_for(backend, conf=0.3)
        assert isinstance(pipeline, DevicePipeline)
        assert {step for step, _ in pipeline.steps} == set(STEPS)
        one_by_one = [detect(pipeline, image) for image in images]
        overlapped = [done.found for done in pipeline.stream([partial(lambda image: image, image) for image in images])]
        for image, single, streamed in zip(images, one_by_one, overlapped, strict=True):
            np.testing.assert_array_equal(single, streamed, err_msg=name)
            expected = detect(host, image)
            strong = expected[expected[:, 4] > 0.35]
            # A pixel may differ by one level, and this detector amplifies.
            for row in strong:
                near = single[single[:, 5] == row[5]]
                assert len(near) and np.abs(near[:, :4] - row[:4]).max(axis=1).min() < 2.0, name


@settings(max_examples=40)
@given(height=st.integers(1, 300), width=st.integers(1, 300), imgsz=st.sampled_from([32, 96, 160]))
def test_letterbox_on_the_device_is_within_a_level(height: int, width: int, imgsz: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    inputs = torch.full((1, 3, imgsz, imgsz), np.nan)
    place = letterbox_into(inputs, torch.from_numpy(image))
    canvas, expected = letterbox(image, imgsz)
    assert place == expected
    assert np.abs(inputs[0].numpy() - to_input(canvas)).max() <= 1.01 / 255


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), conf=st.sampled_from([0.001, 0.3, 0.99]), nc=st.integers(1, 4))
def test_nms_on_the_device_equals_the_hosts(seed: int, conf: float, nc: int) -> None:
    rng = np.random.default_rng(seed)
    raw = np.concatenate(
        [rng.uniform(0, 60, (1, 2, 200)), rng.uniform(1, 30, (1, 2, 200)), rng.beta(0.5, 2, (1, nc, 200))], axis=1
    ).astype(np.float32)
    rows = device_detections(torch.from_numpy(raw), conf=conf).numpy()
    np.testing.assert_array_equal(rows[:-1], detections(raw, conf=conf)[0])
    assert np.isfinite(rows[-1]).all()


def test_an_nms_free_networks_rows_are_filtered_on_the_device() -> None:
    raw = torch.zeros(1, 5, 6)
    raw[0, :, 4] = torch.tensor([0.9, 0.8, 0.3, 0.2, 0.1])
    assert device_detections(raw, conf=0.25).shape == (4, 6)


def test_nan_on_the_device_is_refused(run: RunDir, tiny: Any) -> None:
    backend = backends(run, tiny.sha256)["tensorrt"]
    backend.runner.engine.detector = lambda inputs: np.full(backend.runner.output_shape, np.nan, np.float32)  # type: ignore[attr-defined]
    pipeline = DevicePipeline(backend, conf=0.3)
    with pytest.raises(WeightsError, match="NaN or infinity"):
        detect(pipeline, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(WeightsError, match="NaN or infinity"):
        list(pipeline.stream([lambda: np.zeros((64, 64, 3), np.uint8)] * 3))


@pytest.mark.parametrize(
    ("name", "provider", "more"),
    [
        ("onnxruntime-cuda", "CUDAExecutionProvider", {"use_tf32": "0"}),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider", {}),
    ],
)
def test_providers_compute_what_the_gate_measured(
    name: Any, provider: str, more: dict[str, str], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FP32 is not rounded to TF32, and the types are the graph's: no flag lets a builder choose others."""
    import onnxruntime

    told: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(content: Any, *rest: Any, providers: list[Any]) -> Any:
        if providers == ["CPUExecutionProvider"]:
            return real(content, *rest, providers=providers)
        told.extend(providers)
        raise RuntimeError("no GPU")

    export_onnx(tiny.weights, tmp_path / "best.onnx", 64, sha256=tiny.sha256, variant=Variant("fp16"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(cuda_backends, "new_stream", lambda device: SimpleNamespace(cuda_stream=7))
    with pytest.raises(WeightsError, match=f"{provider} cannot run it: no GPU"):
        cuda_backends.open_onnx(tmp_path / "best.onnx", name, provider)
    assert told == [(provider, {"device_id": "0", "user_compute_stream": "7"} | more)]
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == ("0" if name == "onnxruntime-tensorrt" else "1")


def test_an_engine_of_another_batch_is_refused(run: RunDir) -> None:
    about, shape = checked_onnx(run.onnx)
    with pytest.raises(WeightsError, match="Build it for one image"):
        EngineRunner(EngineOfTheCpu(about, shape, batch=4))


def program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_workstations_gpu_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = "NVIDIA RTX A2000, 580.65.06, P2, 1417, 5751, 2100, 58.21, [N/A], 61, 97, 0x0000000000000004"
    program(tmp_path, "nvidia-smi", f"echo '{row}'", monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    state = machine_state(1)
    assert state["gpu"]["name"] == "NVIDIA RTX A2000" and state["gpu"]["clock_sm_mhz"] == 1417
    assert state["gpu"]["throttled"] is True and "power_limit_w" not in state["gpu"]
    assert machine_after(state, OtherWork())["gpu_after"]["temperature_c"] == 61


def test_a_jetsons_power_mode_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvpmodel", "printf 'NV Power Mode: 15W\\n2\\n'", monkeypatch)
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3\n")
    monkeypatch.setattr(gpu, "MODEL", tmp_path / "model")
    monkeypatch.setattr(gpu, "RELEASE", tmp_path / "release")
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / name) if name == "nvpmodel" else None)
    state = gpu.gpu_state()
    assert state["power_mode"] == "15W" and state["nvpmodel"] == "NV Power Mode: 15W\n2"
    assert state["name"].startswith("NVIDIA Jetson Orin Nano") and "R36" in state["release"]


@pytest.mark.parametrize("text", ["exit 9", "echo nonsense", "printf ''", "printf '\\377\\376,,,,,,,,,,\\n'"])
def test_a_broken_nvidia_smi_says_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", text, monkeypatch)
    assert set(gpu._smi()) <= {"name"}
