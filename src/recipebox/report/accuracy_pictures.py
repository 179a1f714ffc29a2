"""PR curves, confusion matrix and latency, drawn from evaluate.json and bench.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipebox.report.markdown import one_line
from recipebox.report.pictures import BLACK, BLUE, GREEN, GREY, LINES, VERMILLION, canvas, png
from recipebox.report.source import Document

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_LENGTH = 22
_LEGEND_CLASSES = len(LINES)
_ANNOTATED_CLASSES = 15
STAGE_NAMES = {
    "preprocess": "pre-process",
    "copy_in": "copy in",
    "inference": "inference",
    "copy_out": "copy out",
    "postprocess": "post-process",
    "end_to_end": "end to end",
}


def pr_curves(evaluate: Document) -> bytes | None:
    """Precision over recall per class on the test split, with a dot where the chosen threshold works.

    More classes than there are colours: the weakest keep a colour, the others are thin grey lines.
    None where the curves are absent or spoiled.
    """
    recall = evaluate.numbers("pr_curves", "recall")
    measured = {entry.text("name"): entry for entry in evaluate.entries("per_class")}
    curves: list[tuple[str, list[float], float]] = []
    for name in evaluate.part("pr_curves", "precision").content:
        whole = [value for value in evaluate.numbers("pr_curves", "precision", name) if value is not None]
        if len(whole) == len(recall) and None not in recall and whole:
            ap = measured.get(name, Document()).number("AP50")
            curves.append((name, whole, ap if ap is not None else sum(whole) / len(whole)))
    if not curves:
        return None
    curves.sort(key=lambda curve: curve[2])
    at = [value for value in recall if value is not None]
    with canvas(4.3) as figure:
        axes = figure.add_subplot()
        styles = ("-", (0, (6, 1.5)), "-", (0, (3, 1.2)), "-", (0, (6, 1.5, 1, 1.5)), "-")
        for _, precision, _ in curves[_LEGEND_CLASSES:]:
            axes.plot(at, precision, color="#C9D1D9", linewidth=1.0)
        for (name, precision, ap), colour, style in zip(curves[:_LEGEND_CLASSES], LINES, styles, strict=False):
            entry = measured.get(name, Document())
            label = f"{one_line(name, _NAME_LENGTH)}  {ap:.3f}"
            # A private label first: matplotlib drops labels that begin with an underscore.
            axes.plot(at, precision, color=colour, linestyle=style, label="\u200b" + label)
            x, y = entry.number("recall"), entry.number("precision")
            if x is not None and y is not None:
                axes.plot([x], [y], "o", color=colour, markersize=8, markeredgecolor="white", zorder=5)
        _pr_legend(axes, len(curves))
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="recall (share of true defects found)")
        axes.set_ylabel("precision (share of detections that are right)")
        axes.set_title("Precision and recall per class, test split")
        return png(figure)


def _pr_legend(axes: Axes, classes: int) -> None:
    axes.plot([], [], "o", color=GREY, markersize=8, markeredgecolor="white", label="at the threshold")
    if classes > _LEGEND_CLASSES:
        axes.plot([], [], color="#C9D1D9", linewidth=1.5, label=f"{classes - _LEGEND_CLASSES} stronger classes")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="class, AP50 (weakest first)", alignment="left")


def confusion_matrix(evaluate: Document) -> bytes | None:
    """Counts, coloured by the share of the true class (column). None where the matrix is absent or spoiled."""
    labels = evaluate.texts("confusion", "labels")
    rows = evaluate.rows("confusion", "matrix")
    size = len(labels)
    if size < 2 or len(rows) != size or any(len(row) != size for row in rows):
        return None
    counts = [[value or 0.0 for value in row] for row in rows]
    if any(value is None or value < 0 for row in rows for value in row):
        return None
    totals = [sum(row[column] for row in counts) or 1.0 for column in range(size)]
    shares = [[100 * row[column] / totals[column] for column in range(size)] for row in counts]
    names = [one_line(label, _NAME_LENGTH) for label in labels]
    with canvas(6.4) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.grid(False)
        every = range(0, size, 1 + size // 40)
        small = 10.0 if size <= _ANNOTATED_CLASSES else 6.5
        axes.set_xticks(list(every), [names[i] for i in every], rotation=40, ha="right", fontsize=small)
        axes.set_yticks(list(every), [names[i] for i in every], fontsize=small)
        axes.set_xlabel('true class ("background": no defect there)')
        axes.set_ylabel('detected as ("background": not detected)')
        axes.set_title("Confusion at the threshold, test split: counts")
        if size <= _ANNOTATED_CLASSES:
            _write_counts(axes, counts, shares)
        figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
        return png(figure)


def _write_counts(axes: Axes, counts: list[list[float]], shares: list[list[float]]) -> None:
    size = len(counts)
    for row in range(size):
        for column in range(size):
            if row == column == size - 1:
                axes.text(column, row, "–", ha="center", va="center", color=GREY)
            elif counts[row][column]:
                ink = "white" if shares[row][column] > 55 else BLACK
                axes.text(column, row, f"{counts[row][column]:.0f}", ha="center", va="center", color=ink)


def latency(bench: Document) -> bytes | None:
    """Each stage as a bar up to its median, with p95 and p99 marked. None where no stage was measured."""
    parts = {name: bench.part("latency_ms", name) for name in STAGE_NAMES}
    drawn = [(name, part) for name, part in parts.items() if part.number("p50") is not None]
    if not drawn:
        return None
    with canvas(0.95 + 0.45 * len(drawn)) as figure:
        axes = figure.add_subplot()
        for row, (name, part) in enumerate(drawn):
            p50, p95, p99 = (part.number(key) for key in ("p50", "p95", "p99"))
            axes.barh(row, p50 or 0.0, height=0.55, color=BLUE if name == "end_to_end" else "#9CC9E3")
            for value, colour, mark in ((p95, VERMILLION, "D"), (p99, GREEN, "s")):
                if value is not None:
                    axes.plot([value], [row], mark, color=colour, markersize=7, markeredgecolor="white")
        axes.plot([], [], "D", color=VERMILLION, markersize=7, label="p95")
        axes.plot([], [], "s", color=GREEN, markersize=7, label="p99")
        axes.set_yticks(range(len(drawn)), [STAGE_NAMES[name] for name, _ in drawn])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("milliseconds an image (bar: p50)")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return png(figure)
