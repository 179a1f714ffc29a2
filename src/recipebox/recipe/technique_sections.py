"""The `techniques` of a recipe: one section a lever. Cards: docs/techniques/."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing, Sampling
from recipebox.recipe.head_sections import AnchorHead, Assigner
from recipebox.recipe.pixel_sections import Late, Progressive
from recipebox.recipe.section import Count, NonNegative, Positive, Section


class Ema(Section):
    """Exponential moving average of the weights: decay(n) = decay * (1 - exp(-n / tau)) at its n-th update."""

    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9999
    tau: Positive = 2000.0
    every: Count = Field(default=1, description="Optimizer steps from one update of the average to the next.")
    evaluate_both: bool = Field(
        default=False, description="Validate the live weights too, every epoch. best.pt is chosen by the average."
    )


class Swa(Section):
    """Equal-weight mean of the weights at the ends of the last epochs, at a constant learning rate."""

    last: Count = Field(description="Epochs at the end of the run whose weights are averaged.")
    lr: Positive | None = Field(
        default=None, description="Learning rate in these epochs. Default: where the schedule stands when they begin."
    )
    bn_images: Count = Field(
        default=256, description="Training views an epoch that batch norm's statistics are estimated anew from."
    )


STOCK_MAX_NORM = 10.0
"""Ultralytics always clips the gradient to this norm."""


class Clipping(Section):
    """The gradient is scaled down to this norm where it is longer, before every optimizer step."""

    max_norm: Positive | Literal[False] = Field(description="Largest norm of the gradient, or `off`. Stock is 10.")

    @field_validator("max_norm", mode="before")
    @classmethod
    def _norm_or_off(cls, value: Any) -> Any:
        """`0` must not read as `off`, nor `on` as 1."""
        if value is False or (isinstance(value, int | float) and value is not True and 0 < value < math.inf):
            return value
        raise ValueError("must be a finite norm above 0, or `off`")


class DistillationTerm(Section):
    """What every term of distillation has. Weight and temperature run on a line from the first step to the last."""

    weight: NonNegative = 1.0
    weight_end: NonNegative | None = Field(default=None, description="Weight at the last step; linear in between.")


class LogitsDistillation(DistillationTerm):
    """Per-class binary cross entropy on the teacher's sigmoid, weighted by the disagreement."""

    loss: Literal["bce"] = "bce"
    temperature: Annotated[float, Field(ge=0.1, le=20.0)] = 1.0
    temperature_end: Annotated[float, Field(ge=0.1, le=20.0)] | None = None


class BoxDistillation(DistillationTerm):
    """Localisation distillation over the DFL bins."""

    loss: Literal["ld"] = "ld"
    weight: NonNegative = 0.5
    temperature: Annotated[float, Field(ge=0.1, le=50.0)] = 10.0
    temperature_end: Annotated[float, Field(ge=0.1, le=50.0)] | None = None


class FeatureDistillation(DistillationTerm):
    """The neck maps that the head reads, compared level by level."""

    loss: Literal["cwd", "pkd", "mse", "native"] = Field(
        default="cwd",
        description="Channel-wise distillation, Pearson correlation, mean squared difference, or Ultralytics' own.",
    )
    temperature: Annotated[float, Field(ge=0.1, le=20.0)] | None = Field(
        default=None, description="Of the softmax over an image's cells; `cwd` only, where it is 1 unless given."
    )
    temperature_end: Annotated[float, Field(ge=0.1, le=20.0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _softmax_has_a_temperature(cls, section: Any) -> Any:
        """1 where `cwd` is given none; the other losses keep None."""
        if isinstance(section, dict) and section.get("loss", "cwd") == "cwd" and section.get("temperature") is None:
            return {**section, "temperature": 1.0}
        return section


class Teacher(Section):
    """A finished run of another recipe, trained first where there is none with the same lock; or a run as it is."""

    recipe: str | None = Field(
        default=None, min_length=1, description="A recipe's name, or a path relative to this recipe."
    )
    run: str | None = Field(
        default=None,
        min_length=1,
        description="In place of `recipe`: the folder of a finished run, which teaches as it is and is never trained "
        "again, whatever has become of its data set.",
    )
    weight: Positive = Field(default=1.0, description="Its share of every mean over teachers, beside the others'.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.recipe is None) == (self.run is None):
            raise ValueError("a teacher is either a `recipe` or a `run`: give one of the two")
        return self


MOST_TEACHERS = 8


class Distillation(Section):
    """Learn from teachers that see the same augmented batch."""

    teachers: Annotated[tuple[Teacher, ...], Field(min_length=1, max_length=MOST_TEACHERS)]
    logits: LogitsDistillation | None = None
    box: BoxDistillation | None = None
    features: FeatureDistillation | None = None

    @property
    def terms(self) -> dict[str, LogitsDistillation | BoxDistillation | FeatureDistillation]:
        """Those that are there, by name."""
        found = {"logits": self.logits, "box": self.box, "features": self.features}
        return {name: term for name, term in found.items() if term is not None}


class Techniques(Section):
    """The levers. An absent technique is stock Ultralytics."""

    p2: bool = Field(default=False, description="One more level, of stride 4, for small objects; YOLOv8 only.")
    anchor_head: AnchorHead | None = None
    assigner: Assigner | None = None
    progressive: Progressive | None = None
    late: Late | None = None
    label_smoothing: LabelSmoothing | None = None
    class_weights: ClassWeights | None = None
    sampling: Sampling | None = None
    ema: Ema | Literal[False] | None = Field(default=None, description="`off` keeps the live weights; absent is stock.")
    distillation: Distillation | None = None
    clipping: Clipping | None = None
    swa: Swa | None = None
