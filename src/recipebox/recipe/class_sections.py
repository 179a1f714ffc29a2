"""Sections of the levers on the class loss and on how often an image is drawn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recipebox.recipe.section import Fraction, Section


class LabelSmoothing(Section):
    """Softer class targets on foreground anchors."""

    epsilon: Fraction = Field(description="What is taken from a positive: 0.05 to 0.1; above 0.5 is refused.")
    per_class: dict[str, Fraction] = Field(default={}, description="Epsilon for some classes by name.")
    form: Literal["spread", "binary"] = Field(
        default="spread",
        description="spread: what is taken goes to all classes alike, the sum stays. binary: each class is smoothed "
        "towards half the anchor's score by itself; acts with one class too.",
    )
    schedule: Literal["constant", "linear"] = Field(default="constant", description="linear: down to 0 at its end.")
    off_last: Annotated[int, Field(ge=0)] = Field(default=0, description="Epochs without smoothing at the end.")
