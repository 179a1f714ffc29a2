"""When a head with anchors gets into the network, and what it tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recipebox.data.anchors import fit_anchors, judge
from recipebox.data.box_sizes import box_sizes
from recipebox.errors import DataError
from recipebox.progress import say
from recipebox.recipe.head_sections import AnchorHead
from recipebox.techniques.base import Technique, TrainingContext, innermost

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.techniques.base import Criterion

AnchorSizes = tuple[tuple[tuple[float, float], ...], ...]


def head_anchors(settings: AnchorHead, detection_set: DetectionSet, imgsz: int, levels: int, seed: int) -> AnchorSizes:
    """(width, height) in pixels of each level's anchors, fine to coarse: the recipe's, or fitted to the training boxes.

    Raises:
        DataError: `auto`, and the boxes have fewer sizes than there are anchors.
    """
    named = settings.sizes()
    if named is not None:
        return named
    try:
        fit = fit_anchors(
            box_sizes(detection_set, imgsz).pixels, settings.count * levels, seed=seed, threshold=settings.threshold
        )
    except DataError as error:
        raise DataError(f"`anchor_head: {{anchors: auto}}` on {detection_set.name}: {error}") from None
    return tuple(fit.levels(settings.count))


def loss_settings(settings: AnchorHead) -> dict[str, Any]:
    """What the criterion of the head is told, as `with_anchors` takes it."""
    return settings.model_dump(include={"box", "obj", "cls", "balance", "pos_weight", "threshold"})


class AnchorHeadTechnique(Technique):
    """Puts the head in, and records what its criterion matched.

    Args:
        settings: the recipe's section.
        imgsz: side of the deployed input, pixels.
        seed: of the search for anchors.
        levels: of the network.
    """

    name = "anchor_head"

    def __init__(self, settings: AnchorHead, imgsz: int, seed: int, levels: int = 3) -> None:
        self.settings, self.imgsz, self.seed, self.levels = settings, imgsz, seed, levels
        self._criterion: Any = None
        self._fit = (0.0, 0.0)

    def check(self, detection_set: DetectionSet) -> None:
        """Raises DataError as `head_anchors`."""
        head_anchors(self.settings, detection_set, self.imgsz, self.levels, self.seed)

    def on_network(self, model: Any, detection_set: DetectionSet) -> None:
        from recipebox.techniques.anchor_head.head import with_anchors

        settings = self.settings
        anchors = head_anchors(settings, detection_set, self.imgsz, len(model.model[-1].stride), self.seed)
        with_anchors(model, anchors, loss_settings(settings))
        every = [size for level in anchors for size in level]
        judged = judge(box_sizes(detection_set, self.imgsz).pixels, every, threshold=settings.threshold)
        self._fit = (judged.recall, judged.fitness)
        shown = "; ".join(", ".join(f"{w:g}x{h:g}" for w, h in level) for level in anchors)
        say(f"anchors by level: {shown} (recall {judged.recall:.4f}, fitness {judged.fitness:.4f})")

    def wrap_criterion(self, criterion: Criterion) -> Criterion:
        self._criterion = innermost(criterion)
        return criterion

    def on_step(self, context: TrainingContext) -> None:
        loss = self._criterion
        found, objects = float(loss.found[0]), loss.found[1]
        positives = float(loss.positives.sum())
        context.record("anchor_head/matched", found / objects if objects else 0.0)
        context.record("anchor_head/positives", positives / objects if objects else 0.0)
        context.record("anchor_head/overlap", float(loss.overlap))

    def on_epoch_end(self, context: TrainingContext) -> None:
        for key, value in zip(("recall", "fitness"), self._fit, strict=True):
            context.record(f"anchor_head/{key}", value)
