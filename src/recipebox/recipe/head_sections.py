"""The levers on the head: how cells are chosen for an object, one level more, a head with anchors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from recipebox.recipe.section import NonNegative, Positive, Section


class Assigner(Section):
    """How Ultralytics' task-aligned assigner chooses cells for an object: the topk of score^alpha * IoU^beta."""

    topk: Annotated[int, Field(ge=1, le=100)] = Field(default=10, description="Cells chosen for an object at most.")
    alpha: Annotated[float, Field(ge=0.0, le=10.0)] = Field(default=0.5, description="Weight of the class score.")
    beta: Annotated[float, Field(ge=0.0, le=20.0)] = Field(default=6.0, description="Weight of the overlap.")


class PositiveWeights(Section):
    """Factors on the positive parts of two losses."""

    obj: Positive = Field(default=1.0, description="Of objectness: above 1 for more recall.")
    cls: Positive = Field(default=1.0, description="Of the class loss.")


def _auto_or_rows(value: Any) -> str:
    return "auto" if isinstance(value, str) else "rows"


AnchorRow = Annotated[tuple[Positive, ...], Field(min_length=2, max_length=24)]
AnchorRows = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[tuple[AnchorRow, ...], Field(min_length=1, max_length=8), Tag("rows")],
    Discriminator(_auto_or_rows),
]


class AnchorHead(Section):
    """A head with anchors and objectness, as YOLOv5 has it, in the place of the anchor-free one."""

    anchors: AnchorRows = Field(
        default="auto",
        description="`auto`: fitted to the training boxes. Or YOLOv5's form: a row of widths and heights a level, "
        "pixels of the input, fine to coarse.",
    )
    count: Annotated[int, Field(ge=1, le=12)] = Field(default=3, description="Anchors a level, for `auto`.")
    box: NonNegative = Field(default=0.05, description="Gain of the box loss (CIoU).")
    obj: NonNegative = Field(default=1.0, description="Gain of objectness, at 640 px.")
    cls: NonNegative = Field(default=0.5, description="Gain of the class loss, for 80 classes.")
    balance: tuple[NonNegative, ...] | None = Field(
        default=None, description="Factors of the levels' objectness, fine to coarse. Default: YOLOv5's."
    )
    pos_weight: PositiveWeights = PositiveWeights()
    threshold: Annotated[float, Field(gt=1.0, le=20.0)] = Field(
        default=4.0, description="An anchor and an object match when no side is so many times the other's."
    )

    @model_validator(mode="after")
    def _rows_are_pairs(self) -> Self:
        if self.anchors != "auto":
            lengths = {len(row) for row in self.anchors}
            if len(lengths) != 1 or lengths.pop() % 2:
                raise ValueError("every row of `anchors` holds as many pairs of width and height as the others")
        return self

    def sizes(self) -> tuple[tuple[tuple[float, float], ...], ...] | None:
        """(width, height) of the anchors of each level that the recipe names; None for `auto`."""
        if self.anchors == "auto":
            return None
        return tuple(tuple(zip(row[::2], row[1::2], strict=True)) for row in self.anchors)
