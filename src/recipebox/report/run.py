"""The report stage: a run folder in, report.md, report.html and pictures/*.png out.

Numbers are measured or absent: what a stage did not produce is a line that names the command which does. Nothing
here needs torch; Matplotlib and OpenCV are loaded when the first picture is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipebox.errors import RecipeboxError, storage_errors
from recipebox.report.anchors import PICTURE as ANCHOR_PICTURE
from recipebox.report.anchors import anchors_section
from recipebox.report.compare import Peer, peers, teacher_peers
from recipebox.report.headline import headline, warnings_to_heed
from recipebox.report.html import page
from recipebox.report.markdown import escape, one_line, picture
from recipebox.report.provenance import (
    changes_section,
    curves_section,
    lock_section,
    proof_section,
    repeat_section,
    training_section,
    warnings_section,
)
from recipebox.report.results import inspection_section, result_section
from recipebox.report.shipped import shipped_section
from recipebox.report.source import RunFacts, read_run
from recipebox.run_dir import RunDir, atomic_writer, write_text

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.report.boards import Detect

PICTURES = (
    "losses.png",
    "validation.png",
    "schedules.png",
    "pr.png",
    "confusion.png",
    "latency.png",
    "boards.png",
)
ON_REQUEST = (ANCHOR_PICTURE,)
"""Pictures of sections that a recipe asks for."""


@dataclass(frozen=True)
class Report:
    """What was written. `attention` is what the loud box says, empty when there is none (Markdown lines)."""

    markdown: Path
    html: Path
    pictures: tuple[Path, ...]
    attention: tuple[str, ...]


def report(
    run: RunDir,
    *,
    detection_set: DetectionSet | None = None,
    detect: Detect | None = None,
    compare: Sequence[RunDir] = (),
    teachers: Sequence[RunDir] = (),
) -> Report:
    """Write the report of a run.

    Args:
        detection_set: the data the run was evaluated on; with `detect` it gives the picture of test boards.
        detect: uint8 BGR image (H, W, 3) -> (n, 6) x1, y1, x2, y2 in its pixels, score, class; low scores included.
        compare: runs to stand beside this one. `compare.matching_runs` finds those that the recipe names.
        teachers: their runs; default: those that train.json names, where their folders are still there.

    Raises:
        RunError: `run` is not a run folder.
        StorageError: the report cannot be written; an earlier one is then left as it was.
    """
    facts = read_run(run)
    others = teacher_peers(facts, teachers) + peers(facts, compare)
    pictures, problems = _draw(facts)
    boards, notes = _boards_section(facts, detection_set, detect, pictures)
    if detection_set is not None:
        notes = [*detection_set.notes, *notes]
    sizes = anchors_section(facts, detection_set, pictures)
    text = _text(facts, others, pictures, [boards, sizes], [*notes, *problems])
    title = one_line(f"{facts.recipe} {run.id}")
    return _write(run, text, page(text, title=title, pictures=pictures), pictures, tuple(warnings_to_heed(facts)))


def _draw(facts: RunFacts) -> tuple[dict[str, bytes], list[str]]:
    """All pictures that the result files give, and what could not be drawn."""
    from recipebox.report.accuracy_pictures import confusion_matrix, latency, pr_curves
    from recipebox.report.pictures import losses, schedules, validation

    drawers: dict[str, Callable[[], bytes | None]] = {
        "losses.png": lambda: losses(facts),
        "validation.png": lambda: validation(facts),
        "schedules.png": lambda: schedules(facts),
        "pr.png": lambda: pr_curves(facts.evaluate),
        "confusion.png": lambda: confusion_matrix(facts.evaluate),
        "latency.png": lambda: latency(facts.bench),
    }
    drawn: dict[str, bytes] = {}
    problems: list[str] = []
    for name, draw in drawers.items():
        try:
            content = draw()
        except ImportError as error:
            problems.append(f"no {name}: {error}. `pip install matplotlib` brings what is missing.")
            continue
        if content is not None:
            drawn[name] = content
    return drawn, problems


def _boards_section(
    facts: RunFacts, detection_set: DetectionSet | None, detect: Detect | None, pictures: dict[str, bytes]
) -> tuple[str, list[str]]:
    """The section with test boards, or why there is none; adds boards.png to `pictures`."""
    title = "## Detections on test boards\n\n"
    threshold, iou = facts.evaluate.number("threshold"), facts.evaluate.number("iou")
    if detection_set is None or detect is None:
        missing = "data set" if detection_set is None else "detector"
        return f"{title}No picture: this report was made without the {missing} at hand.", []
    if threshold is None or iou is None:
        why = f"no threshold is chosen yet; `recipebox evaluate {facts.folder}` chooses it"
        return f"{title}No picture: {why}.", []
    if facts.evaluate.text("dataset", "sha256") != detection_set.sha256:
        return f"{title}No picture: the data set at hand is not the one that was evaluated (its SHA-256 differs).", []
    from recipebox.report.boards import board_picture, look_at_boards

    try:
        boards, looked_at, problems = look_at_boards(detection_set, detect, threshold=threshold, iou=iou)
        if not boards:
            return f"{title}No picture: no test image could be read.", problems
        pictures["boards.png"] = board_picture(boards, detection_set.names)
    except RecipeboxError as error:
        return f"{title}No picture: {escape(error)}.", []
    hardest = sum(board.why == "hardest" for board in boards)
    caption = (
        f"At the threshold {threshold:.2f}, overlap {iou:g}. {looked_at} evenly spaced test boards were looked at; "
        f"shown are the {hardest} with the most escapes and overkill (hardest) and {len(boards) - hardest} taken at "
        "even distances from the rest (typical), so this page is harsher than the split."
    )
    return title + picture("boards.png", "Detections on test boards", caption), problems


def _text(
    facts: RunFacts, others: list[Peer], pictures: dict[str, bytes], seen: Sequence[str], notes: Sequence[str]
) -> str:
    sections = [
        headline(facts, others),
        result_section(facts, others),
        inspection_section(facts, pictures),
        shipped_section(facts, pictures),
        training_section(facts, pictures),
        curves_section(facts, pictures),
        *seen,
        changes_section(facts),
        warnings_section(facts, notes),
        lock_section(facts),
        repeat_section(facts, others),
        proof_section(facts, others),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _write(run: RunDir, text: str, html: str, pictures: dict[str, bytes], attention: tuple[str, ...]) -> Report:
    """Pictures first, then the pages that show them; pictures of an earlier report that are not drawn again go last."""
    folder = run.root / "pictures"
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
    for name, content in pictures.items():
        with atomic_writer(folder / name) as file:
            file.write(content)
    write_text(run.report_md, text)
    write_text(run.report_html, html)
    for name in {*PICTURES, *ON_REQUEST} - set(pictures):
        with storage_errors(folder / name):
            (folder / name).unlink(missing_ok=True)
    return Report(run.report_md, run.report_html, tuple(folder / name for name in pictures), attention)
