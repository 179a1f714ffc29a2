"""Our own NMS gives the bits of Ultralytics' with torchvision, whatever the network says."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recipebox.errors import WeightsError
from recipebox.evaluate.postprocess import detections, nms
from recipebox.ultralytics_setup import import_ultralytics


def theirs(raw: NDArray[np.float32], *, conf: float, iou: float, multi_label: bool, max_det: int) -> list[Any]:
    import_ultralytics()
    from ultralytics.utils.nms import non_max_suppression

    found = non_max_suppression(
        torch.from_numpy(raw.copy()), conf, iou, multi_label=multi_label, max_det=max_det, max_time_img=3600.0
    )
    return [image.numpy() for image in found]


def random_output(seed: int, batch: int, nc: int, anchors: int, crowd: float, steps: int) -> NDArray[np.float32]:
    """Boxes around a few places, so that many overlap; `steps` > 0 makes scores and boxes equal to each other often."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 640, (batch, 2, 5))
    raw = np.empty((batch, 4 + nc, anchors), np.float32)
    chosen = places[np.arange(batch)[:, None], :, rng.integers(0, 5, (batch, anchors))].transpose(0, 2, 1)
    raw[:, :2] = chosen + rng.normal(0, crowd, (batch, 2, anchors))
    raw[:, 2:4] = rng.uniform(0, 120, (batch, 2, anchors))
    raw[:, 4:] = rng.beta(0.3, 2.0, (batch, nc, anchors))
    if steps:
        raw[:, :4] = (raw[:, :4] / 8).round() * 8
        raw[:, 4:] = (raw[:, 4:] * steps).round() / steps
    return raw


@settings(max_examples=200)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    nc=st.integers(1, 8),
    anchors=st.one_of(st.integers(1, 5), st.integers(7, 700)),
    crowd=st.sampled_from([0.5, 8.0, 200.0]),
    steps=st.sampled_from([0, 3, 50]),
    conf=st.sampled_from([0.0, 0.001, 0.25, 0.3, 0.99]),
    iou=st.sampled_from([0.0, 0.1, 0.45, 0.5, 0.7, 1.0]),
    multi_label=st.booleans(),
    max_det=st.sampled_from([1, 10, 300]),
)
def test_equals_ultralytics_to_the_last_bit(
    seed: int, batch: int, nc: int, anchors: int, crowd: float, steps: int, conf: float, iou: float,
    multi_label: bool, max_det: int,
) -> None:  # fmt: skip
    raw = random_output(seed, batch, nc, anchors, crowd, steps)
    ours = detections(raw, conf=conf, iou=iou, multi_label=multi_label, max_det=max_det)
    expected = theirs(raw, conf=conf, iou=iou, multi_label=multi_label, max_det=max_det)
    assert len(ours) == len(expected) == batch
    for mine, other in zip(ours, expected, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("multi_label", [False, True])
def test_equals_ultralytics_on_many_classes_and_anchors(multi_label: bool) -> None:
    raw = random_output(1, 1, 80, 8400, 30.0, 0)
    options: dict[str, Any] = {"conf": 0.001, "iou": 0.7, "multi_label": multi_label, "max_det": 300}
    np.testing.assert_array_equal(detections(raw, **options)[0], theirs(raw, **options)[0])


@given(seed=st.integers(0, 10**6), count=st.integers(0, 400), iou=st.floats(0, 1))
@settings(max_examples=100)
def test_nms_equals_torchvision(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    rows = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2)), rng.random((count, 1))], axis=1)
    rows = np.concatenate([rows, np.zeros((count, 1))], axis=1).astype(np.float32)
    expected = torchvision.ops.nms(torch.from_numpy(rows[:, :4]), torch.from_numpy(rows[:, 4]), iou)
    np.testing.assert_array_equal(nms(rows, iou=iou, most=10**6), expected.numpy())


def test_rows_of_an_nms_free_network_are_only_filtered() -> None:
    raw = np.zeros((2, 4, 6), np.float32)
    raw[0, :, 4] = [0.9, 0.5, 0.3, 0.1]
    first, second = detections(raw, conf=0.3)
    np.testing.assert_array_equal(first, raw[0, :2])
    assert second.shape == (0, 6)
    assert len(detections(raw, conf=0.01, max_det=1)[0]) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_output_that_is_not_finite_is_refused(value: float) -> None:
    raw = np.zeros((1, 10, 100), np.float32)
    raw[0, 3, 7] = value
    with pytest.raises(WeightsError, match="NaN or infinity"):
        detections(raw, conf=0.3)
    raw[0, 4, 7] = -value
    with pytest.raises(WeightsError, match="NaN or infinity"):
        detections(raw, conf=0.3)


def test_output_whose_sum_overflows_is_finite() -> None:
    raw = np.full((1, 6, 20), 3e38, np.float32)
    raw[:, 4:] = 0.0
    assert detections(raw, conf=0.3)[0].shape == (0, 6)


def test_the_input_is_not_changed() -> None:
    raw = random_output(0, 1, 3, 300, 8.0, 0)
    before = raw.copy()
    detections(raw, conf=0.001, multi_label=True)
    np.testing.assert_array_equal(raw, before)


def test_a_crowded_image_takes_no_longer_than_torchvision_needs_several_times_over() -> None:
    raw = random_output(0, 1, 80, 8400, 30.0, 0)
    seconds = []
    for call in (detections, theirs):
        began = time.process_time()
        call(raw, conf=0.001, iou=0.7, multi_label=True, max_det=300)  # type: ignore[operator]
        seconds.append(time.process_time() - began)
    assert seconds[0] < 5 * seconds[1] + 0.1
