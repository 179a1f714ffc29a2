"""Settings that exclude each other, and settings that are legal but do nothing. Each with its reason."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.estimate import Estimate
from recipebox.recipe.pixel_conflicts import sizes
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_conflicts import idle_techniques, technique_conflicts
from recipebox.recipe.yaml_nodes import Document


def conflicts(settings: Settings, document: Document, train_images: int | None) -> Iterator[str]:
    """Why these settings cannot be trained, one sentence each; teachers aside.

    Args:
        settings: everything applied.
        document: the same as plain values, for where they were written.
        train_images: images of an epoch, where known.
    """

    def at(*path: str) -> str:
        return f"{document.origin(path)}: "

    train = settings.train
    if train.optimizer == "auto":
        for key in ("lr0", "warmup_bias_lr"):
            if getattr(train, key) is not None:
                yield (
                    f"{at('train', key)}`train.{key}` with `optimizer: auto`: Ultralytics then chooses the rate itself "
                    f"and ignores this one. Name an optimizer (SGD, AdamW), or take `{key}` out (`{key}: null`)."
                )
    elif train.lr0 is None:
        yield (
            f"{at('train', 'optimizer')}`optimizer: {train.optimizer}` needs `train.lr0`: about 0.01 for SGD, 0.001 "
            "for AdamW; or `optimizer: auto`."
        )
    yield from technique_conflicts(settings, document, train_images)
    last = train_images % train.batch or train.batch if train_images else 0
    smallest = min(sizes(settings))
    if last == 1 and smallest < 64:
        side = "`train.imgsz`" if smallest == train.imgsz else "stages of `progressive`"
        yield (
            f"{at('train', 'batch')}the last batch of an epoch would hold one image of {smallest} px, one value a "
            f"channel: batch normalisation cannot do that. Change `train.batch`, or take {side} of 64 or more."
        )


def idle_settings(settings: Settings, document: Document, estimate: Estimate) -> Iterator[str]:
    """Settings that are legal and do nothing, or not what they seem to; one sentence each."""
    train, augment = settings.train, settings.augment
    written = set(document.origins)

    def is_written(*path: str) -> bool:
        return path in written

    closing = [name for name in ("mosaic", "mixup", "cutmix") if getattr(augment, name) > 0]
    if not closing and train.close_mosaic > 0 and is_written("train", "close_mosaic"):
        yield (
            f"`close_mosaic: {train.close_mosaic}` does nothing, since `augment.mosaic`, `mixup` and `cutmix` are 0."
        )
    elif closing and train.close_mosaic >= train.epochs:
        names = ", ".join(closing)
        yield (
            f"{names}: closed before it began, by `close_mosaic: {train.close_mosaic}` of {train.epochs} epochs. "
            f"Take less, or `augment: {{{': 0, '.join(closing)}: 0}}` if none is meant."
        )
    warm = min(train.warmup_epochs, max(train.epochs - 1, 0))
    if warm < train.warmup_epochs and is_written("train", "warmup_epochs"):
        yield f"`warmup_epochs: {train.warmup_epochs:g}` is cut to {warm:g} in a run of {train.epochs} epochs."
    if warm > train.epochs / 2:
        yield f"the warm-up takes {warm:g} of {train.epochs} epochs, more than half the run."
    if warm == 0:
        for key in ("warmup_bias_lr", "warmup_momentum"):
            if is_written("train", key) and getattr(train, key) is not None:
                yield f"`{key}` does nothing without a warm-up (`warmup_epochs` is 0, or there is one epoch)."
    elif train.optimizer in ("Adam", "AdamW", "NAdam", "RAdam") and is_written("train", "warmup_momentum"):
        yield (
            f"`warmup_momentum` does nothing with {train.optimizer}: Ultralytics warms up SGD's momentum, not Adam's "
            "betas (`momentum` is the first of them throughout)."
        )
    if train.optimizer == "auto" and is_written("train", "momentum"):
        yield "`momentum` does nothing with `optimizer: auto`, which chooses its own."
    if train.patience >= train.epochs:
        yield f"`patience: {train.patience}` does nothing in a run of {train.epochs} epochs."
    yield from idle_techniques(settings, document, estimate)
    if settings.data.images and estimate.train_images and estimate.train_images < settings.data.images:
        yield f"`data.images: {settings.data.images}`, but {settings.data.dataset} has {estimate.train_images}."
