"""The order of an epoch: which image comes when, and as which view. A function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


def drawn(weights: NDArray[np.float64], source: np.random.Generator) -> NDArray[np.int64]:
    """As many image indices as there are images, shuffled, each image in proportion to its weight.

    Systematic sampling in random order (Madow 1949): with p = weight / mean weight, an image is drawn floor(p) or
    ceil(p) times and p times in the mean, so an epoch varies less than with independent draws, and an image of at
    least the mean weight is never left out.
    """
    size = len(weights)
    order = source.permutation(size)
    edges = np.cumsum(weights[order])
    positions = (source.random() + np.arange(size)) * (edges[-1] / size)
    found = np.minimum(np.searchsorted(edges, positions, side="right"), size - 1)  # rounding may pass the last edge
    return source.permutation(order[found])


class EpochOrder(Sampler[tuple[int, int]]):
    """Yields (image index, view number) of the epoch that was set.

    The view number is the epoch; an image drawn again in the same epoch gets further views: epoch + epochs * (times
    drawn before in it), so `view % epochs` is the epoch of any view.

    Args:
        size: images of the set, and of an epoch.
        seed: the run's seed.
        epochs: of the whole run.
        weights: how often each image is drawn beside the others, (size,); None: each once.
    """

    def __init__(self, size: int, seed: int, epochs: int, weights: NDArray[np.float64] | None = None) -> None:
        self.size, self.seed, self.epochs, self.weights = size, seed, epochs, weights
        self.epoch = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        source = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, self.epoch))))
        if self.weights is None:
            for index in source.permutation(self.size):
                yield int(index), self.epoch
            return
        times = np.zeros(self.size, np.int64)
        for index in drawn(self.weights, source):
            yield int(index), self.epoch + self.epochs * int(times[index])
            times[index] += 1
