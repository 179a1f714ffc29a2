"""The table of all files that were exported from a run: what each one weighs, finds, lost, and how long it takes."""

from __future__ import annotations

from pathlib import Path

from recipebox.report.compare import NOT_MEASURED, map_text
from recipebox.report.markdown import code, escape, table
from recipebox.report.source import Document, RunFacts, file_sha256

HEADER = ["file", "SHA-256", "MiB", "mAP50", "mAP50-95", "from best.pt", "gate", "p50 ms", "fps"]


def variants_section(facts: RunFacts) -> str:
    """best.pt and every file made from it, each with its own numbers; empty where there is only the one that ships."""
    if len(facts.exports) < 2 and not any(_other(facts, timed) for timed in facts.benches):
        return ""
    rows = [_weights_row(facts), *(_row(facts, export) for export in facts.exports)]
    timed = sorted({one.text("backend") or "a backend that was not recorded" for one in facts.benches})
    explain = (
        "One row, one file: its size, its accuracy on the test split, what its own gate says, and its speed end to end "
        "where that very file (by its SHA-256) was timed"
        + (f", with {escape(', '.join(timed))}" if timed else "")
        + f"; {code(f'recipebox bench {facts.folder} --precision int8')} times another one. Timings were not taken in "
        f"turn, so small differences between them mean nothing: {code('recipebox bench compare A B')} says which of "
        "two is faster."
    )
    return "\n".join(["### Every exported file", "", table(HEADER, rows), "", explain])


def _other(facts: RunFacts, timed: Document) -> bool:
    """Whether a timing is of another file than the one that ships."""
    return timed.text("sha256") != facts.export.text("sha256")


def _weights_row(facts: RunFacts) -> list[str]:
    sha256 = facts.evaluate.text("weights_sha256")
    test = facts.evaluate.part("test")
    scores = [map_text(test.number("mAP50")), map_text(test.number("mAP50-95")), "", ""]
    return ["best.pt", _short(sha256), _size(facts.run.best), *scores, *_speed(facts, sha256)]


def _row(facts: RunFacts, export: Document) -> list[str]:
    sha256 = export.text("sha256")
    name = Path(export.text("file") or "").name
    test, size = export.part("test"), export.count("bytes")
    # A file with NMS inside is compared with best.pt behind the same NMS, which has a mAP of its own.
    alike = export.number("reference", "mAP50-95")
    whole = facts.evaluate.number("test", "mAP50-95")
    before = (whole if alike is None else alike) if _same_weights(facts, export) else None
    after = test.number("mAP50-95")
    return [
        escape(name or "not recorded", 60) + _kept(export),
        _short(sha256),
        NOT_MEASURED if size is None else f"{size / 2**20:.1f}",
        map_text(test.number("mAP50")),
        map_text(after),
        "" if before is None or after is None else f"{round(after - before, 4) + 0.0:+.4f}",
        _gate(facts, export, name),
        *_speed(facts, sha256),
    ]


def _kept(export: Document) -> str:
    """What a file's name does not say: precision, batch and NMS stand in it."""
    kept = export.texts("keep")
    verified, of = (export.count("engine", "precision_read_back", key) for key in ("verified", "of"))
    said = [f"{len(kept)} kept in fp16"] if kept else []
    said += [f"precision read back for {verified} of {of} convolutions"] if verified is not None and of else []
    return f" ({'; '.join(said)})" if said else ""


def _gate(facts: RunFacts, export: Document, name: str) -> str:
    if not _same_weights(facts, export):
        return "made from other weights"
    passed = export.flag("passed")
    verdict = NOT_MEASURED if passed is None else "passed" if passed else "**FAILED**"
    found = file_sha256(facts.run.best.parent / name) if name else None
    if found is None:
        return f"{verdict}; the file is gone"
    return verdict if found == export.text("sha256") else f"{verdict}, but the file **was changed since**"


def _same_weights(facts: RunFacts, export: Document) -> bool:
    made_from = export.text("weights_sha256")
    return made_from is not None and made_from == facts.evaluate.text("weights_sha256")


def _speed(facts: RunFacts, sha256: str | None) -> list[str]:
    """p50 and fps of the timings that were taken with exactly this file; several backends may have run it."""
    timed = [one for one in facts.benches if sha256 is not None and one.text("sha256") == sha256]
    shown = [
        f"{p50:.2f}" + (f" ({escape(one.text('backend') or '?', 40)})" if len(timed) > 1 else "")
        for one in timed
        if (p50 := one.number("latency_ms", "end_to_end", "p50")) is not None
    ]
    rates = [f"{fps:.1f}" for fps in (one.number("fps") for one in timed) if fps is not None]
    return ["; ".join(shown) or NOT_MEASURED, "; ".join(rates) or NOT_MEASURED]


def _short(sha256: str | None) -> str:
    return code(sha256[:8]) if sha256 else "not recorded"


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size / 2**20:.1f}"
    except OSError:
        return "gone"
