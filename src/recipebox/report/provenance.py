"""How the run came about: training, what changed the recipe, the lock, how to repeat it, and what it proves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from recipebox.recipe.changes import assignment
from recipebox.recipe.problems import takes_names
from recipebox.report.compare import Peer, count_text, map_text, train_command
from recipebox.report.levers import lever_items
from recipebox.report.markdown import bullets, code, escape, picture, shell, table
from recipebox.report.results import absent
from recipebox.report.source import Document, RunFacts

if TYPE_CHECKING:
    from recipebox.recipe.plan_record import Change, Plan

_MOST_LOCK_ROWS = 80
_MOST_PROBLEMS = 30


def training_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """Numbers and curves of the training run."""
    lines = ["## Training", ""]
    items = _train_items(facts)
    lines += [absent(facts, "train"), ""] if "train" in facts.absent else []
    lines += [bullets(items), ""] if items else []
    captions = (
        (
            "losses.png",
            "Loss curves",
            "Losses as Ultralytics shows them, per image; distillation terms are not validated.",
        ),
        (
            "validation.png",
            "Validation mAP over the epochs",
            "Measured in training with images prepared as deployed; best.pt is the epoch with the best of these.",
        ),
        ("schedules.png", "Schedules", "What was in force at each step, read from the trainer, not from the recipe."),
    )
    for name, title, caption in captions:
        if name in pictures:
            lines += [picture(name, title, caption), ""]
        else:
            lines += [f"No picture of {title.lower()}: the run recorded nothing to draw it from.", ""]
    return "\n".join(lines).rstrip()


def _train_items(facts: RunFacts) -> list[str]:
    train, epochs = facts.train, facts.epochs
    items = []
    if train:
        weights = train.text("weights", "best", "sha256")
        resumed = train.count("resumed")
        seconds = train.number("seconds")
        items.append(
            f"{count_text(train.count('epochs'))} epochs, {count_text(train.count('optimizer_steps'))} optimizer steps"
            + (f", {seconds / 60:.1f} minutes" if seconds is not None else "")
            + (f", went on after epoch {resumed}" if resumed else ", in one go" if resumed == 0 else "")
        )
        if changed := train.texts("differences"):
            items.append(f"**not as its lock says**: {'; '.join(map(escape, changed))} when training went on")
        items.append(
            f"best.pt is epoch {count_text(train.count('best_epoch'))}: validation mAP50 "
            f"{map_text(train.number('val', 'mAP50'))}, mAP50-95 {map_text(train.number('val', 'mAP50-95'))}"
            + (f", SHA-256 {code(weights)}" if weights else "")
        )
        items.append(_initial_weights(train.part("initial_weights")))
        for teacher in train.entries("teachers"):
            sha = teacher.text("weights_sha256")
            items.append(
                f"teacher: {escape(teacher.text('recipe') or 'not recorded')}, weights "
                + (code(sha) if sha else "not recorded")
            )
    times = [value for row in epochs if (value := row.number("seconds")) is not None]
    if times:
        items.append(f"an epoch took {median(times):.1f} s (median, validation included)")
    if epochs:
        last = epochs[-1]
        decay = last.number("techniques", "ema/decay")
        if last.number("techniques", "swa/averaged") is not None:
            items.append(_averaged(epochs, train.count("best_epoch")))
        elif decay is not None:
            items.append(f"EMA decay in force at the end: {decay:.4f}")
        items += _live_weights(epochs)
        items += lever_items(epochs)
        if (rate := last.number("lr")) is not None:
            items.append(f"learning rate at the end: {rate:.3g}")
    return items


def _averaged(epochs: Sequence[Document], best: int | None) -> str:
    """Of how many epochs' ends best.pt and last.pt are the mean, where SWA made it."""
    counts = {row.count("epoch"): row.count("techniques", "swa/averaged") for row in epochs}
    whole = f"SWA: last.pt is the mean of {count_text(epochs[-1].count('techniques', 'swa/averaged'))} epochs' ends"
    if best is None:
        return whole
    if counts.get(best) is None:
        return whole + ", best.pt is of an epoch before it began"
    return whole + f", best.pt of {counts[best]}"


def _live_weights(epochs: Sequence[Document]) -> list[str]:
    """How the average and the live weights did beside each other, where both were validated."""
    average, live = ([row.number(part, "mAP50-95") for row in epochs] for part in ("val", "val_live"))
    pairs = [(a, b) for a, b in zip(average, live, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return []
    best, swing = ([what(values) for values in zip(*pairs, strict=True)] for what in (max, _swing))
    return [
        f"validation mAP50-95 of the average and of the live weights: best {best[0]:.3f} and {best[1]:.3f}, change "
        f"from one epoch to the next {swing[0]:.3f} and {swing[1]:.3f} (mean of the absolute differences)"
    ]


def _swing(values: Sequence[float]) -> float:
    return mean(abs(after - before) for before, after in pairwise(values))


def _initial_weights(weights: Document) -> str:
    name, sha = weights.text("name"), weights.text("sha256")
    if name is None:
        return "initial weights: not recorded"
    return f"initial weights: {escape(name)}" + (f", SHA-256 {code(sha)}" if sha else ", no file behind them")


def curves_section(facts: RunFacts, pictures: dict[str, bytes]) -> str:
    """PR curves."""
    lines = ["## Precision and recall", ""]
    if "pr.png" in pictures:
        caption = (
            "A curve shows what any other threshold would buy; the dot is the threshold in use. "
            "Escapes fall to the right, overkill falls upwards."
        )
        lines.append(picture("pr.png", "Precision-recall curves per class", caption))
    elif "evaluate" in facts.absent:
        lines.append(absent(facts, "evaluate"))
    else:
        lines.append(
            f"No curves in evaluate.json that can be drawn; `recipebox evaluate {facts.folder}` measures them."
        )
    return "\n".join(lines)


def changes_section(facts: RunFacts) -> str:
    """What the profile, fallbacks and the command line changed, and the plan's warnings."""
    lines = ["## What the profile and fallbacks changed", ""]
    if facts.plan is None:
        return "\n".join([*lines, "plan.yaml cannot be read, so this is not known (see *Warnings*)."])
    if facts.plan.changes:
        rows = [[code(c.path), _value(c.before), _value(c.after), escape(c.by)] for c in facts.plan.changes]
        lines.append(table(["setting", "recipe", "this run", "changed by"], rows, left=4))
    else:
        lines.append("Nothing: the recipe ran as it is written.")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return "not set" if value is None else code(value, 120)


def warnings_section(facts: RunFacts, notes: Sequence[str]) -> str:
    """The plan's warnings, notes of the data set, and everything wrong with the files of the run."""
    plan_warnings = list(facts.plan.warnings) if facts.plan is not None else []
    for teacher in facts.plan.forerunners() if facts.plan is not None else ():
        plan_warnings += [f"teacher {teacher.name}: {text}" for text in teacher.warnings]
    items = [escape(text, 600) for text in (*plan_warnings, *notes, *facts.problems)]
    if len(items) > _MOST_PROBLEMS:
        items = [*items[:_MOST_PROBLEMS], f"and {len(items) - _MOST_PROBLEMS} more of the kind"]
    return "\n".join(["## Warnings", "", bullets(items) if items else "None."])


def lock_section(facts: RunFacts) -> str:
    """Versions and hashes."""
    lines = ["## Lock", ""]
    if not facts.lock:
        lines.append("lock.json is missing or cannot be read: the versions of this run are not recorded.")
        return "\n".join(lines)
    rows = [
        [code(key), "none" if value in (None, "") else code(value, 90)]
        for key, value in _flat(_short(facts.lock.content))
    ]
    if len(rows) > _MOST_LOCK_ROWS:
        lines += [f"The first {_MOST_LOCK_ROWS} of {len(rows)} entries; lock.json holds all.", ""]
    lines.append(table(["what", "hash or version"], rows[:_MOST_LOCK_ROWS], left=2))
    return "\n".join(lines)


def _short(lock: dict[str, Any]) -> dict[str, Any]:
    """The lock without what a teacher's lock repeats of its student's."""
    teachers = lock.get("teachers")
    if not isinstance(teachers, list):
        return lock
    told = [
        {key: value for key, value in teacher.items() if key not in lock or lock[key] != value}
        if isinstance(teacher, dict)
        else teacher
        for teacher in teachers
    ]
    return {**lock, "teachers": told}


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a nested document; settings, which plan.yaml shows, are left out."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key != "settings":
                yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and any(isinstance(value, dict | list) for value in content):
        for number, value in enumerate(content):
            yield from _flat(value, f"{prefix}[{number}]")
    else:
        yield prefix, ", ".join(map(str, content)) if isinstance(content, list) else content


def repeat_section(facts: RunFacts, others: Sequence[Peer]) -> str:
    """The commands that make this run again."""
    lines = ["## How to repeat it", ""]
    if facts.plan is None:
        return "\n".join([*lines, "Not known: plan.yaml cannot be read."])
    plan = facts.plan
    commands = ["# the same settings", _train_words(plan)]
    commands += ["# the same lock, and says whether the result is the same", f"recipebox train --locked {facts.folder}"]
    commands.append("# the stages of this run, each by itself")
    commands += [f"recipebox {stage} {facts.folder}" for stage in ("evaluate", "export", "bench", "report")]
    wanted = [peer.recipe for peer in others if peer.role == "baseline"]
    if wanted:
        commands.append("# what it is compared with")
        commands += [train_command(shlex.quote(recipe), plan.profile) for recipe in dict.fromkeys(wanted)]
    where = (
        "Data and weights are found through `RECIPEBOX_DATA` and `RECIPEBOX_WEIGHTS`; their hashes are in the lock. "
        "Run folders are given as in the default place, `runs/`; with `RECIPEBOX_RUNS` set they lie there."
    )
    return "\n".join([*lines, shell(commands), "", where])


def _train_words(plan: Plan) -> str:
    """The command line that makes a run of `plan`: its recipe, profile, device, and what the command line changed.

    A sweep's seed is its student's alone, while `--set train.seed` gives the teachers another one too.
    """
    built_in = Path(plan.source).parent.name == "recipes"
    given = dict(_assigned(plan, change) for change in plan.changes if change.by == "--set")
    seeds = [change for change in plan.changes if change.by == "--seeds"]
    options = ["--profile", plan.profile] if plan.profile else []
    options += ["--device", plan.device]
    if plan.teachers:
        options += [word for change in seeds for word in ("--seeds", str(change.after))]
    else:
        given |= dict(_assigned(plan, change) for change in seeds)
    options += [word for key, value in given.items() for word in ("--set", assignment(key, value))]
    verb = "sweep" if plan.teachers and seeds else "train"
    return shlex.join(["recipebox", verb, plan.name if built_in else plan.source, *options])


def _assigned(plan: Plan, change: Change) -> tuple[str, Any]:
    """The setting that gives a change back, with its value; names of the user's own are set all together.

    A dot in one of those would be taken for a section.
    """
    path: list[str] = []
    for part in change.path.split("."):
        path.append(part)
        if takes_names(tuple(path)):
            value: Any = plan.settings.model_dump(mode="json")
            for key in path:
                value = value[key]
            return ".".join(path), value
    return change.path, change.after


def proof_section(facts: RunFacts, others: Sequence[Peer]) -> str:
    """What one seed does and does not prove."""
    images = facts.evaluate.count("test", "images")
    seed = facts.plan.settings.train.seed if facts.plan is not None else None
    seen = f" the {images} test images" if images is not None else " the test images"
    items = [
        f"**It does show** that this recipe runs from data to a timed file, and how accurate and how fast this one "
        f"file is on{seen}, prepared as they are deployed.",
        "**It does not show** how another seed would have done"
        + (f" (this was seed {seed})" if seed is not None else "")
        + ". Repeats of one detector that differ in nothing but the seed commonly spread by about one point of mAP50 "
        "to either side, more on short runs.",
        "**It does not show** boards of another product, camera or light than the test split's.",
    ]
    compared = [peer for peer in others if not peer.reason and peer.facts is not None and peer.role == "baseline"]
    if compared:
        names = ", ".join(escape(peer.recipe) for peer in compared)
        items.append(
            f"**The difference to {names}** is one pair of runs. With the same seed both saw the same views of the "
            "same images, which takes away part of the noise, not all of it. A difference below about 0.02 mAP is no "
            "evidence either way; several seeds of both recipes, compared in pairs, are."
        )
    return "\n".join(["## What one seed proves, and what it does not", "", bullets(items)])
