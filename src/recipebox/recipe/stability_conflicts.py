"""Loss gains, accumulation and clipping that make no sense together, or do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.distillation_conflicts import dfl_free
from recipebox.recipe.estimate import Estimate, accumulated_batches
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import STOCK_MAX_NORM
from recipebox.recipe.yaml_nodes import Document

GAINS = {"box": "where boxes are", "cls": "which class is where", "dfl": "how sure each edge is"}


def stability_conflicts(settings: Settings, document: Document) -> Iterator[str]:
    """Why the step cannot be made as asked."""
    if all(getattr(settings.train, gain) == 0 for gain in GAINS):
        yield (
            f"{document.origin(('train', 'box'))}: `train.box`, `cls` and `dfl` are all 0: labels would teach nothing. "
            "Ultralytics' gains are 7.5, 0.5 and 1.5."
        )


def idle_stability(settings: Settings, estimate: Estimate) -> Iterator[str]:
    """What is legal here and does nothing, or not what it seems to."""
    train = settings.train
    for gain, what in GAINS.items():
        if getattr(train, gain) == 0 and gain == "dfl" and dfl_free(settings):
            yield "`train.dfl: 0` takes the L1 loss of the edges away: YOLO26 has no bins, boxes learn by CIoU alone."
        elif getattr(train, gain) == 0:
            yield f"`train.{gain}: 0` takes the {gain} loss away: the labels no longer teach {what}."
    yield from _accumulation(settings, estimate)
    clipping = settings.techniques.clipping
    if clipping is not None and clipping.max_norm == STOCK_MAX_NORM:
        yield f"`clipping.max_norm: {STOCK_MAX_NORM:g}` changes nothing: Ultralytics always clips there."


def _accumulation(settings: Settings, estimate: Estimate) -> Iterator[str]:
    train, batches = settings.train, estimate.steps_per_epoch
    if estimate.train_images is not None and estimate.train_images < train.batch:
        yield (
            f"`batch: {train.batch}`, and there are {estimate.train_images} training images: a batch is all of them, "
            "and everything counted in batches is of so many images."
        )
    count = accumulated_batches(train.batch, train.nbs)
    images = count * train.batch
    if images != train.nbs:
        made = "each batch makes a step" if count == 1 else f"{count} batches make a step"
        yield (
            f"`nbs: {train.nbs}` is no multiple of `batch: {train.batch}`: {made}, of {images} images, and weight "
            f"decay is multiplied by {images / train.nbs:.2g} (Ultralytics scales it by images over nbs). "
            f"`nbs: {images}` says the same without that."
        )
    if batches is not None and count > batches * train.epochs:
        yield (
            f"a step would take {count} batches (`nbs: {train.nbs}`) and the run has {batches * train.epochs}: "
            "once warmed up, Ultralytics waits for all of them. Take a smaller `train.nbs`."
        )
    elif batches is not None and count > batches:
        yield (
            f"a step takes {count} batches (`nbs: {train.nbs}`) and an epoch has {batches}: there are epochs without "
            "any step. Take a smaller `train.nbs`."
        )
