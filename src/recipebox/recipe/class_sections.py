"""Sections of the levers on the class loss and on how often an image is drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from recipebox.recipe.section import Fraction, Positive, Section


def _without_nulls(value: Any) -> Any:
    """A recipe that extends another takes a class away with `null`, or all of them, as it takes a technique away."""
    if value is None:
        return {}
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


class LabelSmoothing(Section):
    """Softer class targets on foreground anchors."""

    epsilon: Fraction = Field(description="What is taken from a positive: 0.05 to 0.1; above 0.5 is refused.")
    per_class: Annotated[dict[str, Fraction], BeforeValidator(_without_nulls)] = Field(
        default={}, description="Epsilon for some classes by name; `null` for one that an extended recipe names."
    )
    form: Literal["spread", "binary"] = Field(
        default="spread",
        description="spread: what is taken goes to all classes alike, the sum stays. binary: each class is smoothed "
        "towards half the anchor's score by itself; acts with one class too.",
    )
    schedule: Literal["constant", "linear"] = Field(default="constant", description="linear: down to 0 at its end.")
    off_last: Annotated[int, Field(ge=0)] = Field(default=0, description="Epochs without smoothing at the end.")

    def epsilon_of(self, name: str) -> float:
        """A class's own, or the recipe's."""
        return self.per_class.get(name, self.epsilon)


FREQUENCY_POWERS = {"inverse": 1.0, "inverse_sqrt": 0.5}
"""The power of 1/n that `by` stands for; the others have none."""


def _number_or_mapping(value: Any) -> str:
    return "mapping" if isinstance(value, dict) else "number"


PosWeight = Annotated[
    Annotated[Positive, Tag("number")]
    | Annotated[dict[str, Positive], BeforeValidator(_without_nulls), Tag("mapping")],
    Discriminator(_number_or_mapping),
]
"""One factor for all classes, or some classes by name; tagged, so that a mistake is told once."""

Beta = Annotated[float, Field(gt=0.0, lt=1.0)]


class ClassWeights(Section):
    """How much each class, and each positive, counts in the class loss."""

    by: Literal["inverse", "inverse_sqrt", "effective_number"] | None = Field(
        default=None, description="From the training boxes of each class: 1/n, 1/sqrt(n), (1 - beta)/(1 - beta^n)."
    )
    beta: Beta | None = Field(default=None, description="For effective_number, e.g. 0.999.")
    power: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="For inverse: 1/n^power; 1 where nothing is said."
    )
    pos_weight: PosWeight | None = Field(
        default=None, description="Factor on the positive part of the loss, above 1 for more recall."
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.by is None and self.pos_weight is None:
            raise ValueError("give `by` (inverse, inverse_sqrt, effective_number), or `pos_weight`, or both")
        if self.power is not None and self.by != "inverse":
            raise ValueError("`power` belongs to `by: inverse`")
        _check_beta(self.by, self.beta)
        return self

    @property
    def frequency_power(self) -> float | None:
        """The power of the inverse frequency that classes are weighed by; None where it is no power of it."""
        return self.power or FREQUENCY_POWERS.get(self.by or "")


class Sampling(Section):
    """How often each training image is drawn in an epoch; an epoch is as long as without."""

    by: Literal["inverse", "inverse_sqrt", "effective_number", "repeat_factor"] = Field(
        description="As in class_weights, an image counting as the mean of its boxes; or LVIS's repeat factor."
    )
    beta: Beta | None = Field(default=None, description="For effective_number, e.g. 0.999.")
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="For repeat_factor: classes in a smaller share of the images are drawn more often."
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.by == "repeat_factor") != (self.threshold is not None):
            raise ValueError(
                "`by: repeat_factor` needs `threshold`, the share of images below which a class is rare (e.g. 0.1)"
                if self.threshold is None
                else "`threshold` belongs to `by: repeat_factor`"
            )
        _check_beta(self.by, self.beta)
        return self

    @property
    def frequency_power(self) -> float | None:
        """The power of the inverse frequency that images are drawn by; None where it is no power of it."""
        return FREQUENCY_POWERS.get(self.by)


def _check_beta(by: str | None, beta: float | None) -> None:
    if (by == "effective_number") != (beta is not None):
        raise ValueError(
            "`by: effective_number` needs `beta` (0.999: saturates at about 1000 boxes)"
            if beta is None
            else "`beta` belongs to `by: effective_number`"
        )
