"""Stochastic weight averaging over the last epochs. Card: docs/techniques/swa.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

from recipebox.recipe.technique_sections import Swa
from recipebox.techniques.base import Technique, TrainingContext
from recipebox.techniques.ema import HELD

if TYPE_CHECKING:
    Schedule = Callable[[float], float]


def swa_decay(count: int) -> float:
    """The decay that makes the mean of `count` weights from the mean of the first count - 1: (count - 1) / count.

    Source: Izmailov et al. 2018, algorithm 1; 0 for the first one, which replaces whatever stood there.
    """
    return (count - 1) / count


def held_schedule(schedule: Schedule, first: int, level: float | None) -> Schedule:
    """`schedule` (rate over lr0 by epoch, from 0) until epoch `first`; from there `level`, or where it stood then."""
    constant = schedule(first) if level is None else level
    return lambda epoch: schedule(epoch) if epoch < first else constant


@torch.no_grad()
def estimate_batch_norm(model: torch.nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Replace the running statistics of `model`'s batch norms by the mean over `batches`, weighted by their images.

    Averaged weights never saw a batch, so the averaged statistics of their sources do not fit them. Means and variances
    are those within a batch, as in training. A batch norm that no batch reaches keeps what it had. The model comes back
    in evaluation mode, with its tensors in place.

    Args:
        batches: images, (B, 3, H, W), as the model trains on them.

    Returns:
        The number of images.
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    before = [(norm.momentum, {key: value.clone() for key, value in norm.named_buffers()}) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    model.train()
    seen = 0
    for images in batches:
        for norm in norms:
            norm.momentum = len(images) / (seen + len(images))
        model(images)
        seen += len(images)
    model.eval()
    for norm, (momentum, buffers) in zip(norms, before, strict=True):
        norm.momentum = momentum
        if not norm.num_batches_tracked:
            for key, value in norm.named_buffers():
                value.copy_(buffers[key])
    return seen


class SwaTechnique(Technique):
    """From the end of the first of the last epochs on, the average is the equal-weight mean of the epochs' ends.

    Ultralytics' one average does the work: its decay is 1 within these epochs, and (k - 1) / k at the end of the k-th.
    Everything is a function of the epoch, so there is no state to resume.

    Args:
        settings: the recipe's section.
        epochs: of the run.
        lr0: what `settings.lr` is measured against; None where Ultralytics chooses it, and `lr` is then None too.
    """

    name = "swa"

    def __init__(self, settings: Swa, epochs: int, lr0: float | None) -> None:
        self.settings = settings
        self.first = epochs - settings.last  # from 0
        self._level = settings.lr / lr0 if settings.lr is not None and lr0 is not None else None
        self._count = 0  # the mean that is being made right now, else 0

    def wrap_schedule(self, schedule: Schedule) -> Schedule:
        return held_schedule(schedule, self.first, self._level)

    def on_setup(self, context: TrainingContext) -> None:
        ema: Any = context.ema
        before = ema.decay

        def decay(updates: int) -> float:
            if self._count:
                return swa_decay(self._count)
            return float(before(updates)) if context.epoch < self.first else HELD

        ema.decay = decay

    def on_step(self, context: TrainingContext) -> None:
        if context.epoch >= self.first:
            context.record("ema/decay", HELD)
            context.record("swa/averaged", context.epoch - self.first)

    def on_epoch_end(self, context: TrainingContext) -> None:
        if context.epoch < self.first:
            return
        self._count = context.epoch - self.first + 1
        context.ema.update(context.model)
        context.ema.updates -= 1  # it counts optimizer steps
        context.record("ema/decay", swa_decay(self._count))
        context.record("swa/averaged", self._count)
        self._count = 0
        images = context.training_images(self.settings.bn_images)
        context.record("swa/bn_images", estimate_batch_norm(context.ema.ema, images))
