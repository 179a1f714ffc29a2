"""The one look of all pictures (colours, sizes, fonts), and the curves of a training run.

Every picture is PNG bytes, `WIDTH` inches at `DPI` wide, so that they line up in the report. Matplotlib is imported
inside the functions, without pyplot: no window system, no global state.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recipebox.report.markdown import one_line
from recipebox.report.source import Document, RunFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0  # inches
DPI = 160
PANEL_HEIGHT = 2.7  # inches, of one row of curves

# Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart with every common colour vision; its yellow is left
# out because a yellow line on white paper is not seen by anyone.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#8C959F"
VIOLET = "#7B3294"  # dark enough to carry white letters, which the palette's purple is not
LINES = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)

_MOST_POINTS = 2000
_STYLE: dict[str, Any] = {
    "font.size": 11.0,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E7EB",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "text.parse_math": False,  # a class named "$x$" is a name, not a formula
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}
_LOSS_TITLES = {
    "box_loss": "box loss",
    "cls_loss": "class loss",
    "dfl_loss": "distribution loss (DFL)",
    "obj_loss": "objectness loss",
}
_DISTILLATION = {"kd_logits_loss": "class logits", "kd_box_loss": "boxes", "kd_features_loss": "neck maps"}


@contextmanager
def canvas(height: float) -> Iterator[Figure]:
    """An empty figure of the common width in the common style. `height` is in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


@contextmanager
def panels(count: int) -> Iterator[tuple[Figure, Callable[[], Axes]]]:
    """A figure for `count` panels of one size, and a function that adds the next one."""
    columns = 2 if count in (2, 4) else min(count, 3)
    rows = -(-count // columns)
    with canvas(PANEL_HEIGHT * rows + 0.1) as figure:
        places = iter(range(1, count + 1))
        yield figure, lambda: figure.add_subplot(rows, columns, next(places))


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without a time stamp: the same numbers give the same file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "recipebox"})
    return buffer.getvalue()


def losses(facts: RunFacts) -> bytes | None:
    """One panel a loss, per epoch: training as a line with dots, validation dashed; the distillation terms together.

    None where nothing was recorded.
    """
    keys = _loss_keys(facts.epochs)
    distilled = {name: _series(facts.epochs, "train", key) for key, name in _DISTILLATION.items()}
    distilled = {name: points for name, points in distilled.items() if points}
    count = len(keys) + bool(distilled)
    if not count:
        return None
    with panels(count) as (figure, add):
        for key in keys:
            axes = add()
            _curve(axes, _series(facts.epochs, "train", key), "training", BLUE, "o-")
            _curve(axes, _series(facts.epochs, "val", key), "validation", VERMILLION, "s--")
            _finish(axes, _LOSS_TITLES.get(key, one_line(key, 24)), "loss per image")
        if distilled:
            axes = add()
            for (name, points), colour, style in zip(
                distilled.items(), (GREEN, PURPLE, ORANGE), ("o-", "s--", "D:"), strict=False
            ):
                _curve(axes, points, name, colour, style)
            _finish(axes, "distillation losses", "weighted loss per image")
        return png(figure)


def validation(facts: RunFacts) -> bytes | None:
    """mAP on the validation split per epoch, the epoch of best.pt marked. None where nothing was recorded.

    Where the live weights were validated too, they are the dashed lines beside those of the average.
    """
    series = {key: _series(facts.epochs, "val", key) for key in ("mAP50", "mAP50-95")}
    if not any(series.values()):
        return None
    with canvas(3.4) as figure:
        axes = figure.add_subplot()
        for (key, points), colour, style in zip(series.items(), (BLUE, GREEN), ("o-", "s-"), strict=True):
            _curve(axes, points, key, colour, style)
        for key, colour in (("mAP50", SKY), ("mAP50-95", ORANGE)):
            _curve(axes, _series(facts.epochs, "val_live", key), f"{key}, live weights", colour, "--")
        best = facts.train.count("best_epoch")
        if best is not None:
            axes.axvline(best, color=GREY, linewidth=1.4, linestyle=":", label=f"best.pt (epoch {best})")
        _finish(axes, "Accuracy on the validation split", "mAP (0 to 1)", legend=False)
        axes.set_ylim(0, 1.0)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return png(figure)


def schedules(facts: RunFacts) -> bytes | None:
    """Learning rate, EMA decay and label smoothing in force, distillation weights. None where nothing was recorded."""
    records = facts.steps or facts.epochs
    epochs = _epoch_positions(facts)
    wanted: list[tuple[str, str, dict[str, tuple[str, ...]]]] = [
        ("learning rate", "learning rate", {"lr": ("lr",)}),
        ("EMA decay in force", "decay (0 to 1)", {"decay": ("techniques", "ema/decay")}),
        ("label smoothing", "epsilon", _smoothing(records)),
        (
            "distillation weights",
            "weight",
            {name: ("techniques", f"distillation/{name}_weight") for name in ("logits", "box", "features")},
        ),
    ]
    drawn = []
    for title, unit, paths in wanted:
        series = {name: _along(records, epochs, path) for name, path in paths.items()}
        kept = {name: points for name, points in series.items() if points}
        if kept:
            drawn.append((title, unit, kept))
    if not drawn:
        return None
    with panels(len(drawn)) as (figure, add):
        for title, unit, kept in drawn:
            axes = add()
            styles = ("-", "--", ":", "-.") * 2
            for (name, points), colour, style in zip(kept.items(), LINES, styles, strict=False):
                _curve(axes, points, name, colour, style if len(points) > 1 else "o")
            _finish(axes, title, unit)
        return png(figure)


def _smoothing(records: Sequence[Document]) -> dict[str, tuple[str, ...]]:
    """Where epsilon stands: the recipe's, unless it is 0 beside those of some classes, and at most six of theirs."""
    keys = [str(key) for key in records[0].part("techniques").content] if records else []
    classes = [key for key in keys if key.startswith(_EPSILON_OF)][: len(LINES) - 1]
    # A private label: matplotlib drops those that begin with an underscore.
    paths = {f"\u200b{one_line(key.removeprefix(_EPSILON_OF), 24)}": ("techniques", key) for key in classes}
    if classes and not records[0].number("techniques", "smoothing/epsilon"):
        return dict[str, tuple[str, ...]](paths)
    return {"epsilon": ("techniques", "smoothing/epsilon"), **paths}


_EPSILON_OF = "smoothing/epsilon_"


def _loss_keys(epochs: Sequence[Document]) -> list[str]:
    """The recorded losses except distillation's, Ultralytics' own first."""
    found = {key for row in epochs for key in row.part("train").content if row.number("train", key) is not None}
    others = sorted(found - set(_LOSS_TITLES) - set(_DISTILLATION) - {"kd_loss"})
    return [key for key in _LOSS_TITLES if key in found] + others[:6]


def _series(epochs: Sequence[Document], *path: str) -> list[tuple[float, float]]:
    """(epoch, value) of the epochs that recorded the value."""
    pairs = ((row.number("epoch"), row.number(*path)) for row in epochs)
    return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]


def _epoch_positions(facts: RunFacts) -> Callable[[Document], float | None]:
    """A function that places a record on the epoch axis; a step stands between the epochs it lies between."""
    last_step = max((row.number("step") or 0.0 for row in facts.steps), default=0.0)
    last_epoch = max((row.number("epoch") or 0.0 for row in facts.steps), default=0.0)

    def position(row: Document) -> float | None:
        step = row.number("step")
        if facts.steps and step is not None and last_step > 0:
            return step / last_step * last_epoch
        return row.number("epoch")

    return position


def _along(
    records: Sequence[Document], position: Callable[[Document], float | None], path: tuple[str, ...]
) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS` evenly chosen (epoch, value) pairs."""
    thinned = records[:: max(1, len(records) // _MOST_POINTS)]
    pairs = ((position(row), row.number(*path)) for row in thinned)
    return [(at, value) for at, value in pairs if at is not None and value is not None]


def _curve(axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: str, style: str) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], style, color=colour, label=label)


def _finish(axes: Axes, title: str, unit: str, *, legend: bool = True) -> None:
    """Title, labels, whole epochs on the x axis, zero on the y axis, and the legend between title and data."""
    from matplotlib.ticker import MaxNLocator

    rows = (len(axes.get_lines()) + 1) // 2 if legend else 0
    axes.set_title(title, pad=5 + 16 * max(rows, 1) if legend else 8)
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.dataLim.y0 < 0 else 0.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    if legend and len(axes.get_lines()) > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.03, 0.98), ncols=2, columnspacing=1.0, handlelength=1.8, borderpad=0.2
        )
