"""Borders: mirrored objects and their labels lie on each other, the rest of a view does not depend on the border."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from recipebox.data.border import BORDERS, RandomBorder, border_share, gaps, mirror_images, tiles_shown
from recipebox.data.border_transforms import SHARE
from recipebox.data.detection_set import Split
from recipebox.data.views import TrainingViews, ViewLoader

from ultralytics.cfg import get_cfg  # isort: skip - after recipebox, which switches its reaching out off

OBJECT = (255, 255, 255)
STILL = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "close_mosaic": 0, "translate": 0.0}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Dark images of several shapes, each with one white rectangle away from its edges."""
    folder = tmp_path_factory.mktemp("border")
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number, (width, height) in enumerate([(96, 96), (96, 64), (48, 96), (96, 96), (96, 80), (64, 96)]):
        image = rng.integers(10, 60, (height, width, 3), dtype=np.uint8)
        left, top = int(rng.integers(8, width - 34)), int(rng.integers(8, height - 30))
        cv2.rectangle(image, (left, top), (left + 23, top + 17), OBJECT, -1)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), image)
        images.append(path)
        row = [0, (left + 12) / width, (top + 9) / height, 24 / width, 18 / height]
        boxes.append(np.array([row], np.float32))
    return Split(tuple(images), tuple(boxes))


def views(split: Split, kind: str | None, **changes: Any) -> TrainingViews:
    arguments: SimpleNamespace = get_cfg(overrides={"imgsz": 96, "batch": 4, **changes})
    found = TrainingViews(split, ("a",), arguments, seed=5, epochs=40)
    found.border = None if kind is None else BORDERS[kind]()
    return found


def pixels(sample: dict[str, Any]) -> Any:
    return sample["img"].permute(1, 2, 0).numpy()


def labelled(sample: dict[str, Any], grow: float) -> Any:
    """Which pixels of a view lie in a label that was made larger by `grow` pixels on each side."""
    side = sample["img"].shape[1]
    mask = np.zeros((side, side), bool)
    for x, y, width, height in sample["bboxes"].numpy() * side:
        x1, x2 = (round(value) for value in (x - width / 2 - grow, x + width / 2 + grow))
        y1, y2 = (round(value) for value in (y - height / 2 - grow, y + height / 2 + grow))
        mask[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    return mask


def test_mirror_images_are_those_of_opencv() -> None:
    width, height = 20, 12
    image = np.zeros((height, width), np.uint8)
    image[3:7, 11:16] = 255
    columns, rows = range(-2, 3), range(-1, 3)
    # copyMakeBorder goes on over several mirror images, as the warp does.
    whole = cv2.copyMakeBorder(image, height, 2 * height, 2 * width, 2 * width, cv2.BORDER_REFLECT)
    boxes, index = mirror_images(np.array([[11, 3, 16, 7]], np.float32), (width, height), columns, rows)
    assert len(boxes) == 5 * 4 - 1 and not index.any()
    drawn = np.zeros_like(whole)
    drawn[height : 2 * height, 2 * width : 3 * width] = image
    for x1, y1, x2, y2 in (boxes + np.array([2 * width, height] * 2)).astype(int):
        drawn[y1:y2, x1:x2] = 255
    assert np.array_equal(drawn, whole)


def test_tiles_and_share_of_a_zoom() -> None:
    half = np.array([[0.5, 0, 24], [0, 0.5, 24], [0, 0, 1]])
    assert tiles_shown(half, (96, 96), (96, 96)) == (range(-1, 2), range(-1, 2))
    assert border_share(half, [(0, 0, 96, 96)], (96, 96)) == pytest.approx(0.75)
    assert border_share(half, [(0, 0, 96, 48), (0, 48, 48, 96)], (96, 96)) == pytest.approx(1 - 0.75 / 4)
    double = np.array([[2, 0, -50], [0, 2, -50], [0, 0, 1.0]])
    assert tiles_shown(double, (96, 96), (96, 96)) == (range(1), range(1))
    assert border_share(double, [(0, 0, 96, 96)], (96, 96)) == 0
    behind = np.linalg.inv(np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]))
    assert len(tiles_shown(behind, (96, 96), (96, 96))[0]) > 1


def test_gaps_and_patch_make_the_quadrant() -> None:
    for patch in [(0, 0, 9, 7), (3, 2, 9, 7), (0, 0, 4, 7), (2, 1, 5, 6)]:
        seen = np.zeros((7, 9), int)
        seen[patch[1] : patch[3], patch[0] : patch[2]] += 1
        for part in gaps(patch, (0, 0, 9, 7)):
            assert seen[part].size
            seen[part] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_reflected_objects_are_labelled_and_no_grey_is_seen(split: Split, mosaic: float) -> None:
    dataset = views(split, "reflect", mosaic=mosaic, scale=0.6, **STILL)
    grey = views(split, None, mosaic=mosaic, scale=0.6, **STILL)
    mirrored = 0
    for view in range(12):
        for index in range(len(split)):
            sample = dataset[index, view]
            image = pixels(sample)
            white = (image > 200).all(-1)
            assert unlabelled(sample, white) == []
            assert white[labelled(sample, -3.0)].all(), "a label without an object"
            assert not (image == 114).all(-1).any()
            mirrored += len(sample["cls"]) - len(grey[index, view]["cls"])
            assert len(sample["cls"]) == len(sample["bboxes"]) == len(sample["batch_idx"])
    assert mirrored > 40


def unlabelled(sample: dict[str, Any], white: Any) -> list[int]:
    """Sizes, in pixels, of the objects that no label covers; stock gives none to what is cut to a tenth at the edge."""
    missed = (white & ~labelled(sample, 2.0)).astype(np.uint8)
    side = len(missed)
    _, _, parts, _ = cv2.connectedComponentsWithStats(missed)
    return [area for x, y, w, h, area in parts[1:].tolist() if x > 0 and y > 0 and x + w < side and y + h < side]


def test_every_mirror_image_of_a_long_strip_is_labelled(tmp_path: Path) -> None:
    """A strip of 12 to 1, zoomed out to a quarter: a view shows some fifty of its mirror images above each other."""
    image = np.full((16, 192, 3), 40, np.uint8)
    cv2.rectangle(image, (80, 0), (119, 11), OBJECT, -1)
    cv2.imwrite(str(tmp_path / "0.png"), image)
    row = np.array([[0, 100 / 192, 6 / 16, 40 / 192, 12 / 16]], np.float32)
    strip = Split((tmp_path / "0.png",), (row,))
    dataset = views(strip, "reflect", imgsz=192, mosaic=0.0, scale=0.75, **STILL)
    most = 0
    for view in range(12):
        sample = dataset[0, view]
        assert unlabelled(sample, (pixels(sample) > 200).all(-1)) == []
        most = max(most, len(sample["cls"]))
    assert most > 17 * 3


@pytest.mark.parametrize("changes", [{}, {"degrees": 20.0, "shear": 5.0}, {"perspective": 0.0005}, {"mixup": 0.5}])
def test_a_random_border_changes_no_label_and_no_pixel_of_the_image(split: Split, changes: dict[str, float]) -> None:
    mosaic = 0.5
    grey = views(split, None, mosaic=mosaic, **STILL, **changes)
    other = views(split, "random", mosaic=mosaic, **STILL, **changes)
    differing = 0.0
    for view in range(8):
        for index in range(len(split)):
            stock, sample = grey[index, view], other[index, view]
            for key in ("cls", "bboxes"):
                assert torch.equal(sample[key], stock[key])
            changed = (pixels(stock) != pixels(sample)).any(-1)
            # Where image and border are blended: beside the grey, or at the view's edge.
            fringe = cv2.dilate((pixels(stock) == 114).all(-1).astype(np.uint8), np.ones((5, 5)))
            fringe[[0, 1, -2, -1]] = fringe[:, [0, 1, -2, -1]] = 1
            if "mixup" not in changes:
                assert not (changed & ~fringe.astype(bool)).any()
                assert sample[SHARE] == pytest.approx((pixels(stock) == 114).all(-1).mean(), abs=0.05)
            differing += changed.mean()
    assert differing > 1


def test_a_random_border_is_another_cloud_in_each_view_and_never_flat() -> None:
    seen = []
    for number in (1, 2, 2):
        border = RandomBorder()
        border.begin(1, 2, number)
        canvas = np.full((96, 96, 3), 7, np.uint8)
        border.fill(canvas, (48, 48, 96, 96), (0, 0, 96, 96))
        assert (canvas[48:, 48:] == 7).all()
        around = np.concatenate([canvas[:48].reshape(-1, 3), canvas[48:, :48].reshape(-1, 3)]).astype(int)
        assert (around.std(0) > 30).all() and abs(around.mean() - 127.5) < 30
        assert np.abs(np.diff(canvas[:48, :96].astype(int), axis=1)).mean() < 10, "neighbours are alike"
        seen.append(canvas)
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[1], seen[2])


@pytest.mark.parametrize("kind", list(BORDERS))
def test_views_do_not_depend_on_workers_nor_on_history(split: Split, kind: str) -> None:
    def batches(workers: int) -> list[Any]:
        dataset = views(split, kind, mixup=0.5, mosaic=0.5)
        loader = ViewLoader(dataset, batch=4, workers=workers, seed=5, pin_memory=False)
        found = []
        for epoch in (0, 3):
            loader.set_epoch(epoch)
            found += [(batch["img"], batch["bboxes"]) for batch in loader]
        loader.close()
        return found

    expected = batches(0)
    for workers in (1, 2):
        for left, right in zip(batches(workers), expected, strict=True):
            assert torch.equal(left[0], right[0]) and torch.equal(left[1], right[1])


class GreyBorder:
    """Stock's border in our transforms."""

    mirrors = False

    def begin(self, *key: int) -> None: ...

    def fill(self, canvas: Any, patch: Any, quadrant: Any) -> None: ...

    def warp(self, image: Any, matrix: Any, shown: tuple[int, int], perspective: bool) -> Any:
        assert not perspective
        return cv2.warpAffine(image, matrix[:2], dsize=shown, borderValue=(114, 114, 114, 114))


def test_our_transforms_with_a_grey_border_are_stock(split: Split) -> None:
    stock, ours = (
        views(split, None, mixup=0.5, cutmix=0.5, mosaic=0.7),
        views(split, None, mixup=0.5, cutmix=0.5, mosaic=0.7),
    )
    ours.border = GreyBorder()
    for view in range(6):
        for index in range(len(split)):
            left, right = stock[index, view], ours[index, view]
            assert 0 <= right.pop(SHARE) <= 1
            assert left.keys() == right.keys()
            for key in ("img", "cls", "bboxes"):
                assert torch.equal(left[key], right[key])


def test_nothing_is_written_beside_the_images(split: Split) -> None:
    folder = Path(split.images[0]).parent
    views(split, "reflect")[0, 0]
    assert len(list(folder.iterdir())) == len(split)
