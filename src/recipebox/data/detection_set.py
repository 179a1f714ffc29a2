"""What every data set is turned into before anything else looks at it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Split:
    """Images and their boxes, in one fixed order.

    `boxes[i]` is float32 of shape (n, 5): class, centre x, centre y, width, height; the last four as fractions
    of the image. An image without objects has shape (0, 5).
    """

    images: tuple[Path, ...]
    boxes: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        return len(self.images)

    def without(self, images: Collection[Path]) -> Split:
        """The split with these images and their boxes left out."""
        kept = [(path, boxes) for path, boxes in self if path not in images]
        return Split(tuple(path for path, _ in kept), tuple(boxes for _, boxes in kept))

    def __iter__(self) -> Iterator[tuple[Path, NDArray[np.float32]]]:
        return iter(zip(self.images, self.boxes, strict=True))


@dataclass(frozen=True)
class DetectionSet:
    """A checked detection data set. `sha256` covers names, split membership, image bytes and boxes."""

    name: str
    names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    sha256: str
    notes: tuple[str, ...] = ()

    def split(self, name: SplitName) -> Split:
        return {"train": self.train, "val": self.val, "test": self.test}[name]
