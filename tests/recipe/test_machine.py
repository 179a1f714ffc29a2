from __future__ import annotations

import os

import pytest

from recipebox.errors import PlanConflict
from recipebox.recipe import machine as module
from recipebox.recipe.machine import gpu_names, probe_machine


def probe(device: str | None = None) -> module.Machine:
    return probe_machine(
        device,
        known=lambda name, images: (_ for _ in ()).throw(AssertionError("a probe asks nothing of the data")),
        weights_available=lambda name, sha256: name == "here.pt",
        weights_bytes=lambda name: None,
    )


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Two GPUs as the driver's files show them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for index, name in enumerate(["NVIDIA A", "NVIDIA B"]):
        folder = tmp_path / f"0000:0{index}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {name}\nIRQ:   1\n")
    real = module.gpu_names
    monkeypatch.setattr(module, "gpu_names", lambda: real(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "device", "name"),
    [
        (None, "cuda:0", "NVIDIA A"),
        ("", "cuda:0", "NVIDIA A"),
        ("auto", "cuda:0", "NVIDIA A"),
        ("gpu", "cuda:0", "NVIDIA A"),
        ("1", "cuda:1", "NVIDIA B"),
        ("cuda:1", "cuda:1", "NVIDIA B"),
        ("CPU", "cpu", None),
    ],
)
def test_device(driver, asked, device, name):
    found = probe(asked)
    assert (found.device, found.gpu_name, found.has_gpu) == (device, name, device != "cpu")


@pytest.mark.parametrize(("asked", "says"), [("2", "1: NVIDIA B"), ("tpu", "not a device"), ("cuda:x", "not a device")])
def test_a_device_that_is_not_here(driver, asked, says):
    with pytest.raises(PlanConflict, match=says):
        probe(asked)


@pytest.mark.parametrize(
    ("visible", "names"),
    [("", []), ("-1", []), ("1", ["NVIDIA B"]), ("1,0", ["NVIDIA B", "NVIDIA A"]), ("0,7,1", ["NVIDIA A"])],
)
def test_cuda_visible_devices(driver, monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names(driver) == names


def test_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_names(tmp_path) == []
    monkeypatch.setattr(module, "gpu_names", list)
    monkeypatch.setenv("RECIPEBOX_RUNS", str(tmp_path / "not" / "there"))
    found = probe()
    assert found.device == "cpu"
    assert found.cpu_count == len(os.sched_getaffinity(0))
    assert found.free_disk > 0, "of the nearest folder that exists"
    assert found.has_weights("scratch")
    assert found.has_weights("here.pt")
    assert not found.has_weights("elsewhere.pt")
    with pytest.raises(PlanConflict, match="no NVIDIA GPU"):
        probe("gpu")


def test_nvidia_smi_speaks_for_machines_without_driver_files(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Orin (nvgpu) (UUID: GPU-1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(tmp_path) == ["Orin (nvgpu)"]
