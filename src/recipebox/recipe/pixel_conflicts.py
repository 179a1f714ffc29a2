"""What excludes each other, and what is idle, among the levers on pixels: sizes, late augmentations, borders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document

_SMALLEST_MIRRORED_ZOOM = 0.25
"""A view of an image zoomed out to a quarter shows 24 mirror images around it."""


def pixel_conflicts(settings: Settings, document: Document) -> Iterator[str]:
    """Why these sizes, augmentations and borders cannot be; one sentence each."""
    augment = settings.augment
    if augment.border == "reflect" and 1 - augment.scale < _SMALLEST_MIRRORED_ZOOM:
        yield (
            f"{document.origin(('augment', 'border'))}: `border: reflect` with `scale: {augment.scale:g}`: an image "
            f"zoomed out to {1 - augment.scale:.2g} of its size would have some hundred mirror images around it, each "
            f"with all its labels. Take a `scale` of {1 - _SMALLEST_MIRRORED_ZOOM:g} or less, or `border: random`."
        )
    yield from _sizes_without_epochs(settings, document)


def _sizes_without_epochs(settings: Settings, document: Document) -> Iterator[str]:
    progressive, train = settings.techniques.progressive, settings.train
    if progressive is None:
        return
    where = f"{document.origin(('techniques', 'progressive', 'stages'))}: "
    ends = [0, *(stage.until_epoch for stage in progressive.stages)]
    for before, end in pairwise(ends):
        if end <= before:
            yield (
                f"{where}a stage that ends with epoch {end} after one that ended with epoch {before} has no epochs. "
                "Let `until_epoch` grow from stage to stage."
            )
    if ends[-1] >= train.epochs:
        yield (
            f"{where}the stages last until epoch {ends[-1]} of {train.epochs}: no epoch is left at the deployed "
            f"{train.imgsz} px (`train.imgsz`), the size that is validated and shipped. End them at epoch "
            f"{train.epochs - 1} or before."
        )


def idle_pixels(settings: Settings) -> Iterator[str]:
    """Sizes and beginnings that are legal and do nothing, or not what they seem to; one sentence each."""
    yield from _idle_sizes(settings)
    augment = settings.augment
    moving = ("scale", "translate", "degrees", "shear", "perspective", "mosaic")
    if augment.border != "grey" and all(getattr(augment, name) == 0 for name in moving):
        yield (
            f"`augment.border: {augment.border}` acts on images that are not square only: nothing else shows a border "
            f"with {', '.join(moving)} at 0."
        )
    train, late = settings.train, settings.techniques.late
    if late is None:
        return
    if not late.begins():
        yield "`late` names no augmentation and does nothing."
    closed = train.epochs - train.close_mosaic
    for name, epoch in late.begins().items():
        if getattr(settings.augment, name) == 0:
            yield f"`late.{name}` does nothing, since `augment.{name}` is 0."
        elif epoch == 1:
            yield f"`late.{name}` does nothing: it begins with the first epoch, as without it."
        elif epoch > train.epochs:
            yield f"`late.{name}` begins with epoch {epoch} of {train.epochs}: `augment.{name}` is never applied."
        elif epoch > closed:
            yield (
                f"`late.{name}` begins with epoch {epoch}, and `close_mosaic: {train.close_mosaic}` ends mosaic, mixup "
                f"and cutmix after epoch {closed}: `augment.{name}` is never applied."
            )


def _idle_sizes(settings: Settings) -> Iterator[str]:
    progressive, deployed = settings.techniques.progressive, settings.train.imgsz
    if progressive is None:
        return
    scale = settings.augment.scale
    for stage in progressive.stages:
        ratio = stage.imgsz / deployed
        if ratio == 1:
            yield f"the stage until epoch {stage.until_epoch} does nothing: {deployed} px is the deployed size anyway."
        elif settings.techniques.distillation is not None and not 1 - scale <= ratio <= 1 + scale:
            yield (
                f"in the stage until epoch {stage.until_epoch} objects are {ratio:.2g} times as large as at the "
                f"deployed {deployed} px, beyond what `augment.scale: {scale:g}` shows a teacher trained likewise: its "
                "answers are guesses there."
            )


def sizes(settings: Settings) -> tuple[int, ...]:
    """Every side of training views in the run, pixels; the deployed one is last."""
    progressive = settings.techniques.progressive
    stages = () if progressive is None else progressive.stages
    return (*(stage.imgsz for stage in stages), settings.train.imgsz)
