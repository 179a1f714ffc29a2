"""The section on the file that ships: its accuracy and its latency, tied together by its SHA-256."""

from __future__ import annotations

from dataclasses import dataclass

from recipebox.report.accuracy_pictures import STAGE_NAMES
from recipebox.report.compare import NOT_MEASURED, SCORES, count_text, score_cells
from recipebox.report.markdown import bullets, code, escape, picture, table
from recipebox.report.results import absent, again
from recipebox.report.source import Document, RunFacts, file_sha256
from recipebox.report.variants import variants_section

_SINCE_SCHEMA_2 = ("copy_in", "copy_out")
"""Stages that an older bench.json does not have."""


def shipped_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """Accuracy and latency of the exported file, tied together by its SHA-256."""
    lines = ["## The file that ships: accuracy and latency", ""]
    if "export" in facts.absent:
        lines.append(absent(facts, "export"))
    else:
        lines += [_export_text(facts), ""]
    lines += [_timing_text(facts, pictures), "", variants_section(facts)]
    return "\n".join(lines).rstrip()


def timed_what_ships(facts: RunFacts) -> bool:
    """Whether the timing is of the exported file; only then do accuracy and latency stand side by side."""
    exported = facts.export.text("sha256")
    return exported is not None and facts.bench.text("sha256") == exported


def _timing_text(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    if "bench" in facts.absent:
        return "Latency: " + absent(facts, "bench")
    if not timed_what_ships(facts):
        timed = facts.bench.text("sha256")
        name = code(timed[:12]) if timed else "not recorded"
        what = f"The file timed (SHA-256 {name}) **is not** the exported one"
        return f"Latency: not shown. {what}; {again(facts, 'bench')}."
    lines = [_bench_text(facts)]
    if "latency.png" in pictures:
        lines += ["", picture("latency.png", "Latency of each stage", "Median of each stage with its slow tail.")]
    return "\n".join(lines)


def _export_text(facts: RunFacts) -> str:
    export, evaluate = facts.export, facts.evaluate
    rows = [
        ["exported ONNX", *score_cells(export.part("test"))],
    ]
    same = export.text("weights_sha256") is not None and (
        export.text("weights_sha256") == evaluate.text("weights_sha256")
    )
    if same:
        rows.insert(0, ["best.pt", *score_cells(evaluate.part("test"))])
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
    return bullets(items) + "\n\n" + table(["file, test split", *SCORES], rows)


def _parity_text(parity: Document) -> str:
    box, score = parity.number("max_box_px"), parity.number("max_score")
    if score is None:
        return "parity with PyTorch: not measured"
    boxes = "no boxes to compare" if box is None else f"boxes differ by at most {_small(box)} px"
    return (
        f"parity with PyTorch: {boxes}, scores differ by at most {_small(score)} "
        f"({count_text(parity.count('detections_compared'))} detections on {count_text(parity.count('images'))} images)"
    )


def _small(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def _gate_text(export: Document) -> str:
    drop, limit, passed = export.number("map_drop"), export.number("max_map_drop"), export.flag("passed")
    if passed is None:
        return "accuracy gate: not measured"
    verdict = "passed" if passed else "**FAILED**"
    if drop is None or limit is None:
        return f"accuracy gate {verdict}: by parity alone, since there is no mAP50-95 to compare"
    change = f"{'drops' if drop >= 0 else 'rises'} by {abs(drop):.4f}"
    return f"accuracy gate {verdict}: mAP50-95 {change} from best.pt, a drop of at most {limit:g} is let through"


def _bench_text(facts: RunFacts) -> str:
    bench = facts.bench
    rows = []
    for key, name in STAGE_NAMES.items():
        part = bench.part("latency_ms", key)
        if key in _SINCE_SCHEMA_2 and not part:
            continue
        rows.append(
            [
                f"**{name}**" if key == "end_to_end" else name,
                *(ms_text(part.number(point)) for point in ("p50", "p95", "p99", "max", "jitter")),
            ]
        )
    machine = bench.part("machine")
    where = [
        escape(bench.text("backend") or "backend not recorded"),
        escape(machine.text("cpu") or "processor not recorded"),
        f"{count_text(machine.count('threads'))} threads on {count_text(machine.count('cores'))} cores",
    ]
    others = machine.number("others_cores")
    where.append(
        "what others did meanwhile not recorded" if others is None else f"others kept {others:.2f} cores busy meanwhile"
    )
    if machine.flag("disturbed"):
        where.append("**the machine was not idle, so these timings are on the slow side**")
    where.append(
        f"{count_text(bench.count('images'))} test images after {count_text(bench.count('warmup_runs'))} warm-ups"
    )
    if bench.flag("warmup_stable") is False:
        where.append("**timings had not settled when the measurement began**")
    decode = bench.number("decode_ms", "p50")
    if decode is not None:
        where.append(f"reading and decoding an image (not included) takes {decode:.2f} ms at p50")
    return "\n".join(
        [
            _fps_text(facts),
            "",
            table(["ms an image", "p50", "p95", "p99", "max", "jitter"], rows),
            "",
            "Measured on: "
            + ", ".join(where)
            + ". One image at a time; percentiles, not means; jitter: the mean difference from one image to the next.",
        ]
    )


def _fps_text(facts: RunFacts) -> str:
    fps, interval = facts.bench.number("fps"), facts.bench.numbers("fps_interval")
    if fps is None:
        return f"**Speed:** not measured; {again(facts, 'bench')}."
    overlapped = facts.bench.number("throughput", "overlapped", "fps") is not None
    text = f"**Speed:** {fps:.1f} images a second end to end" + (", by the clock on the wall" if overlapped else "")
    if len(interval) == 2 and interval[0] is not None and interval[1] is not None:
        text += f" (95 % interval {interval[0]:.1f} to {interval[1]:.1f})"
    text += f", on this machine, with the file {code((facts.bench.text('sha256') or 'not recorded')[:12])}."
    with_files = facts.bench.number("throughput", "overlapped_with_decoding", "fps")
    return text if with_files is None else f"{text} {with_files:.1f} where the images are read and decoded as well."


def ms_text(value: float | None) -> str:
    """Milliseconds, two decimals; three where two would read as nothing."""
    return NOT_MEASURED if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


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
                Mismatch(f"{stage}.json was made from other weights than training left; {again(facts, stage)}")
            )
    exported, timed = facts.export.text("sha256"), facts.bench.text("sha256")
    if exported and timed and exported != timed:
        found.append(Mismatch(f"accuracy and latency are of two different files; {again(facts, 'bench')}"))
    if exported and facts.run.onnx.is_file() and file_sha256(facts.run.onnx) not in (exported, None):
        found.append(Mismatch(f"weights/best.onnx is not the file that was measured; {again(facts, 'export')}"))
    return found
