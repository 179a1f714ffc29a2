"""The section that a recipe asks for with `anchors: {analyse: true}`: sizes of boxes, strides, anchors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipebox.errors import DataError
from recipebox.report.markdown import bullets, code, escape, picture, table
from recipebox.report.source import RunFacts

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet

PICTURE = "anchors.png"
_COUNT = 3
"""Anchors a level that are fitted for a head that has none."""


def anchors_section(facts: RunFacts, detection_set: DetectionSet | None, pictures: dict[str, bytes]) -> str:
    """The section as Markdown, empty where the recipe does not ask for it; adds its picture to `pictures`."""
    if facts.plan is None or not facts.plan.settings.anchors.analyse:
        return ""
    title = "## Sizes of boxes, strides and anchors\n\n"
    if detection_set is None:
        return f"{title}Not looked at: this report was made without the data set at hand."
    try:
        return title + "\n\n".join(_looked_at(facts, detection_set, pictures))
    except DataError as error:
        return f"{title}Not looked at: {escape(error)}"


def _looked_at(facts: RunFacts, detection_set: DetectionSet, pictures: dict[str, bytes]) -> Iterator[str]:
    from recipebox.data.anchors import fit_anchors, judge
    from recipebox.data.box_sizes import box_sizes
    from recipebox.data.coverage import advice, coverage, coverage_lines, levels_of
    from recipebox.report.anchor_picture import anchor_picture

    assert facts.plan is not None
    settings = facts.plan.settings
    sizes = box_sizes(detection_set, settings.train.imgsz)
    found = coverage(sizes.pixels, levels_of(settings))
    yield (
        f"{len(sizes.pixels)} training boxes of {escape(detection_set.name)} at {sizes.imgsz} px. A level covers a box "
        "whose shorter side is at least two of its cells and whose longer side is within its reach (docs/anchors.md)."
    )
    rows = [[str(one.stride), f"{one.covers:.1%}", f"{one.coarsest:.1%}"] for one in found.levels]
    yield table(["stride", "covers", "and no coarser one does"], rows)
    yield bullets(coverage_lines(found))
    head = settings.techniques.anchor_head
    named = head.sizes() if head is not None else None
    if named is not None:
        levels = [list(level) for level in named]
        judged, whose = judge(sizes.pixels, [pair for level in named for pair in level]), "The recipe's anchors"
    else:
        count = head.count if head is not None else _COUNT
        threshold = head.threshold if head is not None else None
        chosen = {} if threshold is None else {"threshold": threshold}
        fit = fit_anchors(sizes.pixels, count * len(found.head.strides), seed=settings.train.seed, **chosen)
        levels, judged = [list(level) for level in fit.levels(count)], fit.judgement
        whose = "The head's anchors, fitted," if head is not None else "Anchors, fitted for a head that has some,"
    yield f"{whose} have recall {judged.recall:.4f} and fitness {judged.fitness:.4f}:"
    strides = found.head.strides
    yield table(
        ["stride", "anchors, px"],
        [[str(s), ", ".join(f"{w:g} x {h:g}" for w, h in level)] for s, level in zip(strides, levels, strict=True)],
    )
    pictures[PICTURE] = anchor_picture(sizes.pixels, found, levels, imgsz=sizes.imgsz)
    yield picture(PICTURE, "Boxes, anchors and stride coverage", "Training boxes as the network gets them.")
    spoken = advice(settings, sizes, found)
    if spoken:
        yield "These sizes speak for (arithmetic, not a measured gain; `recipebox sweep` measures):"
        yield bullets(f"{code(one.line)}: {escape(one.why)}" for one in spoken)
    else:
        yield "These sizes speak for no change."
