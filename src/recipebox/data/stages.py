"""What a training view is made with, by epoch: its size, and which of the mixing augmentations are on. Pure.

Cards: docs/techniques/progressive.md, late.md.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from recipebox.recipe.pixel_sections import Late, Progressive

MIXING = ("mosaic", "mixup", "cutmix", "copy_paste")
"""The augmentations that put several images into one; stock closes them together for the last epochs."""


@dataclass(frozen=True)
class Stage:
    """What the views of an epoch are made with; epochs with an equal stage share one set of transforms.

    Attributes:
        imgsz: side of the square view, pixels.
        gains: (name, probability in force) of each of MIXING.
    """

    imgsz: int
    gains: tuple[tuple[str, float], ...]

    def arguments(self, args: Any) -> Any:
        """A copy of Ultralytics' arguments with the gains of this stage."""
        changed = copy(args)
        for name, gain in self.gains:
            setattr(changed, name, gain)
        return changed


@dataclass(frozen=True)
class Stages:
    """The stages of a run. Without `progressive` and `late` they are stock: one size, and mosaic closed at the end.

    Attributes:
        imgsz: the deployed side, pixels.
        epochs: length of the run.
        close_mosaic: epochs at the end without anything of MIXING; 0 never closes.
        gains: (name, probability) of each of MIXING, as the recipe has them.
    """

    imgsz: int
    epochs: int
    close_mosaic: int
    gains: tuple[tuple[str, float], ...]
    progressive: Progressive | None = None
    late: Late | None = None

    @staticmethod
    def stock(args: Any, epochs: int) -> Stages:
        """The stages of Ultralytics' training arguments."""
        gains = tuple((name, float(getattr(args, name))) for name in MIXING)
        return Stages(int(args.imgsz), epochs, int(args.close_mosaic), gains)

    def at(self, epoch: int) -> Stage:
        """The stage of an epoch, counted from 0."""
        imgsz = self.imgsz if self.progressive is None else self.progressive.imgsz_of(epoch + 1, self.imgsz)
        closed = bool(self.close_mosaic) and epoch >= self.epochs - self.close_mosaic
        gains = tuple((name, 0.0 if closed or not self._begun(name, epoch) else gain) for name, gain in self.gains)
        return Stage(imgsz, gains)

    def _begun(self, name: str, epoch: int) -> bool:
        begins = getattr(self.late, name, None)
        return begins is None or epoch + 1 >= int(begins.from_epoch)
