"""How unequal the classes of a training split are, and the weights that make up for it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recipebox.data.detection_set import Split
from recipebox.recipe.class_sections import FREQUENCY_POWERS

By = Literal["inverse", "inverse_sqrt", "effective_number"]

_ALIKE = 1e-3
"""Weights that differ by no more than this share balance nothing that a training could tell."""


def alike(weights: NDArray[np.float64]) -> bool:
    """Whether weights of classes, or of images, are all one: they would change nothing."""
    return bool(weights.max() <= weights.min() * (1 + _ALIKE))


def class_counts(split: Split, classes: int) -> NDArray[np.int64]:
    """Boxes of each class, (classes,)."""
    labels = [boxes[:, 0] for boxes in split.boxes]
    together = np.concatenate(labels) if labels else np.zeros(0)
    return np.bincount(together.astype(np.int64), minlength=classes)


def class_weights(
    counts: NDArray[np.int64], by: By, *, beta: float | None = None, power: float | None = None
) -> NDArray[np.float64]:
    """The weight of each class, (classes,); their mean is 1, each class counting once.

    inverse: n^-power, 1/n where none is given; inverse_sqrt: n^-1/2; effective_number: (1 - beta)/(1 - beta^n), Cui et
    al. 2019, equation 3. Classes without boxes have the mean weight of those that have some.
    """
    present = counts > 0
    if not present.any():
        return np.ones(len(counts))
    n = counts[present].astype(np.float64)
    if by == "effective_number":
        assert beta is not None
        raw = (1.0 - beta) / -np.expm1(n * math.log(beta))
    else:
        raw = n ** -(power or FREQUENCY_POWERS[by])
    weights = np.full(len(counts), raw.mean())
    weights[present] = raw
    return np.asarray(weights / weights.mean(), np.float64)


def image_weights(split: Split, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each image is drawn beside the others, (images,), mean 1: the mean class weight of its boxes.

    Images without boxes are drawn as often as without any weights.
    """
    labels = [boxes[:, 0].astype(np.int64) for boxes in split.boxes]
    holding = np.array([len(each) > 0 for each in labels])
    out = np.ones(len(split))
    if holding.any():
        means = np.array([weights[each].mean() for each in labels if len(each)])
        out[holding] = means / means.mean()
    return out


def class_shares(split: Split, classes: int) -> NDArray[np.float64]:
    """The share of images that hold each class, (classes,)."""
    held = np.zeros(classes)
    for boxes in split.boxes:
        held[np.unique(boxes[:, 0].astype(np.int64))] += 1
    return held / max(1, len(split))


def repeat_factors(split: Split, classes: int, threshold: float) -> NDArray[np.float64]:
    """How often each image is drawn beside the others, (images,): the largest factor of its classes.

    A class's factor is max(1, sqrt(threshold / f)) with f the share of images that hold it. Gupta et al., "LVIS", 2019
    (arXiv 1908.03195), appendix.
    """
    shares = class_shares(split, classes)
    factors = np.sqrt(np.maximum(1.0, threshold / np.where(shares > 0, shares, np.inf)))
    factors = np.where(shares > 0, factors, 1.0)
    labels = [boxes[:, 0].astype(np.int64) for boxes in split.boxes]
    return np.array([factors[each].max() if len(each) else 1.0 for each in labels])
