"""Accuracy by size: who is asked about, and who is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipebox.evaluate.detection import IOU_LEVELS
from recipebox.evaluate.sizes import _matched, _overlaps, by_size


def box(x: float, size: float, *rest: float) -> list[float]:
    return [x, 10.0, x + size, 10.0 + size, *rest]


def array(rows: Any, width: int) -> Any:
    return np.array(rows, np.float32).reshape(-1, width)


def test_each_third_is_asked_by_itself() -> None:
    true = [array([box(0, 8, 0), box(50, 20, 0), box(100, 60, 0)], 5)]
    found = [array([box(100, 60, 0.9, 0), box(0, 8, 0.8, 0)], 6)]
    entries = {entry["name"]: entry for entry in by_size(found, true, ("a",), IOU_LEVELS)}
    assert [entry["instances"] for entry in entries.values()] == [1, 1, 1]
    assert entries["small"]["mAP50-95"] == pytest.approx(0.995) == entries["large"]["mAP50-95"]
    assert entries["middle"]["mAP50-95"] == 0.0
    assert entries["small"]["from_px"] == 0 and "to_px" not in entries["large"]
    assert entries["small"]["to_px"] == entries["middle"]["from_px"] > 8


def test_a_false_alarm_counts_against_its_own_size_only() -> None:
    true = [array([box(0, 8, 0), box(50, 20, 0), box(100, 60, 0)], 5)]
    hits = [box(0, 8, 0.5, 0), box(50, 20, 0.5, 0), box(100, 60, 0.5, 0)]
    found = [array([box(200, 8, 0.9, 0), *hits], 6)]
    scores = {entry["name"]: entry["mAP50"] for entry in by_size(found, true, ("a",), IOU_LEVELS)}
    assert scores["small"] == pytest.approx(0.5, abs=0.01)
    assert scores["middle"] == scores["large"] == pytest.approx(0.995)


def test_boxes_of_one_size_are_one_group_and_no_boxes_none() -> None:
    true = [array([box(0, 8, 0), box(50, 8, 0)], 5)]
    none, all_of_them = by_size([array([], 6)], true, ("a",), IOU_LEVELS)
    assert (none["instances"], all_of_them["instances"]) == (0, 2)
    assert not {"mAP50", "mAP50-95"} & none.keys(), "a score of nothing is not measured, and no 0"
    assert all_of_them["mAP50"] == all_of_them["mAP50-95"] == 0.0
    assert by_size([array([], 6)], [array([], 5)], ("a",), IOU_LEVELS) == []


def test_matching_is_ultralytics_matching() -> None:
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import box_iou

    rng = np.random.default_rng(0)
    for _ in range(30):
        corners = rng.uniform(0, 40, (12, 2))
        true = np.concatenate([corners, corners + rng.uniform(5, 30, (12, 2)), rng.integers(0, 2, (12, 1))], axis=1)
        near = true[rng.integers(0, 12, 40), :4] + rng.normal(0, 2, (40, 4))
        score = np.sort(rng.random(40))[::-1]
        found = np.concatenate([near, score[:, None], rng.integers(0, 2, (40, 1))], axis=1).astype(np.float32)
        true = true.astype(np.float32)
        overlap = box_iou(torch.from_numpy(true[:, :4]), torch.from_numpy(found[:, :4]))
        np.testing.assert_allclose(_overlaps(true[:, :4], found[:, :4]), overlap.numpy(), atol=1e-5)
        levels = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10))
        expected = BaseValidator.match_predictions(
            levels, torch.from_numpy(found[:, 5]), torch.from_numpy(true[:, 4]), overlap
        )
        assert ((_matched(found, true, IOU_LEVELS) >= 0) == expected.numpy()).all()
