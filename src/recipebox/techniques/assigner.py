"""The assigner's settings, and what it chose. Cards: docs/techniques/assigner.md, docs/techniques/p2.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recipebox.recipe.head_sections import Assigner
from recipebox.techniques.base import CriterionWrapper, Technique, TrainingContext, innermost
from recipebox.techniques.class_loss import inner_losses

if TYPE_CHECKING:
    import torch

    from recipebox.techniques.base import Criterion

Note = Callable[["torch.Tensor", "torch.Tensor"], None]


class AssignmentWrapper(CriterionWrapper):
    """A criterion whose stock losses choose cells by other settings in training calls, and tell which they chose.

    Validation keeps the stock assigner: its loss is comparable between runs. Of an NMS-free head (YOLO26) the dense
    branch alone has another `topk`: the one-to-one branch is made to keep one cell an object.

    Args:
        inner: the criterion.
        settings: what to choose by; None leaves it as it is.
        note: is told (B, A) which cells the dense branch chose, and (B, objects, 1) which rows are objects.
    """

    def __init__(self, inner: Criterion, settings: Assigner | None, note: Note) -> None:
        super().__init__(inner)
        self._settings, self._note = settings, note
        self._assigners = tuple(loss.assigner for loss in inner_losses(inner))

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if isinstance(preds, tuple):  # evaluation form
            return self.inner(preds, batch)
        with _chosen_by(self._settings, self._assigners), _told(inner_losses(self)[0], self._note):
            return self.inner(preds, batch)


@contextmanager
def _chosen_by(settings: Assigner | None, assigners: tuple[Any, ...]) -> Iterator[None]:
    if settings is None:
        yield
        return
    before = [(one.topk, one.topk2, one.alpha, one.beta) for one in assigners]
    try:
        for place, one in enumerate(assigners):
            one.alpha, one.beta = settings.alpha, settings.beta
            if place == 0:
                one.topk = one.topk2 = settings.topk
        yield
    finally:
        for one, values in zip(assigners, before, strict=True):
            one.topk, one.topk2, one.alpha, one.beta = values


@contextmanager
def _told(loss: Any, note: Note) -> Iterator[None]:
    assigner = loss.assigner

    def telling(*arguments: Any, **named: Any) -> Any:
        assigned = assigner(*arguments, **named)
        note(assigned[3].detach(), arguments[5])
        return assigned

    loss.assigner = telling
    try:
        yield
    finally:
        loss.assigner = assigner


class AssignerTechnique(Technique):
    """Sets topk, alpha and beta of the task-aligned assigner, and counts the cells it chose for an object."""

    name = "assigner"

    def __init__(self, settings: Assigner) -> None:
        self.settings = settings
        self._seen: tuple[Any, Any] | None = None

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        return AssignmentWrapper(criterion, self.settings, self._note)

    def _note(self, chosen: torch.Tensor, objects: torch.Tensor) -> None:
        self._seen = chosen.sum(), objects.sum()

    def on_step(self, context: TrainingContext) -> None:
        if self._seen is not None:
            cells, objects = (float(each) for each in self._seen)
            context.record("assigner/positives", cells / objects if objects else 0.0)
            self._seen = None


class P2Technique(Technique):
    """Counts how many of the cells that learn an object are of stride 4. The level itself is drawn by the network."""

    name = "p2"

    def __init__(self) -> None:
        self._finest = 0
        self._share: Any = None
        self._criterion: Any = None

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        stock = innermost(criterion)
        if not hasattr(stock, "assigner"):  # a head with anchors counts by itself
            self._criterion = stock
            return criterion
        return _FinestWrapper(AssignmentWrapper(criterion, None, self._note), self)

    def look(self, cells: int) -> None:
        """The finest level has so many cells in this batch."""
        self._finest = cells

    def _note(self, chosen: torch.Tensor, objects: torch.Tensor) -> None:
        self._share = chosen[:, : self._finest].sum(), chosen.sum()

    def on_step(self, context: TrainingContext) -> None:
        counts = self._share
        if self._criterion is not None:
            counts = self._criterion.positives[0], self._criterion.positives.sum()
        if counts is not None:
            fine, every = (float(each) for each in counts)
            context.record("p2/share", fine / every if every else 0.0)


class _FinestWrapper(CriterionWrapper):
    """Tells how many cells the finest level has before the criterion is asked."""

    def __init__(self, inner: Criterion, technique: P2Technique) -> None:
        super().__init__(inner)
        self._technique = technique

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if not isinstance(preds, tuple):
            maps = preds.get("one2many", preds)["feats"][0]
            self._technique.look(int(maps.shape[2] * maps.shape[3]))
        return self.inner(preds, batch)
