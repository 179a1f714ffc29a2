"""Boxes by width and height, the anchors among them, and what each stride covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipebox.data.coverage import CELLS
from recipebox.report.pictures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, canvas, png

if TYPE_CHECKING:
    from recipebox.data.box_sizes import Array
    from recipebox.data.coverage import Coverage

_COLOURS = (VERMILLION, GREEN, PURPLE, ORANGE)
_MOST_DOTS = 20_000


def anchor_picture(
    pixels: Array, found: Coverage, anchors: Sequence[Sequence[tuple[float, float]]], *, imgsz: int
) -> bytes:
    """PNG bytes: boxes and anchors on logarithmic axes, and beside them the share of the boxes that each level covers.

    Args:
        pixels: (n, 2) widths and heights; of very many, an even choice is drawn.
        found: of these boxes.
        anchors: (w, h) by level, fine to coarse; empty where none were fitted.
        imgsz: side of the input, pixels.
    """
    with canvas(3.9) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _boxes(left, pixels, found, anchors, imgsz)
        _coverage(right, found)
        return png(figure)


def _boxes(
    axes: Any, pixels: Array, found: Coverage, anchors: Sequence[Sequence[tuple[float, float]]], imgsz: int
) -> None:
    shown = pixels[:: -(-len(pixels) // _MOST_DOTS)]
    axes.scatter(shown[:, 0], shown[:, 1], s=5, color=BLUE, alpha=0.18, linewidths=0, rasterized=True)
    for place, level in enumerate(anchors):
        widths, heights = zip(*level, strict=True)
        label = f"anchors {_level(found, place)}"
        colour = _COLOURS[place % len(_COLOURS)]
        axes.scatter(widths, heights, s=52, marker="X", color=colour, edgecolors="white", linewidths=0.8, label=label)
    low = max(1.0, float(np.concatenate([pixels.ravel(), *(np.ravel(level) for level in anchors)]).min()) / 1.5)
    for stride in found.head.strides:
        least = CELLS * stride
        if least > low:
            axes.plot([least, least, imgsz], [imgsz, least, least], color=GREY, linewidth=1.0, linestyle=":")
            axes.annotate(f"{CELLS} cells of {stride}", (imgsz, least), fontsize=8, color=GREY, ha="right", va="bottom")
    for limits, scale in ((axes.set_xlim, axes.set_xscale), (axes.set_ylim, axes.set_yscale)):
        scale("log", base=2)
        limits(low, imgsz * 1.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title("Boxes" + (" and anchors" if anchors else ""))
    axes.set_xlabel(f"width, px at imgsz {imgsz}")
    axes.set_ylabel("height, px")
    if anchors:
        axes.legend(loc="lower right", fontsize=8.5)


def _coverage(axes: Any, found: Coverage) -> None:
    names = [f"stride {level.stride}" for level in found.levels]
    at = np.arange(len(names))
    axes.barh(at - 0.19, [100 * level.covers for level in found.levels], 0.36, color=BLUE, label="covers")
    own = [100 * level.coarsest for level in found.levels]
    axes.barh(at + 0.19, own, 0.36, color=ORANGE, label="and no coarser one does")
    axes.set_yticks(at, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the boxes, %")
    axes.set_title("Stride coverage")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, fontsize=9)


def _level(found: Coverage, place: int) -> str:
    strides = found.head.strides
    return f"of stride {strides[place]}" if place < len(strides) else str(place + 1)
