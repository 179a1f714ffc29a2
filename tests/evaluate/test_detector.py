"""Weights that are not what they should be, and raw output that is what Ultralytics computes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipebox.errors import RunError, WeightsError
from recipebox.evaluate.detector import TorchDetector, load_trusted
from recipebox.evaluate.postprocess import detections, is_end_to_end
from recipebox.evaluate.run import evaluate
from recipebox.run_dir import RunDir


def save(path: Path, content: Any) -> str:
    torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_output_is_the_models_own(make: Any, tiny: Any) -> None:
    detector = TorchDetector(tiny.weights, sha256=tiny.sha256, imgsz=64, device="cpu")
    images = make.prepared(tiny.data.test.images[:3])
    model = load_trusted(tiny.weights, tiny.sha256)
    with torch.no_grad():
        expected = model(torch.from_numpy(images))[0].numpy()
    got = detector(images)
    assert got.shape == (3, 7, 84) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=5e-3)  # fused against not fused
    assert detector.names == tiny.data.names


def test_an_nms_free_network_answers_with_rows(make: Any, tiny: Any, tmp_path: Path) -> None:
    sha256 = make.save_detector(tmp_path / "best.pt", tiny.data.test.images, arch="yolo26n")
    detector = TorchDetector(tmp_path / "best.pt", sha256=sha256, imgsz=64, device="cpu")
    raw = detector(make.prepared(tiny.data.test.images[:2]))
    assert is_end_to_end(raw) and raw.shape == (2, 84, 6)
    for rows, image in zip(raw, detections(raw, conf=0.2), strict=True):
        np.testing.assert_array_equal(image, rows[rows[:, 4] > 0.2])


def test_only_the_recorded_file_is_opened(tiny: Any, tmp_path: Path) -> None:
    marker = tmp_path / "code-was-run"

    class Payload:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    save(tmp_path / "evil.pt", Payload())
    with pytest.raises(WeightsError, match="not the file that was recorded"):
        load_trusted(tmp_path / "evil.pt", tiny.sha256)
    assert not marker.exists()


def test_unusable_weights_are_named(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    with pytest.raises(WeightsError, match="No such file"):
        load_trusted(path, tiny.sha256)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_trusted(path, hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(tiny.weights.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_trusted(path, hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="no detection model"):
        load_trusted(path, save(path, {"ema": None, "model": torch.nn.Linear(2, 2)}))
    with pytest.raises(WeightsError, match="no detection model"):
        load_trusted(path, save(path, [1, 2]))
    with pytest.raises(WeightsError, match="multiple of 32"):
        TorchDetector(tiny.weights, sha256=tiny.sha256, imgsz=72, device="cpu")


def test_diverged_weights_are_named(tiny: Any, tmp_path: Path) -> None:
    checkpoint = torch.load(tiny.weights, weights_only=False)
    checkpoint["ema"].model[0].conv.weight.data[0] = float("nan")
    sha256 = save(tmp_path / "best.pt", checkpoint)
    with pytest.raises(WeightsError, match="training diverged"):
        TorchDetector(tmp_path / "best.pt", sha256=sha256, imgsz=64)


def test_evaluate_writes_what_it_returns(evaluated_run: RunDir, tiny: Any) -> None:
    document = evaluated_run.read_result("evaluate")
    assert document["weights_sha256"] == tiny.sha256
    assert document["test"]["images"] == 8 and document["test"]["instances"] == 18
    assert document["test"]["mAP50"] > 0.3  # the gate of the export has something to lose
    assert document["boards"]["good"] == 2


def test_a_failed_evaluation_leaves_the_old_result(make: Any, run: RunDir, tiny: Any) -> None:
    before = run.result("evaluate").read_bytes()
    run.best.write_bytes(tiny.weights.read_bytes()[:-1])
    with pytest.raises(WeightsError):
        evaluate(run, make.tiny_settings(), tiny.data, device="cpu")
    assert run.result("evaluate").read_bytes() == before
    run.result("train").write_text("{}")
    with pytest.raises(RunError, match=r"train\.json: does not say"):
        evaluate(run, make.tiny_settings(), tiny.data, device="cpu")
