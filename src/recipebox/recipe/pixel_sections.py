"""The levers on pixels: sizes in stages, augmentations that begin late."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipebox.recipe.section import Count, Section


class SizeStage(Section):
    """Epochs whose training views are of another size than the deployed one."""

    imgsz: Annotated[int, Field(ge=32, le=4096, multiple_of=32, description="Side of the square view, pixels.")]
    until_epoch: Count = Field(description="The stage's last epoch, counted from 1.")


class Progressive(Section):
    """Resolution in stages; what is left of the run after the last of them trains at `train.imgsz`."""

    stages: Annotated[tuple[SizeStage, ...], Field(min_length=1, max_length=20)]

    def imgsz_of(self, epoch: int, deployed: int) -> int:
        """Side of the training views of an epoch, counted from 1: that of the first stage that has not ended."""
        return next((stage.imgsz for stage in self.stages if epoch <= stage.until_epoch), deployed)


class Begins(Section):
    """When an augmentation begins."""

    from_epoch: Count = Field(description="The first epoch with it, counted from 1.")


class Late(Section):
    """Augmentations that begin late, with the gain that `augment` gives them."""

    mosaic: Begins | None = None
    mixup: Begins | None = None
    cutmix: Begins | None = None

    def begins(self) -> dict[str, int]:
        """Augmentation -> its first epoch, counted from 1."""
        named = {"mosaic": self.mosaic, "mixup": self.mixup, "cutmix": self.cutmix}
        return {name: begins.from_epoch for name, begins in named.items() if begins is not None}
