"""A sweep as a document, a table and a picture."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.experiment.paired import CONFIDENCE, Paired
from recipebox.experiment.sweep import METRICS, SCHEMA, Row, Sweep, spread
from recipebox.listing import fitted_table
from recipebox.run_dir import atomic_writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL = 44
"""Letters in a line of an arm's label in the picture."""


def sweep_document(sweep: Sweep) -> dict[str, Any]:
    """For --json and sweep.json. What was not measured, or cannot be said with so few seeds, is absent."""
    return {
        "schema": SCHEMA,
        "state": "failed" if sweep.failed else "finished",
        "recipe": sweep.recipe,
        "folder": str(sweep.folder),
        "over": {key: list(values) for key, values in sweep.over.items()},
        "seeds": list(sweep.seeds),
        "confidence": CONFIDENCE,
        "arms": [_arm_document(sweep, row) for row in sweep.rows],
    }


def _arm_document(sweep: Sweep, row: Row) -> dict[str, Any]:
    runs = []
    for place, (seed, run) in enumerate(zip(sweep.seeds, row.runs, strict=True)):
        if run is None:
            continue
        state, reason = run.state()
        shown = {"seed": seed, "run": str(run.root), "state": state, **({"reason": reason} if reason else {})}
        scores = {metric: row.scores[metric][place] for metric in METRICS}
        runs.append(shown | {metric: value for metric, value in scores.items() if value is not None})
    document: dict[str, Any] = {"values": dict(row.arm.values), "runs": runs}
    for metric in METRICS:
        mean, deviation = spread(row.scores[metric])
        found = {"mean": mean, "deviation": deviation}
        document[metric] = {key: value for key, value in found.items() if value is not None}
        if row.against_first is not None:
            document[metric]["difference"] = _difference(row.against_first[metric])
    return document


def _difference(found: Paired) -> dict[str, Any]:
    shown: dict[str, Any] = {"by_seed": list(found.differences)}
    if found.mean is not None:
        shown["mean"] = found.mean
    return shown | ({"interval": list(found.interval)} if found.interval is not None else {})


def sweep_text(sweep: Sweep) -> str:
    """For people: mean of each arm over its seeds, and its paired difference from the first in points."""
    head = ["arm", "seeds"]
    for metric in METRICS:
        head += [metric, "difference", f"{CONFIDENCE:.0%} interval"]
    lines = [fitted_table([head, *(_line(row) for row in sweep.rows)])]
    if len(sweep.rows) > 1:
        lines.append("Differences are from the first arm, seed by seed, in points (0.01 of mAP).")
    known = [score for row in sweep.rows for score in row.scores[METRICS[1]] if score is not None]
    if known and not any(known):
        lines.append("No run finds anything: where every score is 0, no arm can differ. Train longer before comparing.")
    if len(sweep.seeds) == 1:
        lines.append("One seed says nothing of chance: no interval. Give several, such as --seeds 1,2,3.")
    for run in sweep.failed:
        lines.append(f"not measured: {run.root}: {run.state()[1].partition(chr(10))[0]}")
    lines.append(f"{sweep.folder / 'sweep.json'}, {sweep.folder / 'sweep.png'}")
    return "\n".join(lines)


def _line(row: Row) -> list[str]:
    known = sum(value is not None for value in row.scores[METRICS[0]])
    cells = [row.arm.label, str(known)]
    for metric in METRICS:
        mean, _ = spread(row.scores[metric])
        found = row.against_first[metric] if row.against_first is not None else Paired((), None, None)
        interval = found.interval
        cells += [
            "-" if mean is None else f"{mean:.3f}",
            "-" if found.mean is None else f"{100 * found.mean:+.2f}",
            "-" if interval is None else f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}",
        ]
    return cells


def sweep_plot(sweep: Sweep, path: Path) -> None:
    """The arms from top to bottom; left a line for each seed, right the paired differences from the first."""
    from recipebox.report.markdown import one_line
    from recipebox.report.pictures import GREY, LINES, canvas, png

    metric, rows = METRICS[0], sweep.rows
    places = range(len(rows))
    # Whole labels: arms that are swept over sections often differ at the end of them only.
    labels = [textwrap.wrap(one_line(row.arm.label, 4 * _LABEL), _LABEL) for row in rows]
    with canvas(1.6 + (0.16 + 0.14 * max(map(len, labels))) * len(rows)) as figure:
        scores = figure.add_subplot(1, 2, 1)
        differences = figure.add_subplot(1, 2, 2, sharey=scores)
        for number, seed in enumerate(sweep.seeds):
            known = {place: row.scores[metric][number] for place, row in enumerate(rows)}
            drawn = {place: value for place, value in known.items() if value is not None}
            colour = LINES[number % len(LINES)]
            scores.plot(list(drawn.values()), list(drawn), "o-", color=colour, label=f"seed {seed}")
        differences.axvline(0, color=GREY, linewidth=1)
        for place, row in enumerate(rows):
            if row.against_first is not None:
                _draw_difference(differences, place, row.against_first[metric])
        scores.set_title(f"test {metric}")
        differences.set_title("difference, points")
        for axes in (scores, differences):
            axes.locator_params(axis="x", nbins=5)  # scores next to 0 have long numbers
            axes.xaxis.set_major_formatter("{x:g}")
        if len(sweep.seeds) > 1:
            differences.set_xlabel(f"line: {CONFIDENCE:.0%} interval")
        scores.set_yticks(list(places), ["\n".join(lines) for lines in labels])
        scores.set_ylim(len(rows) - 0.5, -0.5)
        differences.tick_params(labelleft=False)
        figure.legend(*scores.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(sweep.seeds), 6))
        with atomic_writer(path) as file:
            file.write(png(figure))


def _draw_difference(axes: Axes, place: int, found: Paired) -> None:
    """A dot for each seed, a diamond for the mean, a line for the interval."""
    from recipebox.report.pictures import BLACK, BLUE, GREY

    if found.mean is None:
        return
    points = [100 * value for value in found.differences]
    axes.plot(points, [place] * len(points), "o", color=GREY, markersize=3.5)
    if found.interval is not None:
        axes.hlines(place, *(100 * end for end in found.interval), color=BLACK, linewidth=1.4)
    axes.plot([100 * found.mean], [place], "D", color=BLUE)
