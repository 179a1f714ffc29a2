"""What a lever is, and where in a run it is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recipebox.experiment.signs import Sign
from recipebox.experiment.window import Window
from recipebox.recipe.estimate import accumulated_batches, optimizer_steps
from recipebox.recipe.schema import Settings

MOST_VIEWS = 256
"""Images of an epoch that are looked at, and among which an object of a class is looked for."""
MOST_CHANCE_VIEWS = 1024
_MISSED = 1e-3


@dataclass(frozen=True)
class Lever:
    """A lever that a recipe pulls.

    Attributes:
        key: as in the recipe.
        zero: dotted setting -> its value without the lever (None: absent).
        window: a part of the run in which it is active.
        expects: what should happen, in words.
        sign: whether it did.
        idle: why it is never active in this run; nothing needs to be tried then.
        hint: what may be the matter where nothing changes.
        classes: it acts on objects of these classes alone; empty: on all.
        rare: why nothing may change although it works, where too few images can be looked at to tell.
    """

    key: str
    zero: Mapping[str, Any]
    window: Window
    expects: str
    sign: Sign
    idle: str | None = None
    hint: str = "the setting is lost on its way, or what should act on it is never asked"
    classes: tuple[str, ...] = ()
    rare: str | None = None


@dataclass(frozen=True)
class Course:
    """A run's course: what happens at which epoch.

    Args:
        batches: of an epoch.
        class_boxes: training boxes of each class.
        images: of an epoch; as many as fill its batches where nothing is said.
        names: of the classes.
    """

    settings: Settings
    batches: int
    class_boxes: tuple[int, ...] = ()
    images: int | None = None
    names: tuple[str, ...] = ()

    @property
    def warm_epochs(self) -> float:
        train = self.settings.train
        return min(train.warmup_epochs, max(train.epochs - 1, 0))

    @property
    def settled(self) -> int:
        """The first epoch in which the warm-up is over and schedules have left their first value."""
        return min(max(math.ceil(self.warm_epochs), 1), self.settings.train.epochs - 1)

    @property
    def scheduled(self) -> int:
        """The epochs, from the first, whose rate is the schedule's: all, or those before SWA holds it or has its own.

        The first epoch of a held rate still stands where the schedule does.
        """
        swa = self.settings.techniques.swa
        return self.settings.train.epochs - (0 if swa is None else swa.last - (swa.lr is None))

    @property
    def rated(self) -> int:
        """As `settled`, but where the rate is the schedule's."""
        return max(min(self.settled, self.scheduled - 1), 0)

    @property
    def close_from(self) -> int:
        """The first epoch without mosaic."""
        train = self.settings.train
        return max(train.epochs - train.close_mosaic, 0)

    @property
    def accumulate(self) -> int:
        return accumulated_batches(self.settings.train.batch, self.settings.train.nbs)

    def batches_of(self, epoch: int) -> Window:
        """As many batches from this epoch on as make two optimizer steps, where the run has them."""
        return Window(epoch, batches=2 * self.accumulate)

    def rates(self, epoch: int) -> Window:
        """As many batches, but none beyond those whose rate is the schedule's."""
        window = self.batches_of(epoch)
        return replace(window, batches=min(window.batches, self.batches * max(self.scheduled - epoch, 1)))

    def steps(self, epoch: int | None = None, *, before: int | None = None) -> Window:
        """Two optimizer steps from an epoch on, or from an earlier one, where too few batches follow it for them.

        Args:
            epoch: `settled`, where nothing is said.
            before: the epoch that ends the part of the run that is looked at; the run's end, where nothing is said.
        """
        ends = self.settings.train.epochs if before is None else before
        latest = (ends * self.batches - 2 * self.accumulate) // self.batches
        window = self.batches_of(max(min(self.settled if epoch is None else epoch, latest), 0))
        return replace(window, batches=min(window.batches, self.batches * (ends - window.epoch)))

    def views(self, epoch: int | None = None) -> Window:
        """All images of an epoch, at most 256; by default one in which mosaic is not closed, where there is one."""
        open_epoch = max(min(self.settled, self.close_from - 1), 0)
        count = min(self.images_of(1), MOST_VIEWS)
        return Window(open_epoch if epoch is None else epoch, views=count)

    def chance_views(self, epoch: int, until: int, share: float, *, since: int = 0) -> tuple[Window, str | None]:
        """Views for what shows in a `share` of them only, and why it may not show in these all the same.

        So many that it is missed once in a thousand times, at most 1024, from `epoch` and the following ones before
        `until`, or from as many epochs earlier as it takes, down to `since`; `views` where those are enough.
        """
        needed = math.ceil(math.log(_MISSED) / math.log1p(-share)) if share < 1 else 1
        if needed <= self.views(epoch).views:
            return self.views(epoch), None
        epoch = max(min(epoch, until - -(-needed // self.images_of(1))), since)
        window, epochs = self.views(epoch), max(until - epoch, 1)
        count = min(needed, MOST_CHANCE_VIEWS, self.images_of(epochs))
        rare = None
        if count < needed:
            rare = f"it shows in one of {1 / share:.0f} images, and in none of the {count} that were looked at"
        return replace(window, views=count, epochs=epochs), rare

    def images_of(self, epochs: int) -> int:
        return epochs * (self.images or self.batches * self.settings.train.batch)

    def updates(self, epoch: int) -> int:
        """Optimizer steps made before an epoch."""
        train = self.settings.train
        return optimizer_steps(self.batches, train.epochs, train.batch, train.nbs, train.warmup_epochs, until=epoch)


Entry = Callable[[Course], Lever | None]
