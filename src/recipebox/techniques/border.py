"""What training views show where there is no image. Card: docs/techniques/border.md. The pixels: `data/border.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipebox.techniques.base import Technique, TrainingContext

if TYPE_CHECKING:
    from recipebox.data.views import TrainingViews


class BorderTechnique(Technique):
    """Gives the training views a border of the given kind (`reflect` or `random`); grey needs no technique."""

    name = "border"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._share = 0.0

    def on_views(self, views: TrainingViews) -> None:
        from recipebox.data.border import BORDERS

        views.border = BORDERS[self.kind]()

    def on_batch(self, batch: Mapping[str, Any]) -> None:
        from recipebox.data.border_transforms import SHARE

        self._share = sum(batch[SHARE]) / len(batch[SHARE])

    def on_step(self, context: TrainingContext) -> None:
        context.record("border/share", self._share)
