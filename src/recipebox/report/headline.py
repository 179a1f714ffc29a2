"""The top of the report: what was run, and loudly what a reader must know before believing a number."""

from __future__ import annotations

from recipebox.report.compare import Peer, counted, difference_text, ticked
from recipebox.report.markdown import attention, bullets, escape
from recipebox.report.results import share_text
from recipebox.report.shipped import mismatches, timed_what_ships
from recipebox.report.source import STAGES, RunFacts, started_at


def warnings_to_heed(facts: RunFacts) -> list[str]:
    """What must stand in the loud box, as Markdown lines: fallbacks, failed gates, files that do not fit, a bad end."""
    lines = _fallbacks(facts)
    state, reason = facts.run.state()
    if state in {"failed", "stopped"}:
        lines.append(f"The run **{state}**: {escape(reason or 'no reason was recorded')}.")
    if facts.export.flag("passed") is False:
        reasons = facts.export.texts("reasons")
        why = f": {escape('; '.join(reasons), 600)}" if reasons else ""
        lines.append(f"The exported file **failed the accuracy gate**{why}. Do not ship it.")
    min_fps = facts.plan.settings.bench.min_fps if facts.plan is not None else None
    fps = facts.bench.number("fps")
    if min_fps is not None and fps is not None and fps < min_fps and timed_what_ships(facts):
        lines.append(f"The exported file is **too slow**: {fps:.1f} images a second, the recipe asks for {min_fps:g}.")
    return lines + [f"{found.message}." for found in mismatches(facts)]


def _fallbacks(facts: RunFacts) -> list[str]:
    if facts.plan is None:
        return []
    lines = [f"**Fallback taken:** {escape(text)}" for text in facts.plan.fallbacks]
    for teacher in facts.plan.forerunners():
        lines += [f"**Fallback taken by the teacher** ({escape(teacher.name)}): {escape(t)}" for t in teacher.fallbacks]
    return lines


def headline(facts: RunFacts, others: list[Peer]) -> str:
    """Title, the loud box where there is cause, and the run in a few lines."""
    lines = [f"# {escape(facts.recipe)}: {_verdict(facts)}", ""]
    heed = warnings_to_heed(facts)
    if heed:
        lines += [attention("read this before the numbers", heed), ""]
    lines.append(bullets(_facts(facts) + _in_short(facts, others)))
    return "\n".join(lines)


def _verdict(facts: RunFacts) -> str:
    value = facts.evaluate.number("test", "mAP50-95")
    dataset = facts.evaluate.text("dataset", "name")
    if value is None and facts.evaluate.number("test", "images"):
        empty = facts.evaluate.number("test", "instances") == 0
        why = "no mAP, its test split holds no defects" if empty else "no mAP was recorded"
        return why + (f" ({escape(dataset, 60)})" if dataset else "")
    if value is None:
        return "not evaluated yet"
    return f"mAP50-95 {value:.3f}" + (f" on {escape(dataset, 60)}" if dataset else "")


def _facts(facts: RunFacts) -> list[str]:
    plan = facts.plan
    began = started_at(facts.run)
    profile = escape(plan.profile or "none") if plan is not None else "not known (plan.yaml cannot be read)"
    wanted = plan.settings.data.dataset if plan is not None else None
    dataset = facts.evaluate.text("dataset", "name") or wanted or "not known"
    lines = [
        f"**Recipe** {escape(facts.recipe)}, **profile** {profile}, **data set** {escape(dataset)}",
        f"**Run** {escape(facts.run.id)}, started {began:%Y-%m-%d %H:%M} UTC, state: {_state(facts)}"
        if began is not None
        else f"**Run** {escape(facts.run.id)}, start not recorded, state: {_state(facts)}",
    ]
    weights = facts.train.text("initial_weights", "name")
    if plan is not None:
        train = plan.settings.train
        start = f"from {escape(weights)}" if weights else f"planned from {escape(plan.settings.model.weights)}"
        arch = f"{escape(plan.settings.model.arch)} " if plan.settings.model.arch else ""
        lines.append(
            f"**Trained** {arch}{start}, {train.epochs} epochs planned at {train.imgsz} px, batch {train.batch}, "
            f"seed {train.seed}, on {escape(facts.train.text('device') or plan.device)}"
        )
    return lines


def _state(facts: RunFacts) -> str:
    state, reason = facts.run.state()
    if state == "running":
        missing = [stage for stage in STAGES if stage in facts.absent]
        return (
            f"running, without {', '.join(missing)} so far" if missing else "all stages done, this report is the last"
        )
    return f"{state} ({escape(reason)})" if reason else state


def _in_short(facts: RunFacts, others: list[Peer]) -> list[str]:
    """The answer in at most three lines: accuracy beside the baseline, escapes, speed."""
    lines = []
    mine = facts.evaluate.number("test", "mAP50-95")
    for peer in others:
        if peer.role != "baseline" or peer.reason or peer.facts is None or mine is None:
            continue
        theirs = peer.facts.evaluate.number("test", "mAP50-95")
        if theirs is not None:
            lines.append(
                f"**Against {escape(peer.recipe)}**: mAP50-95 {mine:.3f} and {theirs:.3f}, a difference of "
                f"{difference_text(mine, theirs)} with one seed each"
            )
    sums = counted(facts.evaluate)
    if sums.escapes is not None and sums.instances:
        lines.append(
            f"**Escapes** at the threshold: {sums.escapes} of {sums.instances} defects, "
            f"{share_text(sums.escapes, sums.instances)}"
        )
    p50, fps = facts.bench.number("latency_ms", "end_to_end", "p50"), facts.bench.number("fps")
    if p50 is not None and fps is not None and timed_what_ships(facts):
        backend = escape(facts.bench.text("backend") or "the measured backend")
        lines.append(
            f"**Speed** of the exported file: {p50:.2f} ms at p50 end to end, {fps:.1f} images a second ({backend})"
        )
    failed = [ticked(facts.absent[stage]) for stage in STAGES if stage in facts.absent]
    return lines + [f"**Not measured**: {why}" for why in failed]
