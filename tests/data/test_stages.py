"""Which size and which augmentations an epoch's views have, and that views stay a function of seed, image and epoch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from recipebox.data.detection_set import Split
from recipebox.data.stages import MIXING, Stages
from recipebox.data.views import TrainingViews, ViewLoader
from recipebox.recipe.pixel_sections import Late, Progressive

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which switches its reaching out off

SIZES = Progressive.model_validate({"stages": [{"imgsz": 32, "until_epoch": 2}, {"imgsz": 96, "until_epoch": 3}]})


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("stages")
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(9):
        height, width = (int(side) for side in rng.integers(40, 120, 2))
        path = folder / f"{number:02}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        images.append(path)
        rows = np.hstack([rng.integers(0, 2, (2, 1)), rng.uniform(0.3, 0.7, (2, 2)), rng.uniform(0.2, 0.4, (2, 2))])
        boxes.append(rows.astype(np.float32))
    return Split(tuple(images), tuple(boxes))


def views(split: Split, progressive: Progressive | None = None, late: Late | None = None, **changes: Any) -> Any:
    defaults = {"imgsz": 64, "batch": 4, "mosaic": 0.7, "mixup": 0.5, "cutmix": 0.5, "close_mosaic": 1}
    arguments: SimpleNamespace = get_cfg(overrides=defaults | changes)
    found = TrainingViews(split, ("a", "b"), arguments, seed=7, epochs=6)
    found.stages = replace(found.stages, progressive=progressive, late=late)
    return found


def epochs_of(dataset: TrainingViews, workers: int = 0) -> list[list[dict[str, Any]]]:
    loader = ViewLoader(dataset, batch=4, workers=workers, seed=7, pin_memory=False)
    found = []
    for epoch in range(6):
        loader.set_epoch(epoch)
        found.append(list(loader))
    loader.close()
    return found


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return torch.equal(left, right) if torch.is_tensor(left) else left == right


def test_stages_by_epoch() -> None:
    gains = (("mosaic", 1.0), ("mixup", 0.2), ("cutmix", 0.0), ("copy_paste", 0.0))
    late = Late.model_validate({"mixup": {"from_epoch": 3}, "mosaic": {"from_epoch": 2}})
    stages = Stages(64, 6, 2, gains, SIZES, late)
    found = [stages.at(epoch) for epoch in range(6)]
    assert [stage.imgsz for stage in found] == [32, 32, 96, 64, 64, 64]
    assert [dict(stage.gains)["mosaic"] for stage in found] == [0, 1, 1, 1, 0, 0]
    assert [dict(stage.gains)["mixup"] for stage in found] == [0, 0, 0.2, 0.2, 0, 0]
    assert replace(stages, close_mosaic=0).at(5).gains == gains
    assert [name for name, _ in gains] == list(MIXING)


def test_every_epoch_has_its_size_and_labels_in_it(split: Split) -> None:
    for imgsz, batches in zip((32, 32, 96, 64, 64, 64), epochs_of(views(split, SIZES)), strict=True):
        for batch in batches:
            assert batch["img"].shape[2:] == (imgsz, imgsz)
            assert batch["bboxes"].min() >= 0 and batch["bboxes"].max() <= 1


def test_views_do_not_depend_on_workers_nor_on_where_a_run_resumed(split: Split) -> None:
    late = Late.model_validate({"mixup": {"from_epoch": 2}, "cutmix": {"from_epoch": 4}})
    expected = epochs_of(views(split, SIZES, late))
    for workers in (1, 2):
        assert same(epochs_of(views(split, SIZES, late), workers), expected)
    for start in (2, 3, 5):
        resumed = ViewLoader(views(split, SIZES, late), batch=4, workers=0, seed=7, pin_memory=False)
        resumed.set_epoch(start)
        assert same(list(resumed), expected[start])


def test_stages_of_the_deployed_size_are_stock(split: Split) -> None:
    equal = Progressive.model_validate({"stages": [{"imgsz": 64, "until_epoch": 3}]})
    now = Late.model_validate({name: {"from_epoch": 1} for name in ("mosaic", "mixup", "cutmix")})
    stock = epochs_of(views(split))
    assert same(epochs_of(views(split, equal)), stock)
    assert same(epochs_of(views(split, None, now)), stock)


def test_a_late_augmentation_is_off_before_and_stock_after(split: Split) -> None:
    late = Late.model_validate({"mixup": {"from_epoch": 3}, "mosaic": {"from_epoch": 4}})
    found, stock = epochs_of(views(split, None, late)), epochs_of(views(split))
    neither, no_mosaic = epochs_of(views(split, mixup=0.0, mosaic=0.0)), epochs_of(views(split, mosaic=0.0))
    assert same(found, [*neither[:2], no_mosaic[2], *stock[3:]])
    assert not same(stock[:3], found[:3])


def test_only_one_size_of_decoded_images_is_kept(split: Split) -> None:
    dataset = views(split, SIZES)
    for view in (0, 2, 3, 0):
        for index in range(len(split)):
            dataset[index, view]
        imgsz = dataset.stages.at(view).imgsz
        assert {max(image.shape[:2]) for image in dataset.ims if image is not None} == {imgsz}


def test_an_image_drawn_again_in_an_epoch_has_the_epochs_size(split: Split) -> None:
    """Its view number is the epoch plus a multiple of the epochs."""
    dataset = views(split, SIZES)
    for epoch, imgsz in enumerate((32, 32, 96, 64, 64, 64)):
        again = dataset[0, epoch + 6]
        assert again["img"].shape[1:] == (imgsz, imgsz)
        assert not torch.equal(again["img"], dataset[0, epoch]["img"])
