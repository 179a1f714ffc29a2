"""The seam of every lever that changes the class loss: another `bce` for the length of a training call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recipebox.techniques.base import CriterionWrapper, innermost

if TYPE_CHECKING:
    import torch

    from recipebox.techniques.base import Criterion

    Bce = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def inner_losses(criterion: Any) -> tuple[Any, ...]:
    """The stock losses of a head: one, or the two branches of an NMS-free head (one-to-many first)."""
    stock = innermost(criterion)
    return (stock.one2many, stock.one2one) if hasattr(stock, "one2many") else (stock,)


class ClassLossWrapper(CriterionWrapper):
    """A criterion whose stock losses use `change(bce)` in place of `bce(logits, targets)`.

    Both take and give (B, A, nc), unreduced; targets are the assigner's soft scores, 0 on background. Only training
    calls see the change: validation keeps the stock loss, which is comparable between runs. The wrapper nearest to the
    stock criterion is asked first, so levers that change targets are wrapped before those that weigh them.
    """

    def __init__(self, inner: Criterion, change: Callable[[Bce], Bce]) -> None:
        super().__init__(inner)
        self._change = change

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if isinstance(preds, tuple):  # evaluation form
            return self.inner(preds, batch)
        with _changed(inner_losses(self), self._change):
            return self.inner(preds, batch)


@contextmanager
def _changed(losses: tuple[Any, ...], change: Callable[[Bce], Bce]) -> Iterator[None]:
    before = [loss.bce for loss in losses]
    try:
        for loss in losses:
            loss.bce = change(loss.bce)
        yield
    finally:
        for loss, bce in zip(losses, before, strict=True):
            loss.bce = bce
