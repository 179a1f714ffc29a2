"""The verb check-data: look at a data set, say what is wrong, and write what is asked for beside it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.errors import BadInput, DataError

if TYPE_CHECKING:
    from recipebox.data.findings.check_set import SetReport

_CHANGES_SHOWN = 40
_SHOWN = 8
"""Findings of one kind that the table lists."""


def check_data_job(
    dataset: str, *, imgsz: int, labels_only: bool, html: Path | None, fix: Path | None
) -> tuple[dict[str, Any], str, int]:
    """Check a set: (document, text, exit code 3 where training would refuse it; with `fix`, where it would the copy).

    Raises:
        DataError: there is nothing that could be checked.
        StorageError: the page or the copy cannot be written.
    """
    from recipebox.data.findings.check_set import check_set

    if imgsz < 32 or imgsz > 8192:
        raise BadInput(f"--imgsz {imgsz}: give the side of the network's input in pixels, 32 to 8192.")
    if html is not None and html.suffix not in {".html", ".htm"}:
        raise BadInput(f"--html {html}: give the page a name that ends in .html.")
    if fix is not None and labels_only:
        raise BadInput("--fix looks at the images, too: leave --labels-only out.")
    if fix is not None:
        _refuse_early(dataset, fix)
    if html is not None and html.is_dir():
        raise BadInput(f"--html {html}: is a folder. Name a file in it, such as {html / 'page.html'}.")
    report = check_set(dataset, imgsz=imgsz, labels_only=labels_only)
    document, told = report.document(), text(report)
    if html is not None:
        _write_page(report, html)
        document["html"] = str(html.absolute())
        told += f"\npage: {html}"
    if fix is None:
        return document, told, report.exit_code
    shown, words, code = _fixed(report, fix, imgsz)
    return document | {"fix": shown}, f"{told}\n\n{words}", code


def _refuse_early(dataset: str, fix: Path) -> None:
    """What needs no look at the set is said before it, which may take minutes."""
    from recipebox.data.findings.check_set import WITHOUT_FOLDER

    if dataset in WITHOUT_FOLDER:
        raise DataError(f"{dataset}: a published set is not corrected. --fix copies a folder in YOLO layout.")
    if os.path.lexists(fix):
        raise DataError(f"{fix}: is there already. Give --fix the name of a new folder.")


def _fixed(report: SetReport, target: Path, imgsz: int) -> tuple[dict[str, Any], str, int]:
    """Write the corrected copy and check it: (document, text, exit code)."""
    from recipebox.data.findings.check_set import check_set
    from recipebox.data.findings.fix import left, write_fixed

    target = target.absolute()
    changes = write_fixed(report, target)
    again = check_set(str(target), imgsz=imgsz)
    remaining = left(again.findings)
    lines = [f"corrected copy: {target} ({len(changes)} changes, all in {target / 'CHANGES.txt'})"]
    for one in changes[:_CHANGES_SHOWN]:
        place = one.file if one.line is None else f"{one.file}:{one.line}"
        lines.append(f"  {_near(place, report)}: {_near(one.change, report)}")
    if len(changes) > _CHANGES_SHOWN:
        lines.append(f"  … and {len(changes) - _CHANGES_SHOWN} more")
    kinds = ", ".join(f"{number} x {rule}" for rule, number in remaining.items())
    lines.append(f"the copy has {kinds} left for you to judge" if kinds else "the copy has no findings")
    document = {"folder": str(target), "changes": [one.document() for one in changes], "left": remaining}
    return document | {"passed": not again.exit_code}, "\n".join(lines), again.exit_code


def _write_page(report: SetReport, html: Path) -> None:
    from recipebox.data.places import make_folder
    from recipebox.report.data_page import data_page
    from recipebox.run_dir import write_text

    if report.root.resolve() in html.resolve().parents:
        raise BadInput(f"--html {html}: lies in the data set, which is not written into. Name another place.")
    content = data_page(report)
    make_folder(html.absolute().parent)
    write_text(html, content)


def text(report: SetReport) -> str:
    """The table for people."""
    from recipebox.data.findings.finding import RULES
    from recipebox.report.markdown import one_line

    lines = [f"{report.name}: {one_line(report.root)}", ""]
    head = ("", "images", "boxes", *(one_line(name, 20) for name in report.names[:8]))
    rows = [
        (split, str(one.images), str(int(one.boxes.sum())), *(str(int(n)) for n in one.boxes[:8]))
        for split, one in report.statistics.items()
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    if len(report.names) > 8:
        lines.append(f"({len(report.names)} classes; --json has all)")
    by_rule = Counter(finding.rule for finding in report.findings)
    for rule, number in by_rule.items():
        lines += ["", f"{RULES[rule].severity}: {number} x {RULES[rule].title} [{rule}]. {RULES[rule].mend}"]
        of_rule = [finding for finding in report.findings if finding.rule == rule]
        lines += [f"  {_near(one.place, report)}: {_near(one.message, report)}" for one in of_rule[:_SHOWN]]
        if number > _SHOWN:
            lines.append(f"  … and {number - _SHOWN} more")
    lines += ["", *report.notes]
    counts = report.counts()
    said = ", ".join(f"{number} {level}{'s' if number != 1 else ''}" for level, number in counts.items())
    lines.append(f"{said if report.findings else 'nothing found'} ({report.seconds:.1f} s, imgsz {report.imgsz})")
    if report.exit_code:
        lines.append("training refuses this set")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _near(words: str, report: SetReport) -> str:
    """Words with paths shown from the set's folder; a name may hold line ends and worse."""
    from recipebox.report.markdown import one_line

    return one_line(words.replace(f"{report.root}/", ""), 400)
