"""What the bench measured, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STEP_NAMES = {
    "preprocess": "pre-process",
    "copy_in": "copy in",
    "inference": "inference",
    "copy_out": "copy out",
    "postprocess": "post-process",
    "end_to_end": "end to end",
}
WAYS = {
    "one_by_one": "one image after the other",
    "overlapped": "steps of neighbouring images overlapping",
    "overlapped_with_decoding": "the same, reading and decoding the files too",
}
_POINTS = ("p50", "p95", "p99", "max", "jitter")


def bench_table(document: dict[str, Any]) -> str:
    """A document of bench.json: where it was measured, latencies, throughput, and the gate."""
    machine = document["machine"]
    decode = document["decode_ms"]
    lines = [
        f"{document['file']}  {document['precision']}, {document['imgsz']} px, SHA-256 {document['sha256'][:12]}",
        f"{document['backend']} on {place(document)}"
        + ("" if document["batch"] == 1 else f"; the file computes {document['batch']} images for each one timed"),
        f"others kept {machine.get('others_cores', '?')} cores busy meanwhile; "
        f"{document['runs']} runs over {document['images']} test images, {document['warmup_runs']} warm-ups"
        + ("" if document["warmup_stable"] else " that had NOT settled"),
        "",
        table(
            [
                ["ms an image", *_POINTS, "p50, 95 %"],
                *(
                    [name, *(_ms(document["latency_ms"][step].get(point)) for point in _POINTS),
                     _range(document["latency_ms"][step]["interval"].get("p50"))]
                    for step, name in STEP_NAMES.items()
                ),
            ]
        ),
        "",
        table(
            [
                ["images a second", "fps", "95 %"],
                *(
                    [name, f"{document['throughput'][way]['fps']:.1f}",
                     "{:.1f} to {:.1f}".format(*document["throughput"][way]["interval"])]
                    for way, name in WAYS.items()
                ),
            ]
        ),
        "",
        f"reading and decoding an image, not included in a latency: {_ms(decode['p50'])} ms at p50, "
        f"{_ms(decode['p95'])} at p95",
    ]  # fmt: skip
    if "min_fps" in document:
        verdict = "passed" if document["passed"] else "FAILED"
        lines.append(f"bench.min_fps {document['min_fps']:g}: {verdict} at {document['fps']:.1f}")
    return "\n".join(lines)


def comparison_table(document: dict[str, Any]) -> str:
    """A document of `recipebox bench compare`."""
    rows = [["ms an image", "A p50", "A p95", "B p50", "B p95", "A / B at p50", "95 %"]]
    for step, name in STEP_NAMES.items():
        sides = [_ms(document[side]["latency_ms"][step][point]) for side in "ab" for point in ("p50", "p95")]
        ratio = document["ratio"].get(step, {}).get("p50")
        ends = [f"{ratio['ratio']:.3f}", _range(ratio.get("interval"), 3)] if ratio else ["", ""]
        rows.append([name, *sides, *ends])
    heads = [
        f"{side.upper()}  {document[side]['file']}  {document[side]['backend']}, {document[side]['precision']}, "
        f"{document[side]['imgsz']} px, SHA-256 {document[side]['sha256'][:12]}"
        for side in "ab"
    ]
    where = f"{document['pairs']} images each, in turn, on {place(document | {'device': document['a']['device']})}"
    return "\n".join([*heads, where, "", table(rows), "", document["why"]])


def place(document: dict[str, Any]) -> str:
    """The processor that did it."""
    machine = document["machine"]
    if document["device"] != "cpu":
        return str(machine.get("gpu", {}).get("name", document["device"]))
    threads, cores = machine["threads"], machine["cores"]
    return f"{machine['cpu']}, {threads} thread{'' if threads == 1 else 's'} on {cores} cores"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _range(ends: Sequence[float] | None, digits: int | None = None) -> str:
    if ends is None:
        return "-"
    low, high = ends
    return f"{low:.{digits}f} to {high:.{digits}f}" if digits else f"{_ms(low)} to {_ms(high)}"
