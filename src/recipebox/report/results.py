"""The sections that say what the trained detector does: side by side, and on the line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recipebox.report.compare import (
    NOT_MEASURED,
    Peer,
    count_text,
    counted,
    map_text,
    result_table,
    ticked,
)
from recipebox.report.markdown import code, escape, picture, table
from recipebox.report.source import Document, RunFacts


def wilson_interval(count: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1).

    Raises:
        ValueError: `of` is not positive, or `count` is not between 0 and `of`.
    """
    if of <= 0 or not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is not a share")
    share = count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_text(count: int | None, of: int | None) -> str:
    """A share in percent with its 95 % interval, or why there is none."""
    if count is None or of is None:
        return NOT_MEASURED
    if of <= 0 or not 0 <= count <= of:
        return "none to count" if of == 0 else "counts disagree"
    low, high = wilson_interval(count, of)
    return f"{100 * count / of:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def absent(facts: RunFacts, stage: str) -> str:
    """The line that stands where a stage's numbers would."""
    why = {str(key): value for key, value in facts.absent.items()}[stage]
    return f"**Not measured:** {ticked(why)}."


def again(facts: RunFacts, stage: str) -> str:
    """The command that writes a stage's result again, in a sentence."""
    return f"{code(f'recipebox {stage} {facts.folder}')} measures it anew"


def result_section(facts: RunFacts, others: Sequence[Peer]) -> str:
    """Teacher, baseline and this run on the test split."""
    lines = ["## Result on the test split", ""]
    if "evaluate" in facts.absent:
        return "\n".join([*lines, absent(facts, "evaluate")])
    evaluate = facts.evaluate
    sha = evaluate.text("dataset", "sha256")
    images, instances = evaluate.count("test", "images"), evaluate.count("test", "instances")
    where = (
        f"{count_text(images)} test images with {count_text(instances)} true defects of "
        f"{escape(evaluate.text('dataset', 'name') or 'an unnamed data set')}"
    )
    if sha:
        where += f" (data {code(sha[:12])})"
    imgsz = evaluate.count("imgsz")
    where += f", {imgsz} px" if imgsz is not None else ""
    where += f", {escape(evaluate.text('precision') or 'precision not recorded')}, best.pt."
    iou = evaluate.number("iou")
    overlap = f"an overlap (IoU) of {iou:g}" if iou is not None else "the overlap in the recipe"
    explain = (
        "Images are prepared exactly as the shipped pipeline prepares them (square letterbox). mAP uses every score; "
        f"precision, recall, escapes and overkill are counted at {_threshold_text(evaluate)}. A defect is found by a "
        f"detection with {overlap}. An *escape* is a true defect that no detection of any class overlaps; *overkill* "
        "is a detection where no defect is."
    )
    return "\n".join([*lines, where, "", result_table(facts, others), "", explain])


def _threshold_text(evaluate: Document) -> str:
    if evaluate.text("threshold_from") == "default":
        return "a default score threshold, because the detector found nothing on the validation split to choose one by"
    return "the score threshold with the largest F1 on the validation split, so that the test split had no say in it"


def inspection_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """What an inspection line buys: per class and per board, at the threshold."""
    lines = ["## What an inspection line buys", ""]
    if "evaluate" in facts.absent:
        return "\n".join([*lines, absent(facts, "evaluate")])
    evaluate = facts.evaluate
    classes = evaluate.entries("per_class")
    if not classes:
        return "\n".join([*lines, f"**Not measured:** evaluate.json holds no classes; {again(facts, 'evaluate')}."])
    header = ["class", "defects", "escapes", "escape rate (95 %)", "confused", "overkill", "AP50", "AP50-95"]
    rows = [_class_row(entry) for entry in classes]
    sums = counted(evaluate)
    totals = [count_text(sums.instances), count_text(sums.escapes), share_text(sums.escapes, sums.instances)]
    totals += [count_text(sums.confused), count_text(sums.overkill)]
    totals += [map_text(evaluate.number("test", "mAP50")), map_text(evaluate.number("test", "mAP50-95"))]
    rows.append(["**all**", *(f"**{cell}**" for cell in totals)])
    lines += [table(header, rows), "", _boards_text(evaluate), ""]
    lines.append(
        "The interval is Wilson's; it covers the chance of these test boards only, taken as independent. Defects on "
        "neighbouring boards are not quite independent, so the true interval is somewhat wider. *Confused* defects "
        "were seen, under another class's name."
    )
    if "confusion.png" in pictures:
        lines += ["", picture("confusion.png", "Confusion matrix", _CONFUSION_CAPTION)]
    else:
        lines += ["", "No confusion matrix: evaluate.json holds none that can be drawn."]
    return "\n".join(lines)


_CONFUSION_CAPTION = (
    "Counts at the threshold; colours are shares of the true class. Here each detection is matched to one defect and "
    "each defect to one detection, so the bottom row and the right column may differ a little from the escapes and the "
    "overkill above, which ask only whether anything lies there."
)


def _class_row(entry: Document) -> list[str]:
    instances, escapes = entry.count("instances"), entry.count("escapes")
    no_ap = "no instances" if instances == 0 else NOT_MEASURED
    ap50, ap = entry.number("AP50"), entry.number("AP50-95")
    return [
        escape(entry.text("name") or "(no name)", 60),
        count_text(instances),
        count_text(escapes),
        share_text(escapes, instances),
        count_text(entry.count("confused")),
        count_text(entry.count("overkill")),
        no_ap if ap50 is None else map_text(ap50),
        no_ap if ap is None else map_text(ap),
    ]


def _boards_text(evaluate: Document) -> str:
    boards = evaluate.part("boards")
    defective, escaped = boards.count("defective"), boards.count("escaped")
    good, overkilled = boards.count("good"), boards.count("overkilled")
    if None in (defective, escaped, good, overkilled):
        return "**Whole boards:** not measured."
    text = (
        "**Whole boards**, where a board is rejected when anything is detected on it: "
        f"{escaped} of {defective} defective boards would pass"
    )
    text += f", {share_text(escaped, defective)}" if defective else ""
    if good:
        return f"{text}; {overkilled} of {good} good boards would be rejected, {share_text(overkilled, good)}."
    return f"{text}. The test split holds no good boards, so the share of good boards rejected cannot be told from it."
