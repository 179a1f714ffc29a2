"""Which stride of an anchor-free head covers which boxes, and what to change where none does. docs/anchors.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recipebox.data.box_sizes import Array, Sizes
from recipebox.recipe.distillation_conflicts import dfl_free
from recipebox.recipe.head_conflicts import strides, takes_p2
from recipebox.recipe.schema import Settings

CELLS = 2
"""A level covers a box whose shorter side is at least so many of its cells."""
SMALL_SHARE = 0.1
"""From this share of boxes under two cells on, a finer grid is suggested."""
LARGE_SHARE = 0.01
"""From this share of boxes beyond the reach of the coarsest level on, something is said of it."""
STOCK_TOPK = 10
_FEWEST_CHOSEN = 3
_LARGEST_IMGSZ = 1280


@dataclass(frozen=True)
class Levels:
    """The levels of a head: strides in pixels, fine to coarse, and the bins of a distance (1: none, any distance)."""

    strides: tuple[int, ...] = (8, 16, 32)
    reg_max: int = 16

    def reach(self, stride: int) -> float:
        """The longest side of a box that a cell in its middle can say, pixels."""
        return 2.0 * (self.reg_max - 1) * stride if self.reg_max > 1 else math.inf


def levels_of(settings: Settings) -> Levels:
    """The levels of the network that a recipe asks for."""
    without_bins = dfl_free(settings) or settings.techniques.anchor_head is not None
    return Levels(strides(settings), 1 if without_bins else Levels.reg_max)


@dataclass(frozen=True)
class LevelCoverage:
    """Of all boxes the shares that one level covers, and that it covers and no coarser one does."""

    stride: int
    covers: float
    coarsest: float


@dataclass(frozen=True)
class Coverage:
    """What a head's levels make of a set's boxes.

    Attributes:
        levels: fine to coarse.
        too_small: share of the boxes whose shorter side is under two cells of the finest level.
        too_small_at_4: the same of a level of stride 4.
        too_large: share of the boxes beyond the reach of the coarsest level.
        uncovered: share of the boxes that no level covers for either reason or both: long and thin ones too.
        shorter, longer: 10th, 50th and 90th percentile of the shorter and the longer side, pixels.
        few_cells: share of the boxes in which the assigner finds fewer cell centres, over all levels, than its stock
            setting chooses.
        median_cells: cell centres that it finds in the middle box.
        longest: 99th percentile of the longer side, pixels.
    """

    head: Levels
    levels: tuple[LevelCoverage, ...]
    too_small: float
    too_small_at_4: float
    too_large: float
    uncovered: float
    shorter: tuple[float, float, float]
    longer: tuple[float, float, float]
    few_cells: float
    median_cells: float
    longest: float


@dataclass(frozen=True)
class Suggestion:
    """A line for the recipe, and the arithmetic behind it."""

    line: str
    why: str


def coverage(pixels: Array, head: Levels) -> Coverage:
    """Judge boxes (n, 2), widths and heights in pixels, by the levels of a head."""
    shorter, longer = pixels.min(axis=1), pixels.max(axis=1)
    covered = np.stack([(shorter >= CELLS * s) & (longer <= head.reach(s)) for s in head.strides])
    coarser = np.zeros(len(pixels), bool)
    levels: list[LevelCoverage] = []
    for stride, here in reversed(list(zip(head.strides, covered, strict=True))):
        levels.insert(0, LevelCoverage(stride, float(here.mean()), float((here & ~coarser).mean())))
        coarser |= here
    # Ultralytics looks in a box at least as wide as a cell of the second level (TaskAlignedAssigner.stride_val).
    pool = np.maximum(pixels, head.strides[min(1, len(head.strides) - 1)])
    cells = sum((pool / stride).prod(axis=1) for stride in head.strides)
    tenths = [tuple(float(value) for value in np.percentile(side, (10, 50, 90))) for side in (shorter, longer)]
    return Coverage(
        head,
        tuple(levels),
        too_small=float((shorter < CELLS * head.strides[0]).mean()),
        too_small_at_4=float((shorter < CELLS * 4).mean()),
        too_large=float((longer > head.reach(head.strides[-1])).mean()),
        uncovered=float((~coarser).mean()),
        shorter=tenths[0],  # type: ignore[arg-type]
        longer=tenths[1],  # type: ignore[arg-type]
        few_cells=float((cells < STOCK_TOPK).mean()),
        median_cells=float(np.median(cells)),
        longest=float(np.percentile(longer, 99)),
    )


def suggestions(sizes: Sizes, found: Coverage, *, takes_p2: bool, topk: int = STOCK_TOPK) -> list[Suggestion]:
    """What these sizes speak for, as lines of a recipe. Arithmetic, not measured gains.

    Args:
        takes_p2: whether the network can have a level of stride 4, and has none.
        topk: what the recipe's assigner chooses for an object; 0 where it has none.
    """
    made: list[Suggestion] = []
    finest, coarsest = found.head.strides[0], found.head.strides[-1]
    if found.too_small > SMALL_SHARE:
        needed = _up(sizes.imgsz * CELLS * finest / max(found.shorter[0], 1e-6))
        most = min(_LARGEST_IMGSZ, _up(sizes.image_side))
        imgsz = min(needed, most)
        share = f"{found.too_small:.0%} of the boxes are under two cells of stride {finest}"
        if imgsz > sizes.imgsz:
            reaches = "nine in ten are above then" if needed <= most else f"as large as the images are ({most} px)"
            cost = (imgsz / sizes.imgsz) ** 2
            made.append(Suggestion(f"train: {{imgsz: {imgsz}}}", f"{share}; {reaches}, at {cost:.1f} times the cost"))
        if takes_p2:
            why = f"{share}; of stride 4, {found.too_small_at_4:.0%}"
            made.append(Suggestion("techniques: {p2: true}", why))
    if found.too_large > LARGE_SHARE:
        share = f"{found.too_large:.0%} of the boxes are longer than {found.head.reach(coarsest):.0f} px, beyond reach"
        smaller = max(32, int(sizes.imgsz * found.head.reach(coarsest) / found.longest) // 32 * 32)
        made.append(Suggestion(f"train: {{imgsz: {smaller}}}", f"{share} of stride {coarsest}; 99 % are within then"))
    if found.few_cells > 0.5 and topk >= found.median_cells:
        chosen = max(_FEWEST_CHOSEN, round(found.median_cells / 2))
        if chosen < topk:
            why = (
                f"{found.few_cells:.0%} of the boxes hold fewer cell centres than {STOCK_TOPK} (half hold at most "
                f"{found.median_cells:.0f}), so all of them become positives; fewer would be a choice again"
            )
            made.append(Suggestion(f"techniques: {{assigner: {{topk: {chosen}}}}}", why))
    return made


def _up(side: float) -> int:
    """The next multiple of 32."""
    return max(32, math.ceil(side / 32) * 32)


def advice(settings: Settings | None, sizes: Sizes, found: Coverage) -> list[Suggestion]:
    """`suggestions` for a recipe's settings, or for a data set alone."""
    if settings is None:
        return suggestions(sizes, found, takes_p2=True)
    techniques = settings.techniques
    has_anchors = techniques.anchor_head is not None
    topk = 0 if has_anchors else techniques.assigner.topk if techniques.assigner is not None else STOCK_TOPK
    return suggestions(sizes, found, takes_p2=takes_p2(settings) and not techniques.p2, topk=topk)


def coverage_lines(found: Coverage) -> list[str]:
    """In words: what is too small, what is too large, and how long the sides are."""
    finest, coarsest = found.head.strides[0], found.head.strides[-1]
    lines = [f"under two cells of stride {finest} ({CELLS * finest} px): {found.too_small:.1%}"]
    if found.head.reg_max > 1:
        reach = found.head.reach(coarsest)
        lines.append(
            f"beyond the reach of stride {coarsest} ({reach:.0f} px, {found.head.reg_max} bins): {found.too_large:.1%}"
        )
    lines.append(f"covered by no level: {found.uncovered:.1%}")
    for name, tenths in (("shorter", found.shorter), ("longer", found.longer)):
        low, middle, high = (f"{value:.0f}" for value in tenths)
        lines.append(f"{name} sides: {middle} px in the middle, eight in ten from {low} to {high}")
    return lines
