"""Weights from class frequencies, against their formulas and against Ultralytics' own."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipebox.data.balance import By, class_counts, class_shares, class_weights, image_weights, repeat_factors
from recipebox.data.detection_set import Split
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402


def split_of(*labels: list[int]) -> Split:
    """A split of images with boxes of these classes."""
    boxes = [np.array([[label, 0.5, 0.5, 0.1, 0.1] for label in each], np.float32).reshape(-1, 5) for each in labels]
    return Split(tuple(Path(str(number)) for number in range(len(labels))), tuple(boxes))


def test_counts() -> None:
    split = split_of([0, 0, 2], [], [2])
    assert class_counts(split, 4).tolist() == [2, 0, 2, 0]
    assert class_counts(split_of(), 2).tolist() == [0, 0]
    assert class_shares(split, 4) == pytest.approx([1 / 3, 0, 2 / 3, 0])


counts_of_classes = st.lists(st.integers(0, 100_000), min_size=1, max_size=8)


@given(counts_of_classes, st.sampled_from([("inverse", 1.0), ("inverse_sqrt", 0.5)]))
def test_inverse_frequency_is_what_ultralytics_computes(counts: list[int], asked: tuple[By, float]) -> None:
    by, power = asked
    found = class_weights(np.array(counts), by)
    if not any(counts):
        assert found.tolist() == [1.0] * len(counts)
        return
    stock = SimpleNamespace(args=SimpleNamespace(cls_pw=power))
    expected = DetectionTrainer.compute_class_weights(stock, np.array(counts, np.float32))
    assert found == pytest.approx(expected / expected.mean(), rel=1e-5)


@given(counts_of_classes, st.sampled_from([0.5, 0.9, 0.999, 0.9999]))
def test_effective_number(counts: list[int], beta: float) -> None:
    found = class_weights(np.array(counts), "effective_number", beta=beta)
    assert found.mean() == pytest.approx(1.0)
    raw = [(1 - beta) / (1 - beta**n) if n else None for n in counts]
    there = [value for value in raw if value is not None]
    if there:
        mean = sum(there) / len(there)
        expected = [(mean if value is None else value) / mean for value in raw]
        assert found == pytest.approx(expected, rel=1e-6)


def test_effective_number_lies_between_nothing_and_the_inverse() -> None:
    counts = np.array([10, 1000])
    flat = class_weights(counts, "effective_number", beta=1e-9)
    assert flat == pytest.approx([1, 1])
    steep = class_weights(counts, "effective_number", beta=1 - 1e-9)
    assert steep == pytest.approx(class_weights(counts, "inverse"), rel=1e-3)


def test_an_image_counts_as_the_mean_of_its_boxes() -> None:
    split = split_of([0, 0, 0], [0, 1], [1], [])
    weights = image_weights(split, np.array([0.5, 1.5]))
    assert weights == pytest.approx([0.5, 1.0, 1.5, 1.0])
    assert image_weights(split_of([], []), np.array([1.0])).tolist() == [1.0, 1.0]


def test_repeat_factors() -> None:
    split = split_of([0], [0], [0, 1], [])  # class 0 in 3/4 of the images, class 1 in 1/4, class 2 in none
    factor = math.sqrt(0.5 / 0.25)
    assert repeat_factors(split, 3, 0.5) == pytest.approx([1, 1, factor, 1])
    assert repeat_factors(split, 3, 0.25).tolist() == [1, 1, 1, 1]
