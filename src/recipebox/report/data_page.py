"""A checked data set as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from recipebox.data.findings.finding import RULES
from recipebox.report.html import page
from recipebox.report.markdown import attention, bullets, code, escape, picture, table

if TYPE_CHECKING:
    from recipebox.data.findings.check_set import SetReport
    from recipebox.data.findings.finding import Finding

MOST_ROWS = 40
"""Findings of one kind that the page lists; --json has all."""
MOST_DRAWN = 9
"""Findings of one kind that are drawn."""


def data_page(report: SetReport) -> str:
    """The HTML document: counts, plots, and each kind of finding with its images drawn."""
    from recipebox.report import data_pictures

    pictures = {"balance.png": data_pictures.balance(report), "spread.png": data_pictures.spread(report)}
    parts = [f"# Data check of {escape(report.name)}", *_head(report), "## Splits and classes", *_splits(report)]
    for rule, group in groupby(report.findings, key=lambda one: one.rule):
        findings = list(group)
        about = RULES[rule]
        parts += [f"## {about.severity.capitalize()}: {about.title} ({len(findings)})", f"Mend: {about.mend}."]
        drawn = data_pictures.sheet(report, findings[:MOST_DRAWN])
        if drawn is not None:
            pictures[f"{rule}.png"] = drawn
            first = f"the first {MOST_DRAWN} of them" if len(findings) > MOST_DRAWN else "the findings"
            caption = f"Numbers are those of the table. Of {first}, what is meant is red, other boxes are blue."
            parts.append(picture(f"{rule}.png", f"Images with {about.title}", caption))
        parts += _rows(report, findings)
    return page("\n\n".join(parts), title=f"Data check of {report.name}", pictures=pictures)


def _head(report: SetReport) -> Iterator[str]:
    counts = report.counts()
    told = ", ".join(f"{number} {level}{'s' if number != 1 else ''}" for level, number in counts.items())
    scope = "labels only, no image was opened" if report.labels_only else "every image and label was read"
    yield f"{code(report.root)}: {told if report.findings else 'nothing found'}; {scope}, imgsz {report.imgsz}."
    if report.exit_code:
        kinds = Counter(one.rule for one in report.findings if one.severity == "error")
        refused = [f"{number} {escape(RULES[kind].title)}" for kind, number in kinds.items()]
        yield attention("training refuses this set", refused)
    if report.notes:
        yield bullets(escape(note) for note in report.notes)


def _splits(report: SetReport) -> Iterator[str]:
    rows = []
    for split, one in report.statistics.items():
        boxes = int(one.boxes.sum())
        rows.append([split, str(one.images), str(boxes), str(int(one.objects[0])), f"{boxes / max(1, one.images):.1f}"])
    yield table(["split", "images", "boxes", "images without boxes", "boxes an image"], rows)
    yield picture("balance.png", "Bars of boxes of each class", "Boxes of each class, by split.")
    caption = "Left of the dotted line, boxes lie within one cell of the network's finest grid (8 px)."
    yield picture("spread.png", "Curves of box sizes and of objects in an image", caption)


def _rows(report: SetReport, findings: list[Finding]) -> Iterator[str]:
    near = f"{report.root}/"
    rows = [
        [
            f"{number} {code(one.place.replace(near, ''))}",
            escape(one.split or ""),
            escape(one.message.replace(near, "")),
        ]
        for number, one in enumerate(findings[:MOST_ROWS], start=1)
    ]
    yield table(["where", "split", "what"], rows, left=3)
    if len(findings) > MOST_ROWS:
        yield f"… and {len(findings) - MOST_ROWS} more; `recipebox check-data --json` lists all."
