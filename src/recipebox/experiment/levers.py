"""Every lever of a recipe: what it is without, when it is active, and which way it should move things.

`LEVERS` has one entry for each section of `techniques`, each value in one, and each setting of `train` and `augment`;
what is none is in `NOT_LEVERS` with the reason. A test walks the schema and fails where a key is in neither.

A technique that acts may still not hear one of its values: a temperature that is lost on its way leaves a loss that is
there. So values are levers of their own, unless the sign of the technique works them out.
"""

from __future__ import annotations

import json

from recipebox.experiment.distillation_levers import DISTILLATION_LEVERS
from recipebox.experiment.head_levers import HEAD_LEVERS
from recipebox.experiment.image_levers import IMAGE_LEVERS
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.technique_levers import TECHNIQUE_LEVERS
from recipebox.experiment.training_levers import TRAINING_LEVERS
from recipebox.recipe.schema import Settings

LEVERS: dict[str, Entry] = {
    **HEAD_LEVERS,
    **TECHNIQUE_LEVERS,
    **DISTILLATION_LEVERS,
    **TRAINING_LEVERS,
    **IMAGE_LEVERS,
}

NOT_LEVERS = {
    "train.epochs": "the budget; there is no value without it",
    "train.imgsz": "the size of the input; there is no value without it",
    "train.batch": "the size of a batch; there is no value without it",
    "train.patience": "when to stop, not how to train",
    "train.amp": "the number format; it acts on a GPU only",
    "train.seed": "which random numbers, not what they are for",
    "train.workers": "loader processes; no batch depends on them",
    "techniques.class_weights": "it is made of `by` and `pos_weight`",
    "techniques.class_weights.beta": "the sign of `by` works the weights out from it",
    "techniques.class_weights.power": "the sign of `by` works the weights out from it",
    "techniques.sampling.by": "which images are drawn how often is chance; that they are drawn otherwise is looked at",
    "techniques.sampling.beta": "as `by`",
    "techniques.sampling.threshold": "as `by`",
    "techniques.ema.decay": "the sign of `ema` works the average out from it",
    "techniques.ema.tau": "the sign of `ema` works the average out from it",
    "techniques.ema.every": "the sign of `ema` works the average out from it",
    "techniques.ema.evaluate_both": "it measures and changes no weight",
    "techniques.swa.last": "the sign of `swa` works the average out from it",
    "techniques.swa.lr": "the sign of `swa` compares the rates with it",
    "techniques.clipping.max_norm": "the sign of `clipping` compares the norms with it",
    "techniques.progressive.stages": "the sign of `progressive` compares the sizes with them",
    "techniques.late": "it is made of the augmentations that begin late",
    "techniques.distillation": "it is made of its terms",
    "techniques.distillation.logits.loss": "there is one",
    "techniques.distillation.box.loss": "there is one",
    "techniques.distillation.teachers.recipe": "who teaches; without any there is no term",
    "techniques.distillation.teachers.run": "as `recipe`",
    "techniques.anchor_head.count": "the sign of `anchor_head` compares the outputs with it",
    "techniques.anchor_head.anchors": "the sign of `anchor_head` compares the head's with them",
    "techniques.anchor_head.pos_weight": "it is made of `obj` and `cls`",
}
"""Settings and values that are no levers of their own, with the reason."""


def levers(
    settings: Settings,
    batches: int,
    class_boxes: tuple[int, ...] = (),
    images: int | None = None,
    names: tuple[str, ...] = (),
) -> list[Lever]:
    """The levers that these settings pull, in the order of the recipe's sections.

    Args:
        batches: of an epoch.
        class_boxes: training boxes of each class, from which class weights are made.
        images: of an epoch; as many as fill its batches where nothing is said.
        names: of the classes.
    """
    course = Course(settings, batches, class_boxes, images, names)
    return [lever for entry in LEVERS.values() if (lever := entry(course)) is not None]


def without(settings: Settings, lever: Lever) -> Settings:
    """The settings with the lever at its zero value."""
    plain = settings.model_dump(mode="json")
    for path, value in lever.zero.items():
        *sections, key = path.split(".")
        node = plain
        for section in sections:
            node = node[section]
        node[key] = value
    return Settings.model_validate_json(json.dumps(plain), strict=True)
