"""The sections that say what the trained detector does: side by side, on the line, and as the file that ships."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipebox.report.accuracy_pictures import STAGE_NAMES
from recipebox.report.compare import NOT_MEASURED, Peer, count_text, counted, map_text, result_table, ticked
from recipebox.report.markdown import bullets, code, escape, picture, table
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
        "precision, recall, escapes and overkill are counted at the score threshold with the largest F1 on the "
        f"validation split, so the test split had no say in it. A defect is found by a detection with {overlap}. "
        "An *escape* is a true defect that no detection of any class overlaps; *overkill* is a detection where no "
        "defect is."
    )
    return "\n".join([*lines, where, "", result_table(facts, others), "", explain])


def inspection_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """What an inspection line buys: per class and per board, at the threshold."""
    lines = ["## What an inspection line buys", ""]
    if "evaluate" in facts.absent:
        return "\n".join([*lines, absent(facts, "evaluate")])
    evaluate = facts.evaluate
    classes = evaluate.entries("per_class")
    if not classes:
        return "\n".join([*lines, f"**Not measured:** evaluate.json holds no classes; {_again(facts, 'evaluate')}."])
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
    "Counts at the threshold. The bottom row holds the escapes, the right column the overkill; colours are shares of "
    "the true class."
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
    text = f"**Whole boards:** {escaped} of {defective} defective boards had at least one escape"
    text += f", {share_text(escaped, defective)}" if defective else ""
    if good:
        return f"{text}; {overkilled} of {good} good boards would be rejected, {share_text(overkilled, good)}."
    return f"{text}. The test split holds no good boards, so the share of good boards rejected cannot be told from it."


def shipped_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """Accuracy and latency of the exported file, tied together by its SHA-256."""
    lines = ["## The file that ships: accuracy and latency", ""]
    if "export" in facts.absent:
        lines.append(absent(facts, "export"))
    else:
        lines += [_export_text(facts), ""]
    if "bench" in facts.absent:
        return "\n".join([*lines, "", "Latency: " + absent(facts, "bench")])
    exported, timed = facts.export.text("sha256"), facts.bench.text("sha256")
    if exported is None or timed != exported:
        name = code(timed[:12]) if timed else "not recorded"
        lines += [f"The file timed below (SHA-256 {name}) **is not** the exported one; {_again(facts, 'bench')}.", ""]
    lines.append(_bench_text(facts))
    if "latency.png" in pictures:
        lines += ["", picture("latency.png", "Latency of each stage", "Median of each stage with its slow tail.")]
    return "\n".join(lines)


def _export_text(facts: RunFacts) -> str:
    export, evaluate = facts.export, facts.evaluate
    keys = ("mAP50", "mAP50-95", "precision", "recall")
    rows = [
        ["exported ONNX", *(map_text(export.number("test", key)) for key in keys)],
    ]
    same = export.text("weights_sha256") is not None and (
        export.text("weights_sha256") == evaluate.text("weights_sha256")
    )
    if same:
        rows.insert(0, ["best.pt", *(map_text(evaluate.number("test", key)) for key in keys)])
    size = export.count("bytes")
    items = [
        f"file {code(export.text('file') or 'not recorded')}, SHA-256 {code(export.text('sha256') or 'not recorded')}",
        f"{escape(export.text('format') or 'format not recorded')}, {escape(export.text('precision') or '?')}, "
        f"opset {count_text(export.count('opset'))}, {count_text(export.count('imgsz'))} px"
        + (f", {size / 2**20:.1f} MiB" if size is not None else ""),
        _parity_text(export.part("parity")),
        _gate_text(export),
    ]
    if not same:
        items.append("The export was made from other weights than those evaluated above, so they are not set beside it")
    return bullets(items) + "\n\n" + table(["file, test split", *keys], rows)


def _parity_text(parity: Document) -> str:
    box, score = parity.number("max_box_px"), parity.number("max_score")
    if box is None or score is None:
        return "parity with PyTorch: not measured"
    return (
        f"parity with PyTorch: boxes differ by at most {_small(box)} px, scores by at most {_small(score)} "
        f"({count_text(parity.count('detections_compared'))} detections on {count_text(parity.count('images'))} images)"
    )


def _small(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def _gate_text(export: Document) -> str:
    drop, limit, passed = export.number("map_drop"), export.number("max_map_drop"), export.flag("passed")
    if drop is None or limit is None or passed is None:
        return "accuracy gate: not measured"
    verdict = "passed" if passed else "**FAILED**"
    change = f"{'drops' if drop >= 0 else 'rises'} by {abs(drop):.4f}"
    return f"accuracy gate {verdict}: mAP50-95 {change} from best.pt, a drop of at most {limit:g} is let through"


def _bench_text(facts: RunFacts) -> str:
    bench = facts.bench
    rows = []
    for key, name in STAGE_NAMES.items():
        part = bench.part("latency_ms", key)
        rows.append(
            [
                f"**{name}**" if key == "end_to_end" else name,
                *(ms_text(part.number(point)) for point in ("p50", "p95", "p99", "max")),
            ]
        )
    machine = bench.part("machine")
    where = [
        escape(bench.text("backend") or "backend not recorded"),
        escape(machine.text("cpu") or "processor not recorded"),
        f"{count_text(machine.count('threads'))} threads on {count_text(machine.count('cores'))} cores",
    ]
    load = machine.number("load_before")
    where.append("load before not recorded" if load is None else f"load {load:.2f} before")
    where.append(
        f"{count_text(bench.count('images'))} real images after {count_text(bench.count('warmup_runs'))} warm-ups"
    )
    decode = bench.number("decode_ms", "p50")
    if decode is not None:
        where.append(f"reading and decoding an image (not included) takes {decode:.2f} ms at p50")
    return "\n".join(
        [
            _fps_text(facts),
            "",
            table(["ms an image", "p50", "p95", "p99", "max"], rows),
            "",
            "Measured on: " + ", ".join(where) + ". One image at a time; percentiles, not means.",
        ]
    )


def _fps_text(facts: RunFacts) -> str:
    fps, interval = facts.bench.number("fps"), facts.bench.numbers("fps_interval")
    if fps is None:
        return f"**Speed:** not measured; {_again(facts, 'bench')}."
    text = f"**Speed:** {fps:.1f} images a second end to end"
    if len(interval) == 2 and interval[0] is not None and interval[1] is not None:
        text += f" (95 % interval {interval[0]:.1f} to {interval[1]:.1f})"
    return text + f", on this machine, with the file {code((facts.bench.text('sha256') or 'not recorded')[:12])}."


def ms_text(value: float | None) -> str:
    """Milliseconds, two decimals."""
    return NOT_MEASURED if value is None else f"{value:.2f}"


def _again(facts: RunFacts, stage: str) -> str:
    return f"{code(f'recipebox {stage} {facts.folder}')} measures it anew"


@dataclass(frozen=True)
class Mismatch:
    """Two files of the run that do not belong together."""

    message: str


def mismatches(facts: RunFacts) -> list[Mismatch]:
    """Where the stages speak of different files, or the file on disk is no longer the one measured."""
    found: list[Mismatch] = []
    trained = facts.train.text("weights", "best", "sha256")
    for stage, sha in (
        ("evaluate", facts.evaluate.text("weights_sha256")),
        ("export", facts.export.text("weights_sha256")),
    ):
        if trained and sha and trained != sha:
            found.append(
                Mismatch(f"{stage}.json was made from other weights than training left; {_again(facts, stage)}")
            )
    exported, timed = facts.export.text("sha256"), facts.bench.text("sha256")
    if exported and timed and exported != timed:
        found.append(Mismatch(f"accuracy and latency are of two different files; {_again(facts, 'bench')}"))
    if exported and facts.run.onnx.is_file() and _sha256(facts.run.onnx) not in (exported, None):
        found.append(Mismatch(f"weights/best.onnx is not the file that was measured; {_again(facts, 'export')}"))
    return found


def _sha256(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
