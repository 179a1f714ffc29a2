"""The order of an epoch: with weights, each image in proportion, and as another view each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recipebox.data.order import EpochOrder, drawn

some_weights = st.lists(st.floats(0.01, 50), min_size=1, max_size=30).map(np.array)


@given(some_weights, st.integers(0, 1000))
def test_an_image_is_drawn_as_often_as_its_weight_says(weights: np.ndarray, seed: int) -> None:
    found = np.bincount(drawn(weights, np.random.default_rng(seed)), minlength=len(weights))
    expected = weights / weights.mean()
    assert found.sum() == len(weights)
    assert (found >= np.floor(expected - 1e-9)).all()
    assert (found <= np.ceil(expected + 1e-9)).all()


def test_the_mean_over_epochs_is_the_weight() -> None:
    weights = np.array([0.2, 0.3, 0.5, 1.0, 3.0])
    total = sum(np.bincount(drawn(weights, np.random.default_rng(n)), minlength=5) for n in range(4000))
    assert np.allclose(total / 4000, weights, atol=0.03)


def test_an_order_is_a_function_of_seed_and_epoch() -> None:
    weights = np.array([0.1, 0.5, 1.0, 4.0, 2.0, 0.7])

    def epoch(number: int, seed: int = 3) -> list[tuple[int, int]]:
        order = EpochOrder(6, seed, 5, weights)
        order.epoch = number
        return list(order)

    assert epoch(2) == epoch(2)
    assert len({tuple(epoch(n)) for n in range(5)}) == 5
    assert epoch(2) != epoch(2, seed=4)


def test_an_image_drawn_again_has_another_view_of_the_same_epoch() -> None:
    order = EpochOrder(8, 0, 5, np.array([50.0] + [1.0] * 7))
    order.epoch = 3
    found = list(order)
    assert len(set(found)) == len(found) == 8
    times = Counter(index for index, _ in found)
    assert times[0] >= 6
    assert sorted(view for index, view in found if index == 0) == [3 + 5 * n for n in range(times[0])]
    assert {view % 5 for _, view in found} == {3}


def test_without_weights_it_is_the_permutation_it_always_was() -> None:
    order = EpochOrder(7, 11, 5)
    order.epoch = 2
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence((11, 2)))).permutation(7)
    assert list(order) == [(int(index), 2) for index in expected]
