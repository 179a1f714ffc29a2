"""Every lever of a recipe: what it is without, when it is active, and which way it should move things.

`LEVERS` has one entry for each section of `techniques` and each setting of `train` and `augment`; what is none is in
`NOT_LEVERS` with the reason. A test walks the schema and fails where a key is in neither.
"""

from __future__ import annotations

import json

from recipebox.experiment.head_levers import HEAD_LEVERS
from recipebox.experiment.image_levers import IMAGE_LEVERS
from recipebox.experiment.lever import Course, Entry, Lever
from recipebox.experiment.technique_levers import TECHNIQUE_LEVERS
from recipebox.experiment.training_levers import TRAINING_LEVERS
from recipebox.recipe.schema import Settings

LEVERS: dict[str, Entry] = {**HEAD_LEVERS, **TECHNIQUE_LEVERS, **TRAINING_LEVERS, **IMAGE_LEVERS}

NOT_LEVERS = {
    "train.epochs": "the budget; there is no value without it",
    "train.imgsz": "the size of the input; there is no value without it",
    "train.batch": "the size of a batch; there is no value without it",
    "train.patience": "when to stop, not how to train",
    "train.amp": "the number format; it acts on a GPU only",
    "train.seed": "which random numbers, not what they are for",
    "train.workers": "loader processes; no batch depends on them",
}
"""Settings of the walked sections that are no levers, with the reason."""


def levers(
    settings: Settings, batches: int, class_boxes: tuple[int, ...] = (), images: int | None = None
) -> list[Lever]:
    """The levers that these settings pull, in the order of the recipe's sections.

    Args:
        batches: of an epoch.
        class_boxes: training boxes of each class, from which class weights are made.
        images: of an epoch; as many as fill its batches where nothing is said.
    """
    course = Course(settings, batches, class_boxes, images)
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
