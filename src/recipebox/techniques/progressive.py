"""Training views that begin small and end at the deployed size. Card: docs/techniques/progressive.md.

Which size an epoch has is `Progressive.imgsz_of`; the views ask `data/stages.py` for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recipebox.recipe.pixel_sections import Progressive
from recipebox.techniques.base import Technique, TrainingContext

if TYPE_CHECKING:
    from recipebox.data.views import TrainingViews


class ProgressiveTechnique(Technique):
    """Gives the training views their sizes; validation keeps the deployed one."""

    name = "progressive"

    def __init__(self, settings: Progressive) -> None:
        self.settings = settings
        self._imgsz = 0

    def on_views(self, views: TrainingViews) -> None:
        views.stages = replace(views.stages, progressive=self.settings)

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        self._imgsz = int(batch["img"].shape[-1])

    def on_step(self, context: TrainingContext) -> None:
        """What the batch measured, not what was asked for."""
        context.record("progressive/imgsz", self._imgsz)
