"""Validation of the live weights beside the average, in the same run."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from recipebox.train.records import validated

if TYPE_CHECKING:
    from recipebox.train.trainer import RecipeTrainer


class LiveWeights:
    """A second network of the average's kind that takes the live weights over to be validated.

    The live network itself is never put to use: validating switches modes and caches anchors in the head. So training
    goes on exactly as it would have. Memory: the weights once more.
    """

    def __init__(self) -> None:
        self._copy: Any = None

    def measure(self, trainer: RecipeTrainer) -> dict[str, float]:
        """What `val` in epochs.jsonl has of the average, of the live weights.

        The validator asks the trainer for its average, so that is put in its place for as long.
        """
        average = trainer.ema.ema
        if self._copy is None:
            self._copy = deepcopy(average)
        self._copy.load_state_dict(trainer.network.state_dict())
        trainer.ema.ema = self._copy
        try:
            metrics = trainer.validator(trainer)
        finally:
            trainer.ema.ema = average
        return validated(trainer, {key: value for key, value in metrics.items() if key != "fitness"})
