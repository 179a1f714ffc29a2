"""A sweep as a document, a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipebox.experiment.paired import CONFIDENCE, Paired
from recipebox.experiment.sweep import METRICS, SCHEMA, Row, Sweep, spread
from recipebox.listing import plain_table
from recipebox.run_dir import atomic_writer


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
    table = plain_table([head, *(_line(row) for row in sweep.rows)])
    lines = [table]
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
    """Left the arms, a line for each seed; right the paired differences from the first with their intervals."""
    from recipebox.report.pictures import BLACK, BLUE, GREY, LINES, canvas, png

    metric, rows = METRICS[0], sweep.rows
    places = range(len(rows))
    labels = [row.arm.label.replace(", ", "\n") for row in rows]
    with canvas(3.6) as figure:
        scores, differences = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        for number, seed in enumerate(sweep.seeds):
            known = {place: row.scores[metric][number] for place, row in enumerate(rows)}
            drawn = {place: value for place, value in known.items() if value is not None}
            line, colour = list(drawn.values()), LINES[number % len(LINES)]
            scores.plot(list(drawn), line, "o-", color=colour, label=f"seed {seed}")
        scores.set_title(f"test {metric}, by seed")
        scores.legend()
        differences.axhline(0, color=GREY, linewidth=1)
        for place, row in enumerate(rows):
            found = row.against_first[metric] if row.against_first is not None else None
            if found is None or found.mean is None:
                continue
            points = [100 * value for value in found.differences]
            differences.plot([place] * len(points), points, "o", color=GREY, markersize=3.5)
            differences.plot([place], [100 * found.mean], "D", color=BLUE)
            if found.interval is not None:
                differences.vlines(place, *(100 * end for end in found.interval), color=BLACK, linewidth=1.4)
        differences.set_title(f"difference from the first, {CONFIDENCE:.0%}")
        differences.set_ylabel("points")
        for axes in (scores, differences):
            axes.set_xticks(list(places), labels)
            axes.set_xlim(-0.5, len(rows) - 0.5)
        with atomic_writer(path) as file:
            file.write(png(figure))
