"""The parts of the INT8 scan by themselves: the measure, the search, the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.errors import DataError
from recipebox.evaluate.detection import Measurement
from recipebox.export.agreement import agreement
from recipebox.export.keeping import Checked, Keep, shortest_keep
from recipebox.export.sensitivity import drawn, drop_noise


def rows(*boxes: tuple[float, ...]) -> Any:
    return np.array(boxes, np.float32).reshape(-1, 6)


def test_agreement_of_written_out_boxes() -> None:
    box = (0, 0, 10, 10, 0.8, 1)
    assert agreement(rows(box), rows(box)) == pytest.approx(1.0)
    assert agreement(rows(), rows()) == 1.0 and agreement(rows(box), rows()) == 0.0
    assert agreement(rows(box), rows((0, 0, 10, 5, 0.8, 1))) == pytest.approx(0.5)  # half the box
    assert agreement(rows(box), rows((0, 0, 10, 10, 0.4, 1))) == pytest.approx(2 * 0.4 / 1.2)  # half the score
    assert agreement(rows(box), rows((0, 0, 10, 10, 0.8, 2))) == 0.0  # another class
    assert agreement(rows(box), rows(box, (50, 50, 60, 60, 0.4, 1))) == pytest.approx(1.6 / 2.0)  # one too many
    assert agreement(rows(box, box), rows(box)) == pytest.approx(1.6 / 2.4), "a box is somebody's once"


boxes = st.lists(
    st.tuples(
        *[st.integers(0, 20)] * 2, *[st.integers(21, 40)] * 2, st.floats(0.0625, 1.0, width=32), st.integers(0, 2)
    ),
    max_size=6,
)


@given(boxes, boxes)
def test_agreement_is_between_0_and_1_and_1_for_the_same(a: Any, b: Any) -> None:
    first, second = (rows(*sorted(one, key=lambda box: -box[4])) for one in (a, b))
    assert 0.0 <= agreement(first, second) <= 1.0 + 1e-6
    assert agreement(first, first) >= 0.99 or len({box[:4] for box in a}) < len(a)


@given(st.integers(2, 40), st.data())
def test_what_is_suggested_was_measured_and_is_enough(count: int, data: Any) -> None:
    """Costs that add up: what is suggested passes, and without any of its members it would not."""
    costs = data.draw(st.lists(st.floats(0.0, 1.0), min_size=count, max_size=count).map(lambda c: sorted(c)[::-1]))
    allowed = data.draw(st.floats(0.0, sum(costs)))
    names = [f"conv{index}" for index in range(count)]
    drops = dict(zip(names, costs, strict=True))
    asked: list[Keep] = []

    def check(keep: Keep) -> Checked:
        asked.append(keep)
        return Checked(keep, sum(drops[name] for name in names if name not in keep))

    plain = check(())
    found = shortest_keep(names, plain, check, allowed=allowed)
    if found.best is None:
        assert sum(costs[count // 2 :]) > allowed
        return
    assert found.best.keep in asked and found.best.drop <= allowed and found.tried[0] is plain
    assert len(asked) <= 2 * int(np.log2(count)) + 12
    if found.best.keep:
        shorter = found.best.keep[:-1]
        assert sum(drops[name] for name in names if name not in shorter) > allowed


def test_a_member_that_does_nothing_is_left_out() -> None:
    """The first of the ranking is wrong: what costs most alone costs nothing together."""
    needed = {"b", "c"}
    found = shortest_keep(
        ["a", "b", "c", *"defgh"],
        Checked(("x",), 1.0),
        lambda keep: Checked(keep, 0.0 if needed <= set(keep) else 1.0),
        allowed=0.1,
        always=("x",),
    )
    assert found.best == Checked(("x", "b", "c"), 0.0)
    assert [one.keep[1:] for one in found.tried] == [
        (), ("a",), ("a", "b"), ("a", "b", "c", "d"), ("a", "b", "c"), ("a", "c"), ("b", "c")
    ]  # fmt: skip


def test_nothing_is_kept_where_half_of_the_network_is_not_enough() -> None:
    found = shortest_keep(list("abcdef"), Checked((), 1.0), lambda keep: Checked(keep, 1.0), allowed=0.1)
    assert found.best is None and [len(one.keep) for one in found.tried] == [0, 1, 2, 3]
    assert shortest_keep([], Checked((), 1.0), lambda keep: Checked(keep, 0.0), allowed=0.1).best is None


def split_of(names: str, *, empty: str = "") -> Split:
    full, none = np.array([[0, 0.5, 0.5, 0.1, 0.1]], np.float32), np.zeros((0, 5), np.float32)
    return Split(tuple(map(Path, names)), tuple(none if name in empty else full for name in names))


def test_images_of_the_test_split_are_never_drawn() -> None:
    def images(train: Split, val: Split) -> DetectionSet:
        return DetectionSet("made", ("a",), train, val, split_of("tuv"), "0" * 64)

    name, split = drawn(images(split_of("abc"), split_of("defghi")), 4, seed=0)
    assert name == "val" and len(split) == 4 and list(split.images) == sorted(split.images)
    assert drawn(images(split_of("abc"), split_of("defghi")), 4, seed=0)[1].images == split.images
    assert {drawn(images(split_of("abc"), split_of("defghi")), 4, seed=seed)[1].images for seed in range(9)} != {
        split.images
    }
    assert drawn(images(split_of("abc"), split_of("tuv")), 9, seed=0)[1].images == tuple(map(Path, "abc"))
    assert drawn(images(split_of("abt"), split_of("tu")), 9, seed=0)[1].images == tuple(map(Path, "ab"))
    assert drawn(images(split_of("ab"), split_of("de", empty="de")), 9, seed=0)[0] == "train"
    with pytest.raises(DataError, match="no images with boxes beside those of its test split"):
        drawn(images(split_of("tu"), split_of("de", empty="de")), 9, seed=0)


def test_the_noise_of_a_difference() -> None:
    """0 where both say the same of every image; the jackknife's error where one is wrong on some."""
    from recipebox.evaluate.detection import _measurement

    rng = np.random.default_rng(0)
    truth = [np.array([[10, 10, 30, 30, 0]], np.float32) for _ in range(40)]
    found = [np.array([[10, 10, 30, 30, 0.5 + rng.random() / 2, 0]], np.float32) for _ in range(40)]
    moved = [one + np.float32([4, 0, 4, 0, 0, 0]) * (rng.random() < 0.3) for one in found]

    def of(rows: Any) -> Measurement:
        return _measurement(("a",), rows, truth, rows)

    assert drop_noise(of(found), of(found)) == 0.0
    noise = drop_noise(of(found), of(moved))
    drops = [1.0 - (of(moved).without({i for i in range(40) if i % 10 == group}).map50_95 or 0) for group in range(10)]
    assert noise == pytest.approx(np.sqrt(9 / 10 * np.sum((np.array(drops) - np.mean(drops)) ** 2))) and noise > 0.01
