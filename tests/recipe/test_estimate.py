from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.recipe.estimate import (
    ema_decay,
    ema_decay_reached,
    images_forward,
    optimizer_steps,
    pixel_share,
    steps_per_epoch,
    train_seconds,
)
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Ema


def reference(nb: int, epochs: int, batch: int, nbs: int, warmup_epochs: float, until: int) -> int:
    """The loop of Ultralytics 8.4 engine/trainer.py `_do_train`, without the training, left after `until` epochs."""
    acc0 = min(max(round(nbs / batch), 1), nb * epochs)
    warm = min(warmup_epochs, max(epochs - 1, 0))
    nw = round(warm * nb) if warm > 0 else 0
    accumulate, last, steps = acc0, -1, 0
    for epoch in range(until):
        for i in range(nb):
            ni = i + nb * epoch
            if nw and ni <= nw:
                accumulate = max(1, int(np.interp(ni, [0, nw], [1, acc0]).round()))
            if ni - last >= accumulate:
                steps += 1
                last = ni
    return steps


@settings(max_examples=300)
@given(
    nb=st.integers(1, 60),
    epochs=st.integers(1, 8),
    batch=st.integers(1, 64),
    nbs=st.integers(1, 256),
    warmup=st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.5, 3.0, 10.0]),
)
def test_optimizer_steps_are_those_of_the_loop(nb, epochs, batch, nbs, warmup):
    assert optimizer_steps(nb, epochs, batch, nbs, warmup) == reference(nb, epochs, batch, nbs, warmup, epochs)
    for until in range(epochs):
        part = reference(nb, epochs, batch, nbs, warmup, until)
        assert optimizer_steps(nb, epochs, batch, nbs, warmup, until=until) == part


def test_a_part_of_a_run_has_the_warm_up_of_the_run():
    """700 images in batches of 16 with nbs 64: three epochs of warm-up, the whole of these three."""
    assert optimizer_steps(44, 100, 16, 64, 3.0, until=3) == reference(44, 100, 16, 64, 3.0, 3)
    assert optimizer_steps(44, 100, 16, 64, 3.0, until=3) > optimizer_steps(44, 3, 16, 64, 3.0)


def test_the_published_example():
    """700 images, batch 16, nbs 16, 12 epochs: every batch steps; at nbs 64 about a quarter do."""
    batches = steps_per_epoch(700, 16)
    assert batches == 44
    assert optimizer_steps(batches, 12, 16, 16, 1) == 528
    assert 132 <= optimizer_steps(batches, 12, 16, 64, 3) < 230


def test_ema_decay():
    assert ema_decay(Ema(decay=0.9, tau=10), 10) == pytest.approx(0.9 * (1 - math.exp(-1)))
    assert ema_decay(False, 100) == 0.0
    assert ema_decay(None, 2000) == pytest.approx(0.9999 * (1 - math.exp(-1))), "nothing said is Ultralytics' own"


def test_between_updates_the_average_is_left_as_it_is():
    ema = Ema(decay=0.9, tau=10, every=3)
    assert [ema_decay(ema, step) for step in (1, 2)] == [1.0, 1.0]
    assert ema_decay_reached(ema, 5) == ema_decay(ema, 3) == pytest.approx(0.9 * (1 - math.exp(-0.1)))
    assert ema_decay_reached(None, 5) == ema_decay(None, 5)


def test_batch_norm_sees_no_more_images_than_there_are():
    swa = {"techniques": {"swa": {"last": 3, "bn_images": 256}}}
    stock = _settings("yolov8n.pt", epochs=12)
    averaged = stock.model_copy(update={"techniques": Settings.model_validate(stock.model_dump() | swa).techniques})
    assert images_forward(averaged, 700, 300) == 300 + 256 * 3 / 12
    assert images_forward(averaged, 100, 300) == 300 + 100 * 3 / 12


def _settings(weights: str, **train: object) -> Settings:
    values = {"epochs": 1, "imgsz": 320, "batch": 16, "optimizer": "SGD", "lr0": 0.01, **train}
    return Settings.model_validate({"data": {"dataset": "x"}, "model": {"weights": weights}, "train": values})


def test_seconds_give_back_what_was_measured():
    small, large = _settings("yolov8n.pt"), _settings("yolov8s.pt")
    assert train_seconds(small, 700, 300, 2) == pytest.approx(46)
    assert train_seconds(large, 700, 300, 2) == pytest.approx(121)
    assert train_seconds(small, 700, 300, 2, (large,)) == pytest.approx(86)
    assert train_seconds(_settings("yolov8n.pt", epochs=3, imgsz=640), 700, 300, 2) == pytest.approx(46 * 12)
    assert train_seconds(small, 700, 300, 4) == pytest.approx(23)
    assert train_seconds(_settings("own.pt"), 700, 300, 2) is None


def test_small_stages_cost_less_and_validation_as_much():
    """6 of 12 epochs at half the side: training views of 5/8 of the pixels, validation at the deployed size."""
    staged = {"progressive": {"stages": [{"imgsz": 160, "until_epoch": 6}]}}
    stock = _settings("yolov8n.pt", epochs=12)
    small = stock.model_copy(
        update={"techniques": Settings.model_validate(stock.model_dump() | {"techniques": staged}).techniques}
    )
    assert pixel_share(stock) == 1
    assert pixel_share(small) == pytest.approx(0.5 + 0.5 / 4)
    whole, validation = train_seconds(stock, 700, 300, 2), train_seconds(stock, 0, 300, 2)
    assert train_seconds(small, 700, 300, 2) == pytest.approx(0.625 * (whole - validation) + validation)
