"""When a technique acts. The loop, as the trainer runs it:

    arguments = stock arguments + technique.train_args()          two techniques may not set the same one
    draw network
    technique.on_network(network, data set)
    load weights
    technique.on_model(model)
    build loaders; technique.on_views(training views)
    build optimizer; schedule = technique.wrap_schedule(schedule); build EMA
    technique.on_setup(context)
    criterion = technique.wrap_criterion(criterion)                training loss only
    for epoch in epochs:
        for batch in loader:
            technique.on_batch(batch)
            loss = criterion(predictions, batch); backward
            every accumulate-th batch: clip, optimizer step, EMA update
            technique.on_step(context)
        technique.on_epoch_end(context)
        validate; save weights and checkpoint

Their order is fixed by the plan (network, targets, then added losses, then weights), not by the recipe's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from recipebox.data.detection_set import DetectionSet
    from recipebox.data.views import TrainingViews

    Criterion = Callable[[Any, Mapping[str, Any]], tuple[torch.Tensor, dict[str, torch.Tensor]]]


class TrainingContext(Protocol):
    """What a technique may see of the training."""

    @property
    def model(self) -> Any:
        """The live student, without any parallel wrapper."""

    @property
    def ema(self) -> Any:
        """Ultralytics' ModelEMA."""

    @property
    def device(self) -> torch.device: ...

    @property
    def detection_set(self) -> DetectionSet:
        """The data set, whose training split is learned from."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def step(self) -> int:
        """Batches begun so far, from 1 within the first batch."""

    @property
    def total_steps(self) -> int:
        """Batches of the whole run."""

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""

    def training_images(self, count: int) -> Iterator[torch.Tensor]:
        """The first `count` views of this epoch once more, in its order and batches: float32 (B, 3, H, W), 0 to 1."""

    clip_norm: float | None
    """The gradient's largest norm at a step; None: not clipped. Stock is 10."""

    evaluate_live: bool
    """Whether the live weights are validated beside the average."""

    @property
    def gradient_norm(self) -> float | None:
        """The gradient's norm before clipping, where this batch ended with an optimizer step."""

    def record(self, key: str, value: float) -> None:
        """Put a number of this step into the telemetry, e.g. `ema/decay`."""


class Technique:
    """No-op methods; a technique overrides those it needs."""

    name: str

    def train_args(self) -> dict[str, Any]:
        """Plain Ultralytics arguments."""
        return {}

    def check(self, detection_set: DetectionSet) -> None:
        """Raises PlanConflict or DataError where this data leaves the technique nothing to act on.

        A technique asks it in the method where training first needs the answer; a sweep asks for all arms beforehand.
        """

    def on_network(self, model: Any, detection_set: DetectionSet) -> None:
        """The network is drawn, on the CPU, and nothing is loaded into it: it may be changed for good."""

    def on_model(self, model: Any) -> None:
        """The network exists, on the CPU; optimizer and EMA do not. What is added to it here as `recipebox_<name>` is
        trained, averaged and resumed with it, and left out of the weights files."""

    def on_views(self, views: TrainingViews) -> None:
        """The training views exist; none has been drawn."""

    def wrap_schedule(self, schedule: Callable[[float], float]) -> Callable[[float], float]:
        """The learning rate over lr0, by epoch from 0, with this technique's part in it."""
        return schedule

    def on_setup(self, context: TrainingContext) -> None:
        """Model, loaders and EMA exist; training has not begun."""

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        """The training criterion with this technique's part in it."""
        return criterion

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        """A training batch is ready, augmented and normalised; the student has not seen it yet."""

    def on_step(self, context: TrainingContext) -> None:
        """A batch is done."""

    def on_epoch_end(self, context: TrainingContext) -> None:
        """All batches of an epoch are done; validation comes next."""


class CriterionWrapper:
    """A criterion around a criterion that forwards every attribute.

    A plain object on purpose: an nn.Module would add keys to the model's state_dict. Ultralytics looks for optional
    attributes with hasattr (E2ELoss.update drives a schedule), so what is not here is looked up in the inner one.
    """

    def __init__(self, inner: Criterion) -> None:
        self.inner = inner

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.inner(preds, batch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


def innermost(criterion: Any) -> Any:
    """The stock criterion under all wrappers."""
    while isinstance(criterion, CriterionWrapper):
        criterion = criterion.inner
    return criterion


def linear_schedule(start: float, end: float | None, step: int, total_steps: int) -> float:
    """The value at `step` (1 ... total_steps) on the line from `start` to `end`; constant where `end` is None."""
    if end is None or total_steps <= 1:
        return start
    return start + (end - start) * (step - 1) / (total_steps - 1)
