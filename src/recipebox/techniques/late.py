"""Augmentations that begin late. Card: docs/techniques/late.md. When an epoch has which is in `data/stages.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from recipebox.recipe.pixel_sections import Late
from recipebox.techniques.base import Technique, TrainingContext

if TYPE_CHECKING:
    from recipebox.data.views import TrainingViews


class LateTechnique(Technique):
    """Keeps the named augmentations at 0 until their epoch; from then on they have the recipe's gain."""

    name = "late"

    def __init__(self, settings: Late) -> None:
        self.settings = settings
        self._views: TrainingViews | None = None

    def on_views(self, views: TrainingViews) -> None:
        views.stages = replace(views.stages, late=self.settings)
        self._views = views

    def on_step(self, context: TrainingContext) -> None:
        assert self._views is not None
        gains = dict(self._views.stages.at(context.epoch).gains)
        for name in self.settings.begins():
            context.record(f"late/{name}", gains[name])
