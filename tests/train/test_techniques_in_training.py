"""What the trainer hands to techniques, and when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.run_dir import RunDir
from recipebox.techniques.base import CriterionWrapper, Technique, TrainingContext
from recipebox.train.trainer import RecipeTrainer

if TYPE_CHECKING:
    from recipebox.techniques.base import Criterion


class Watching(Technique):
    """Notes every call, and the images of a batch as the technique and as the criterion see them."""

    name = "watching"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.offered: list[torch.Tensor] = []
        self.learned: list[torch.Tensor] = []

    def on_setup(self, context: TrainingContext) -> None:
        self.calls.append("setup")

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        watching = self

        class Noting(CriterionWrapper):
            def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
                if isinstance(preds, dict):
                    watching.calls.append("criterion")
                    watching.learned.append(batch["img"])
                return super().__call__(preds, batch)

        return Noting(criterion)

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        self.calls.append("batch")
        self.offered.append(batch["img"])

    def on_step(self, context: TrainingContext) -> None:
        self.calls.append("step")

    def on_epoch_end(self, context: TrainingContext) -> None:
        self.calls.append("epoch")


def test_each_batch_is_offered_once_and_is_what_the_student_learns_from(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    watching, run = Watching(), RunDir.create("watched", tmp_path)
    arguments |= {"epochs": 2, "save_dir": str(run.root), "multi_scale": 0.5}
    RecipeTrainer(arguments, run, toy_set, [watching]).train()
    an_epoch = ["batch", "criterion", "step"] * 6 + ["epoch"]
    assert watching.calls == ["setup", *an_epoch, *an_epoch]
    assert all(offered is learned for offered, learned in zip(watching.offered, watching.learned, strict=True))
    assert len({tuple(images.shape) for images in watching.offered}) > 1, "several sizes were drawn"
    assert all(images.dtype == torch.float32 and images.max() <= 1 for images in watching.offered)
