"""A sample is a pure function of (seed, image, view): workers, history and resuming change nothing."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recipebox.data import views
from recipebox.data.detection_set import Split
from recipebox.data.letterbox import letterbox, read_image
from recipebox.data.views import DeployedViews, TrainingViews, ViewLoader

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which switches its reaching out off

NAMES = ("a", "b")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(13):
        height, width = int(rng.integers(40, 120)), int(rng.integers(40, 120))
        path = folder / f"{number:02}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        images.append(path)
        count = int(rng.integers(0, 4))
        centre, size = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
        boxes.append(np.hstack([rng.integers(0, 2, (count, 1)), centre, size]).astype(np.float32))
    return Split(tuple(images), tuple(boxes))


def stock_arguments(**changes: Any) -> SimpleNamespace:
    arguments = {"imgsz": 64, "batch": 4, "mosaic": 1.0, "mixup": 0.5, "cutmix": 0.3, "degrees": 10, "close_mosaic": 2}
    namespace: SimpleNamespace = get_cfg(overrides=arguments | changes)
    return namespace


def loader(
    split: Split, workers: int = 0, seed: int = 7, weights: NDArray[np.float64] | None = None, **changes: Any
) -> ViewLoader:
    arguments = stock_arguments(**changes)
    dataset = TrainingViews(split, NAMES, arguments, seed=seed, epochs=5)
    if weights is not None:
        dataset.draw_by(weights)
    return ViewLoader(dataset, batch=4, workers=workers, seed=seed, pin_memory=False)


def epoch_of(loader: ViewLoader, epoch: int) -> list[dict[str, Any]]:
    loader.set_epoch(epoch)
    return list(loader)


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if not (torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key]):
                return False
    return True


def test_batches_do_not_depend_on_workers(split: Split) -> None:
    reference = loader(split)
    expected = [epoch_of(reference, epoch) for epoch in range(5)]
    for workers in (1, 2):
        other = loader(split, workers)
        for epoch in range(5):
            assert same(epoch_of(other, epoch), expected[epoch])
        other.close()


def test_an_epoch_may_be_begun_again_and_left(split: Split) -> None:
    """Batch norm's statistics for SWA are estimated from its first batches once more."""
    reference = loader(split)
    expected = [epoch_of(reference, epoch) for epoch in range(2)]
    for workers in (0, 2):
        other = loader(split, workers)
        assert same(epoch_of(other, 0), expected[0])
        other.set_epoch(0)
        assert same(list(islice(other, 2)), expected[0][:2])
        assert same(epoch_of(other, 1), expected[1])
        other.close()


def test_weighted_batches_do_not_depend_on_workers_nor_on_where_a_run_resumed(split: Split) -> None:
    weights = np.linspace(0.1, 4, len(split))
    reference = loader(split, weights=weights)
    expected = [epoch_of(reference, epoch) for epoch in range(5)]
    assert not same(expected[1], epoch_of(loader(split), 1))
    for workers in (1, 2):
        other = loader(split, workers, weights=weights)
        for epoch in (1, 3):
            assert same(epoch_of(other, epoch), expected[epoch])
        other.close()


def test_an_image_drawn_twice_is_seen_in_two_views(split: Split) -> None:
    weights = np.array([40.0] + [1.0] * (len(split) - 1))
    for epoch in (1, 4):  # with mosaic, and with mosaic closed
        samples = [sample for batch in epoch_of(loader(split, weights=weights), epoch) for sample in batch["img"]]
        assert len({sample.numpy().tobytes() for sample in samples}) == len(split)


def test_weights_hold_for_the_partners_of_a_mosaic(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.array([0.0] * 6 + [1.0] * 6 + [6.0])
    dataset = TrainingViews(split, NAMES, stock_arguments(mixup=0.0, cutmix=0.0), seed=1, epochs=500)
    dataset.draw_by(weights)
    drawn = np.zeros(len(split))
    original = dataset.get_image_and_label
    monkeypatch.setattr(dataset, "get_image_and_label", lambda index: np.add.at(drawn, index, 1) or original(index))
    for view in range(200):
        dataset[0, view]
    assert drawn[0] == 200 and not drawn[1:6].any()
    assert drawn[12] / drawn[6:].sum() == pytest.approx(0.5, abs=0.06)


def test_batches_do_not_depend_on_where_a_run_resumed(split: Split) -> None:
    whole = loader(split)
    expected = [epoch_of(whole, epoch) for epoch in range(4)]
    for start in range(1, 4):
        assert same(epoch_of(loader(split), start), expected[start])
    half = loader(split)
    half.set_epoch(1)
    next(iter(half))  # stopped in the middle of an epoch
    assert same(epoch_of(half, 1), expected[1])


def test_epochs_and_seeds_differ(split: Split) -> None:
    one = loader(split)
    assert not same(epoch_of(one, 0), epoch_of(one, 1))
    assert not same(epoch_of(one, 0), epoch_of(loader(split, seed=8), 0))


def test_every_image_once_an_epoch_and_in_another_order(split: Split) -> None:
    one = loader(split)
    orders = [[path for batch in epoch_of(one, epoch) for path in batch["im_file"]] for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == sorted(str(path) for path in split.images)
    assert orders[0] != orders[1]


def test_a_sample_does_not_depend_on_what_was_loaded_before(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """In-place augmentation of a shared image, or a full buffer, would show here."""
    monkeypatch.setattr(views, "_KEPT_BYTES", 3 * 64 * 64 * 3)
    fresh = TrainingViews(split, NAMES, stock_arguments(mosaic=0.0, hsv_v=0.9), seed=1, epochs=5)
    used = TrainingViews(split, NAMES, stock_arguments(mosaic=0.0, hsv_v=0.9), seed=1, epochs=5)
    for view in range(3):
        for index in range(len(split)):
            used[index, view]
    for index in range(len(split)):
        assert torch.equal(fresh[index, 3]["img"], used[index, 3]["img"])


def test_mosaic_draws_from_the_whole_set_and_memory_is_bounded(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_KEPT_BYTES", 4 * 64 * 64 * 3)
    dataset = TrainingViews(split, NAMES, stock_arguments(mixup=0.0, cutmix=0.0), seed=1, epochs=50)
    drawn: set[int] = set()
    original = dataset.get_image_and_label
    monkeypatch.setattr(dataset, "get_image_and_label", lambda index: drawn.add(index) or original(index))
    most = 0
    for view in range(40):
        dataset[0, view]
        most = max(most, sum(image is not None for image in dataset.ims))
    assert drawn == set(range(len(split)))
    assert most <= 4


def test_mosaic_is_closed_by_the_view_number(split: Split) -> None:
    closing = TrainingViews(split, NAMES, stock_arguments(), seed=1, epochs=5)
    never = TrainingViews(split, NAMES, stock_arguments(mosaic=0.0, mixup=0.0, cutmix=0.0), seed=1, epochs=5)
    mosaic = TrainingViews(split, NAMES, stock_arguments(close_mosaic=0), seed=1, epochs=5)
    for index in range(len(split)):
        assert torch.equal(closing[index, 3]["img"], never[index, 3]["img"])
        assert torch.equal(closing[index, 2]["img"], mosaic[index, 2]["img"])
    assert not torch.equal(closing[0, 2]["img"], never[0, 2]["img"])


def test_deployed_views_are_the_shipped_pre_processing(split: Split) -> None:
    dataset = DeployedViews(split, NAMES, 64)
    for index, (path, boxes) in enumerate(split):
        sample = dataset[index]
        image = read_image(path)
        canvas, placement = letterbox(image, 64)
        assert np.array_equal(sample["img"].numpy().transpose(1, 2, 0)[:, :, ::-1], canvas)
        height, width = image.shape[:2]
        centre, size = boxes[:, 1:3] * [width, height], boxes[:, 3:] * [width, height]
        corners = np.hstack([centre - size / 2, centre + size / 2])
        x, y, w, h = (sample["bboxes"].numpy() * 64).T
        found = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
        assert np.allclose(found, placement.to_canvas(corners), atol=1e-3)


def test_deployed_views_are_given_twice_alike(split: Split) -> None:
    """Collating writes into what it is given; a kept sample must not change by it."""
    validation = ViewLoader(DeployedViews(split, NAMES, 64), batch=4, workers=0, seed=None, pin_memory=False)
    first, second = list(validation), list(validation)
    assert same(first, second)
    assert [str(p) for p in split.images] == [path for batch in first for path in batch["im_file"]]


def test_nothing_is_written_beside_the_images(split: Split) -> None:
    folder = Path(split.images[0]).parent
    before = sorted(folder.iterdir())
    epoch_of(loader(split), 0)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("kind", ["of the same size", "a plane", "an object", "spoiled"])
def test_arrays_beside_the_images_are_not_read_overwritten_or_removed(tmp_path: Path, split: Split, kind: str) -> None:
    """Ultralytics takes any .npy of an image's name for its own cache, and removes it where it does not like it."""
    images = tuple(Path(shutil.copy(path, tmp_path)) for path in split.images)
    copy = Split(images, split.boxes)
    expected = epoch_of(loader(copy), 0)
    for path in images:
        height, width = read_image(path).shape[:2]
        array: Any = np.zeros((height, width, 3) if kind == "of the same size" else (height, width), np.uint8)
        np.save(path.with_suffix(".npy"), np.array({"depth": 1}, object) if kind == "an object" else array)
        if kind == "spoiled":
            path.with_suffix(".npy").write_bytes(b"\x93NUMPY of another program")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert same(epoch_of(loader(copy), 0), expected)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
