"""How far two traces of the same part of a run are apart, and whether that is more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recipebox.experiment.trace import Trace

MARGIN = 3.0
"""A difference counts when it is more than this many times the difference of two runs of the same setting."""


@dataclass(frozen=True)
class Difference:
    """What differs; 0 everywhere when two traces are equal to the last bit.

    Attributes:
        images: share of the images, by place, that are other ones or look otherwise.
        losses: by term, the largest relative difference over the batches; 1 for a term that only one of them has.
        gradient: norm of the difference of the first gradients over the norm of the second trace's.
        cosine: between the two first gradients; None where there is none.
        rates: largest relative difference of a learning rate.
        weights, average: distance at the end over the longer of the two ways that the weights went.

    Of two networks that are built otherwise, gradients, weights and averages differ wholly: 1.
    """

    images: float = 0.0
    losses: dict[str, float] | None = None
    gradient: float = 0.0
    cosine: float | None = None
    rates: float = 0.0
    weights: float = 0.0
    average: float = 0.0

    @property
    def loss(self) -> float:
        return max((self.losses or {}).values(), default=0.0)

    def quantities(self) -> dict[str, float]:
        names = ("images", "loss", "gradient", "rates", "weights", "average")
        return {name: float(getattr(self, name)) for name in names}

    def above(self, noise: Difference) -> tuple[str, ...]:
        """The quantities in which this is more than `noise`, the difference of two equal runs."""
        floor = noise.quantities()
        return tuple(name for name, value in self.quantities().items() if value > MARGIN * floor[name])

    def document(self, *, trained: bool) -> dict[str, Any]:
        """For JSON. What could not be compared is absent: all but the images, where no batch was trained on."""
        if not trained:
            return {"images": self.images}
        shown: dict[str, Any] = {**self.quantities(), "losses": dict(self.losses or {})}
        return shown | ({"cosine": self.cosine} if self.cosine is not None else {})


def compare(a: Trace, b: Trace) -> Difference:
    """The difference of `a` from `b`."""
    if a.weights is not None and b.weights is not None and a.weights.shape != b.weights.shape:
        return Difference(_images(a, b), _losses(a, b), 1.0, None, _rate_difference(a, b), 1.0, 1.0)
    way = max(a.moved, b.moved) if a.weights is not None and b.weights is not None else 0.0
    return Difference(
        images=_images(a, b),
        losses=_losses(a, b),
        gradient=relative(a.gradient, b.gradient),
        cosine=_cosine(a.gradient, b.gradient),
        rates=_rate_difference(a, b),
        weights=_distance(a.weights, b.weights) / way if way else 0.0,
        average=_distance(a.average, b.average) / way if way else 0.0,
    )


def _rate_difference(a: Trace, b: Trace) -> float:
    return max((apart(x, y) for x, y in _rates(a, b)), default=0.0)


def _images(a: Trace, b: Trace) -> float:
    places = max(len(a.views), len(b.views))
    same = sum(one == other for one, other in zip(a.views, b.views, strict=False))
    return (places - same) / places if places else 0.0


def apart(x: float | None, y: float | None) -> float:
    """The difference of two numbers over the larger one; 1 where only one is there."""
    if x is None or y is None:
        return 0.0 if x is y else 1.0
    return abs(x - y) / max(abs(x), abs(y)) if x != y else 0.0


def _losses(a: Trace, b: Trace) -> dict[str, float]:
    found: dict[str, float] = {}
    for ours, theirs in zip(a.losses, b.losses, strict=False):
        for term in {**ours, **theirs}:
            found[term] = max(found.get(term, 0.0), apart(ours.get(term), theirs.get(term)))
    return found


def _rates(a: Trace, b: Trace) -> list[tuple[float, float]]:
    return [pair for ours, theirs in zip(a.rates, b.rates, strict=False) for pair in zip(ours, theirs, strict=False)]


def relative(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    """The norm of the difference over that of `b`; 1 where only one is there, or only one is not 0."""
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    apart_by, whole = _distance(a, b), float(torch.linalg.vector_norm(b.double()))
    return apart_by / whole if whole else float(apart_by > 0)


def _cosine(a: torch.Tensor | None, b: torch.Tensor | None) -> float | None:
    if a is None or b is None:
        return None
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def _distance(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    if a is None or b is None:
        return 0.0
    return float(torch.linalg.vector_norm((a - b).double()))
