"""Views: a training sample is a pure function of (seed, image, view number).

Ultralytics' own stream depends on what ran before: mosaic draws its partners from a buffer of recently loaded images,
and the random state runs on from sample to sample, so worker count and resuming change the batches. Here every sample
seeds its own randomness and mosaic and mixup draw from the whole set, so an epoch's batches are a function of
(seed, epoch) alone. The view number of a sample says its epoch, see data/order.py.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from recipebox.data.border import Border
from recipebox.data.border_transforms import with_border
from recipebox.data.detection_set import Split
from recipebox.data.letterbox import letterbox, read_image
from recipebox.data.order import EpochOrder
from recipebox.data.stages import Stage, Stages
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.data.dataset import YOLODataset  # noqa: E402

# What a process keeps of decoded images, training and validation each; it bounds memory and never changes a sample.
_KEPT_BYTES = 512 * 2**20

_PARTNERS = 256
"""Weighted candidates for the partners of one mosaic: enough that hardly one comes twice."""


def seed_everything(*key: int) -> None:
    """Seed `random`, NumPy and torch's CPU generator from non-negative integers."""
    state = np.random.SeedSequence(key).generate_state(4, np.uint32)
    random.seed(int(state[0]) << 32 | int(state[1]))
    np.random.seed(state[2])
    torch.default_generator.manual_seed(int(state[3]))


class _WholeSet(list[int]):
    """Stands in for the history buffer of Ultralytics' data set: lists every image, yet still evicts decoded ones.

    `Mosaic` draws from `list(dataset.buffer)`, so that must be all indices; `load_image` appends what it decoded and
    drops the image whose index `pop(0)` returns once `len()` has reached the limit.
    """

    def __init__(self, size: int, weights: NDArray[np.float64] | None) -> None:
        super().__init__()
        self._size = size
        self._cumulative = None if weights is None else np.cumsum(weights).tolist()
        self._decoded: deque[int] = deque()

    def __iter__(self) -> Iterator[int]:
        if self._cumulative is None:
            return iter(range(self._size))
        # Weighted images: partners too, or three quarters of a mosaic would undo the weights. `Mosaic` draws its few
        # from these; the random state is the sample's own.
        return iter(random.choices(range(self._size), cum_weights=self._cumulative, k=_PARTNERS))

    def __len__(self) -> int:
        return len(self._decoded)

    def append(self, index: int) -> None:
        self._decoded.append(index)

    def pop(self, position: Any = 0) -> int:
        return self._decoded.popleft()


class TrainingViews(YOLODataset):  # type: ignore[misc]
    """Augmented training samples; index with (image index, view number).

    Args:
        split: the training images and boxes, already checked.
        names: class names.
        args: Ultralytics' training arguments (augmentation gains among them).
        seed: the run's seed.
        epochs: length of the run.

    Attributes:
        split: the images and boxes.
        weights: how often each image is drawn beside the others, (images,); None: each once an epoch.
        stages: what the views of each epoch are made with.
        border: what they show where there is no image; None is stock's grey.
            Stages and border are to be changed before the first view is drawn only.
    """

    border: Border | None = None

    def __init__(self, split: Split, names: tuple[str, ...], args: Any, *, seed: int, epochs: int) -> None:
        self.split = split
        self.weights: NDArray[np.float64] | None = None
        self._seed = seed
        self._args = args
        self.stages = Stages.stock(args, epochs)
        self._made: dict[Stage, Any] = {}
        super().__init__(
            img_path="",
            imgsz=args.imgsz,
            batch_size=args.batch,
            augment=True,
            hyp=args,
            rect=False,
            cache=None,
            task="detect",
            data={"names": dict(enumerate(names)), "nc": len(names), "channels": 3},
        )
        # Stock reads, refreshes and even removes an .npy of an image's name, whatever `cache` says: nothing lies there.
        self.npy_files = [Path(os.devnull, "npy")] * self.ni
        self._resize(args.imgsz)

    def draw_by(self, weights: NDArray[np.float64]) -> None:
        """From now on draw each image in proportion to its weight, (images,): by itself and as a partner in mosaics."""
        self.weights = weights
        self._resize(self.imgsz)

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        return [str(path) for path in self.split.images]

    def get_labels(self) -> list[dict[str, Any]]:
        """The labels as given. Ultralytics' reader would drop what it dislikes and write a cache beside the data."""
        return [_label(path, boxes) for path, boxes in self.split]

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> Any:
        image, original, resized = super().load_image(i, rect_mode, resize_short)
        # Some augmentations write in place: without a copy they would change the image that later samples see.
        return image.copy(), original, resized

    def __getitem__(self, key: Any) -> dict[str, Any]:
        index, view = key
        seed_everything(self._seed, index, view)
        if self.border is not None:
            self.border.begin(self._seed, index, view)
        transforms = self._transforms_of(self.stages.at(view % self.stages.epochs))
        sample: dict[str, Any] = transforms(self.get_image_and_label(index))
        return sample

    def _transforms_of(self, stage: Stage) -> Any:
        """The transforms of a stage, made once; decoded images are kept at the stage's size."""
        if stage.imgsz != self.imgsz:
            self._resize(stage.imgsz)
        if stage not in self._made:
            made = self.build_transforms(stage.arguments(self._args))
            self._made[stage] = made if self.border is None else with_border(made, self.border)
        return self._made[stage]

    def _resize(self, imgsz: int) -> None:
        """Decode at `imgsz` from now on, and forget what was decoded at another size."""
        self.imgsz = imgsz
        self.ims, self.im_hw0, self.im_hw = ([None] * self.ni for _ in range(3))
        self.buffer = _WholeSet(self.ni, self.weights)
        self.max_buffer_length = max(2, min(self.ni + 1, _KEPT_BYTES // (imgsz * imgsz * 3)))


class DeployedViews(Dataset[dict[str, Any]]):
    """Validation samples exactly as the shipped pipeline prepares them: a square letterbox of `imgsz`.

    Stock validation pads to a rectangle with an extra stride, which shifts what the model sees and so picks the wrong
    epoch as the best one.
    """

    augment = False
    rect = False

    def __init__(self, split: Split, names: tuple[str, ...], imgsz: int) -> None:
        self.split, self.imgsz = split, imgsz
        self.data = {"names": dict(enumerate(names)), "nc": len(names), "channels": 3}
        self.im_files = [str(path) for path in split.images]
        self.labels = [_label(path, boxes) for path, boxes in split]
        self.collate_fn = YOLODataset.collate_fn
        self._kept: dict[int, dict[str, Any]] = {}
        self._keep = len(split) * imgsz * imgsz * 3 <= _KEPT_BYTES

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self._kept.get(index)
        if sample is None:
            sample = self._sample(index)
            if self._keep:
                self._kept[index] = sample
        # Collating adds the image's place in the batch to `batch_idx`, in place.
        return {**sample, "batch_idx": sample["batch_idx"].clone()}

    def _sample(self, index: int) -> dict[str, Any]:
        path, boxes = self.split.images[index], self.split.boxes[index]
        image = read_image(path)
        height, width = image.shape[:2]
        canvas, placement = letterbox(image, self.imgsz)
        centre_size = boxes[:, 1:] * np.array([width, height, width, height], np.float32)
        centre_size = centre_size * np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
        centre_size[:, 0] += placement.left
        centre_size[:, 1] += placement.top
        return {
            "im_file": str(path),
            "ori_shape": (height, width),
            "resized_shape": (self.imgsz, self.imgsz),
            "ratio_pad": ((placement.scale_y, placement.scale_x), (placement.left, placement.top)),
            "img": torch.from_numpy(np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1))),
            "cls": torch.from_numpy(boxes[:, :1].astype(np.float32)),
            "bboxes": torch.from_numpy((centre_size / self.imgsz).astype(np.float32)),
            "batch_idx": torch.zeros(len(boxes)),
        }


def _label(path: Any, boxes: Any) -> dict[str, Any]:
    return {
        "im_file": str(path),
        "cls": boxes[:, :1],
        "bboxes": boxes[:, 1:],
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }


class ViewLoader(DataLoader[Any]):
    """Batches of an epoch. Persistent workers; iterating begins the epoch named by `set_epoch`."""

    def __init__(self, dataset: Any, *, batch: int, workers: int, seed: int | None, pin_memory: bool) -> None:
        """`seed` None: in the order of the set (validation); else shuffled training views."""
        self._order = None if seed is None else EpochOrder(len(dataset), seed, dataset.stages.epochs, dataset.weights)
        super().__init__(
            dataset,
            batch_size=min(batch, len(dataset)),
            sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dataset.collate_fn,
            pin_memory=pin_memory,
        )

    def set_epoch(self, epoch: int) -> None:
        if self._order is not None:
            self._order.epoch = epoch

    def __iter__(self) -> Any:
        # A generator: the stock loop makes an iterator that it throws away unused, which must start no worker.
        yield from super().__iter__()

    def reset(self) -> None:
        """The stock loop resets its loader when mosaic closes; views know their epoch, nothing is to be redone."""

    def close(self) -> None:
        """Shut persistent workers down."""
        iterator = getattr(self, "_iterator", None)
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
            self._iterator = None
