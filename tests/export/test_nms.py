"""NMS in the graph finds what NMS outside finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from recipebox.evaluate.postprocess import detections
from recipebox.export.nms import CANDIDATES, with_nms


def session(batch: Any, nc: int, anchors: int) -> Any:
    """A network that does nothing, with NMS behind it."""
    shape = [batch, 4 + nc, anchors]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "output0")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["output0"], "r")], "g", values[:1], values[1:])
    model = with_nms(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def crowd(rng: Any, images: int, nc: int, anchors: int) -> Any:
    """Boxes in heaps, as around an object: chains of overlaps, several classes."""
    heaps = rng.uniform(20, 300, (images, 2, 12))
    which = rng.integers(0, 12, (images, 1, anchors))
    centre = np.take_along_axis(heaps, np.repeat(which, 2, axis=1), axis=2) + rng.normal(0, 4, (images, 2, anchors))
    size = rng.uniform(15, 40, (images, 2, anchors))
    scores = rng.random((images, nc, anchors)) ** 4
    return np.concatenate([centre, size, scores], axis=1).astype(np.float32)


@pytest.mark.parametrize("nc", [1, 6])
def test_what_is_found_is_what_is_found_outside(nc: int) -> None:
    rng = np.random.default_rng(nc)
    run, any_number = session(1, nc, 400), session("batch", nc, 400)
    for _ in range(20):
        raw = crowd(rng, 3, nc, 400)
        expected = detections(raw, conf=0.001)
        together = any_number.run(None, {"x": raw})[0]
        for image in range(3):
            alone = run.run(None, {"x": raw[image : image + 1]})[0][0]
            np.testing.assert_array_equal(alone, together[image])
            found = alone[alone[:, 4] > 0]
            assert len(found) == len(expected[image]) > 10
            np.testing.assert_allclose(found, expected[image], atol=1e-4)
            assert not alone[len(found) :].any()


def test_an_image_without_anything_gives_zeros_and_a_full_one_the_best() -> None:
    run = session(1, 2, 700)
    assert not run.run(None, {"x": np.zeros((1, 6, 700), np.float32)})[0].any()
    raw = np.zeros((1, 6, 700), np.float32)
    raw[0, 0], raw[0, 1], raw[0, 2:4] = np.arange(700) * 20, 10, 10
    raw[0, 4] = np.linspace(0.1, 0.9, 700)
    rows = run.run(None, {"x": raw})[0][0]
    assert rows.shape == (300, 6) and CANDIDATES == 512
    np.testing.assert_allclose(rows[:, 4], raw[0, 4, ::-1][:300], atol=1e-6)
