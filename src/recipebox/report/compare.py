"""Which other runs may stand beside this one, and the table they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipebox.errors import RunError
from recipebox.report.markdown import bullets, code, escape, table
from recipebox.report.source import Document, RunFacts, read_run
from recipebox.run_dir import RunDir, finished_runs

NOT_MEASURED = "not measured"
SCORES = ("mAP50", "mAP50-95", "precision", "recall")


@dataclass(frozen=True)
class Peer:
    """A run beside this one. `reason` says why its numbers do not count; empty: they do.

    `notes` are differences that make the comparison weaker, not invalid.
    """

    role: str
    recipe: str
    facts: RunFacts | None
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counted:
    """Escapes, confused and overkill of all classes together; None where a class has no count."""

    instances: int | None
    escapes: int | None
    confused: int | None
    overkill: int | None


def counted(evaluate: Document) -> Counted:
    """Sum the counts over the classes."""
    classes = evaluate.entries("per_class")

    def total(key: str) -> int | None:
        values = [entry.count(key) for entry in classes]
        return sum(v for v in values if v is not None) if values and None not in values else None

    return Counted(total("instances"), total("escapes"), total("confused"), total("overkill"))


def map_text(value: float | None) -> str:
    """A score between 0 and 1, three decimals."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def score_cells(test: Document) -> list[str]:
    """The cells under `SCORES`. A detector that found nothing was measured, and has no precision."""
    cells = [map_text(test.number(key)) for key in SCORES]
    if test.number("recall") == 0 and test.number("precision") is None:
        cells[SCORES.index("precision")] = "no detections"
    return cells


def difference_text(mine: float, theirs: float) -> str:
    """The difference of two scores as they are printed, so that the page adds up."""
    return f"{round(mine, 3) - round(theirs, 3):+.3f}"


def count_text(value: int | None) -> str:
    return NOT_MEASURED if value is None else str(value)


def train_command(recipe: str, profile: str | None) -> str:
    return f"recipebox train {recipe}" + (f" --profile {profile}" if profile else "")


def differences(this: RunFacts, other: RunFacts) -> list[str]:
    """Why the test numbers of two runs must not be put side by side; empty when they may."""
    if "evaluate" in other.absent:
        return [other.absent["evaluate"]]
    ours, theirs = this.evaluate, other.evaluate
    found = []
    ours_sha, theirs_sha = ours.text("dataset", "sha256"), theirs.text("dataset", "sha256")
    if ours_sha is None or theirs_sha is None:
        found.append("the data set's SHA-256 is not recorded, so it cannot be known to be the same")
    elif ours_sha != theirs_sha:
        found.append(f"other data ({_dataset(theirs)}, this run {_dataset(ours)})")
    for words, path in (
        ("imgsz", ("imgsz",)),
        ("IoU", ("iou",)),
        ("test images", ("test", "images")),
        ("test instances", ("test", "instances")),
    ):
        mine, other_value = ours.number(*path), theirs.number(*path)
        if mine is None or other_value is None:
            found.append(f"{words} not recorded")
        elif mine != other_value:
            found.append(f"{words} {other_value:g}, this run {mine:g}")
    if ours.texts("names") != theirs.texts("names"):
        found.append("other class names")
    return found


def _dataset(evaluate: Document) -> str:
    return f"{evaluate.text('dataset', 'name') or 'unnamed'} {(evaluate.text('dataset', 'sha256') or '')[:12]}"


def weaker(this: RunFacts, other: RunFacts) -> list[str]:
    """What else than the techniques differs between two comparable runs: training budget, seed, augmentation."""
    if this.plan is None or other.plan is None:
        return ["the plan of one of the two cannot be read: the training budget is not compared"]
    mine, theirs = this.plan.settings.model_dump(), other.plan.settings.model_dump()
    found = [
        f"{section}.{key} {theirs[section][key]}, this run {mine[section][key]}"
        for section in ("data", "model", "train", "augment")
        for key in mine[section]
        if mine[section][key] != theirs[section][key]
    ]
    return found if len(found) <= 8 else [*found[:8], f"and {len(found) - 8} more settings"]


def teacher_peers(this: RunFacts, teachers: Sequence[RunDir]) -> list[Peer]:
    """The teachers' rows in the recipe's order; none when this run has no teacher.

    Args:
        teachers: their runs; where there are none, those that train.json names are looked for.
    """
    recorded = this.train.entries("teachers")
    if teachers:
        return [_teacher_peer(this, run, recorded) for run in teachers]
    if recorded:
        return [_recorded_teacher(this, teacher) for teacher in recorded]
    planned = this.plan.teachers if this.plan is not None else ()
    return [Peer("teacher", teacher.name, None, _make_one(this, teacher.name)) for teacher in planned]


def _recorded_teacher(this: RunFacts, recorded: Document) -> Peer:
    named, folder = recorded.text("recipe") or "not recorded", recorded.text("run")
    # `run` may be absolute, or relative to where training was started; the sibling folder serves a moved copy.
    places = [Path(folder), this.run.root.parent.parent / named / Path(folder).name] if folder else []
    found = next((place for place in places if (place / "plan.yaml").is_file()), None)
    if found is None:
        return Peer("teacher", named, None, _make_one(this, named))
    return _teacher_peer(this, RunDir(found.absolute()), [recorded])


def _teacher_peer(this: RunFacts, teacher: RunDir, recorded: Sequence[Document]) -> Peer:
    peer = _peer(this, teacher, "teacher")
    used = [found for each in recorded if (found := each.text("weights_sha256")) is not None]
    if peer.facts is not None and used and peer.facts.evaluate.text("weights_sha256") not in used:
        return Peer("teacher", peer.recipe, peer.facts, "its evaluated weights are not those this run learned from")
    return peer


def _make_one(this: RunFacts, recipe: str) -> str:
    profile = this.plan.profile if this.plan is not None else None
    return f"its run folder is not here; `{train_command(recipe, profile)}` makes one"


def peers(this: RunFacts, compare: Sequence[RunDir]) -> list[Peer]:
    """A row for every run given, and for every recipe that the plan wants to be compared with and has no run."""
    rows = [_peer(this, run, "baseline") for run in compare if run.root != this.run.root]
    wanted = this.plan.settings.evaluate.compare if this.plan is not None else ()
    profile = this.plan.profile if this.plan is not None else None
    for asked in wanted:  # a recipe's name, or the path of its file
        recipe = Path(asked).stem if "/" in asked else asked
        if recipe not in {row.recipe for row in rows}:
            why = f"no finished run; `{train_command(asked, profile)}` makes one"
            rows.append(Peer("baseline", recipe, None, why))
    return rows


def _peer(this: RunFacts, run: RunDir, role: str) -> Peer:
    try:
        other = read_run(run, telemetry=False)
    except RunError as error:
        return Peer(role, run.recipe, None, str(error).replace(str(run.root), run.root.name))
    if "evaluate" in this.absent:
        return Peer(role, other.recipe, other, "this run is not evaluated, so there is nothing to compare it with")
    reasons = differences(this, other)
    if reasons:
        return Peer(role, other.recipe, other, "not comparable: " + "; ".join(reasons))
    return Peer(role, other.recipe, other, "", tuple(weaker(this, other)) if role == "baseline" else ())


def matching_runs(run: RunDir, recipes: Sequence[str]) -> list[RunDir]:
    """For each recipe, its latest finished run that is comparable with `run`, else its latest finished run.

    Looks in the runs folder that `run` lies in. A recipe without a finished run is left out.

    Raises:
        RunError: `run` is not a run folder.
    """
    this = read_run(run, telemetry=False)
    found = []
    for recipe in recipes:
        candidates = [other for other in finished_runs(recipe, run.root.parent.parent) if other.root != run.root]
        fitting = (other for other in candidates if not differences(this, read_run(other, telemetry=False)))
        best = next(fitting, candidates[0] if candidates else None)
        if best is not None:
            found.append(best)
    return found


def result_table(this: RunFacts, others: Sequence[Peer]) -> str:
    """Teacher, baselines and this run side by side on the test split, then what has to be said about the rows."""
    role = "student" if any(peer.role == "teacher" for peer in others) else "this run"
    rows = [_result_row(peer.role, peer.recipe, None if peer.reason else peer.facts) for peer in others]
    rows.append(_result_row(role, this.recipe, this, bold=True))
    rows += [
        _difference_row(this, peer.facts)
        for peer in others
        if peer.facts is not None and not peer.reason and peer.role == "baseline"
    ]
    header = ["run", "mAP50", "mAP50-95", "precision", "recall", "escapes", "overkill", "threshold"]
    text = table(header, rows)
    remarks = [f"**{peer.role} {escape(peer.recipe)}**: {ticked(peer.reason)}." for peer in others if peer.reason]
    remarks += [
        f"{peer.role} {escape(peer.recipe)} differs in more than the technique: {escape('; '.join(peer.notes))}."
        for peer in others
        if not peer.reason and peer.notes
    ]
    remarks += [
        f"{peer.role} {escape(peer.recipe)} is {code(peer.facts.folder)}." for peer in others if peer.facts is not None
    ]
    return text + ("\n\n" + bullets(remarks) if remarks else "")


def _result_row(role: str, recipe: str, facts: RunFacts | None, *, bold: bool = False) -> list[str]:
    label = f"**{role}** {escape(recipe)}" if bold else f"{role} {escape(recipe)}"
    if facts is None or "evaluate" in facts.absent:
        return [label, *["see below"] * 7]
    evaluate, sums = facts.evaluate, counted(facts.evaluate)
    cells = score_cells(evaluate.part("test"))
    threshold = evaluate.number("threshold")
    cells += [count_text(sums.escapes), count_text(sums.overkill)]
    cells.append(NOT_MEASURED if threshold is None else f"{threshold:.2f}")
    return [label, *(f"**{cell}**" for cell in cells)] if bold else [label, *cells]


def _difference_row(this: RunFacts, other: RunFacts) -> list[str]:
    cells = []
    for key in SCORES:
        mine, theirs = this.evaluate.number("test", key), other.evaluate.number("test", key)
        cells.append(NOT_MEASURED if mine is None or theirs is None else difference_text(mine, theirs))
    ours, others = counted(this.evaluate), counted(other.evaluate)
    for mine_count, other_count in ((ours.escapes, others.escapes), (ours.overkill, others.overkill)):
        missing = mine_count is None or other_count is None
        cells.append(NOT_MEASURED if missing else f"{(mine_count or 0) - (other_count or 0):+d}")
    return [f"difference to {escape(other.recipe)}", *cells, "each its own"]


def ticked(text: str) -> str:
    """Escape a reason, keeping the commands that it quotes in backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(code(part) if at % 2 else escape_inside(part) for at, part in enumerate(parts))


def escape_inside(part: str) -> str:
    """Escape a piece of a sentence, keeping the spaces at its ends."""
    lead, trail = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return lead[:1] + escape(part) + trail[:1] if part.strip() else part[:1]
