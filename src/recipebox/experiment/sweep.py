"""`recipebox sweep`: a grid of settings, each with the same seeds, and how far each is from the first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipebox.endings import Interrupted, signals_interrupt
from recipebox.errors import BadInput, RecipeError, RunError, storage_errors
from recipebox.experiment.engine import Engine, sequential
from recipebox.experiment.grid import Arm, parse_over, parse_seeds, plan_arms
from recipebox.experiment.paired import Paired, deviation, paired
from recipebox.progress import duration, say
from recipebox.recipe.changes import load_changed
from recipebox.recipe.load import LoadedRecipe
from recipebox.recipe.plan import Plan
from recipebox.run_dir import RunDir, runs_root, write_json
from recipebox.supplies import Supplies, probe

SCHEMA = 1
METRICS = ("mAP50-95", "mAP50")
"""What is compared, on the test split as deployed; the first leads."""
FOLDER = "sweeps"


@dataclass(frozen=True)
class Row:
    """An arm's results.

    Attributes:
        runs: by seed; None where there is none yet.
        scores: metric -> by seed; None where it was not measured.
        against_first: metric -> the paired difference; None for the first arm.
    """

    arm: Arm
    runs: tuple[RunDir | None, ...]
    scores: Mapping[str, tuple[float | None, ...]]
    against_first: Mapping[str, Paired] | None


@dataclass(frozen=True)
class Sweep:
    """A finished sweep."""

    recipe: str
    over: Mapping[str, Sequence[Any]]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    folder: Path

    @property
    def failed(self) -> tuple[RunDir, ...]:
        """The runs that were made and not measured."""
        return tuple(
            run
            for row in self.rows
            for run, score in zip(row.runs, row.scores[METRICS[0]], strict=True)
            if run is not None and score is None
        )

    @property
    def exit_code(self) -> int:
        """1 where a run failed: the others are compared all the same."""
        return 1 if self.failed else 0


def sweep_job(
    recipe: str,
    supplies: Supplies,
    *,
    over: Sequence[str],
    seeds: str | None,
    profile: str | None,
    changes: list[str],
    device: str | None,
    engine: Engine | None = None,
) -> Sweep:
    """Plan all arms, make their runs, and compare them.

    Args:
        over: `KEY=V1,V2`, several multiply.
        seeds: `1,2,3`; None takes the recipe's own.
        engine: makes the runs; by default one after the other.

    Raises:
        BadInput: everything that is wrong with any key, value, seed or arm, before anything runs.
        StorageError: a file could not be written; no other run could be, either.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; the same command goes on.
    """
    keys, problems = parse_over(over, changes)
    numbers, more = parse_seeds(seeds)
    with signals_interrupt():
        problems += more
        loaded = _loaded(recipe, changes, problems)
        arms = plan_arms(
            loaded, probe(device), supplies, over=keys, profile=profile, changes=changes, problems=problems
        )
        chosen = tuple(numbers) or (arms[0].plan.settings.train.seed,)
        named = {
            "recipe": str(loaded.path.resolve()),
            "over": keys,
            "seeds": chosen,
            "set": changes,
            "profile": profile,
        }
        folder = _folder(loaded.name, named)
        say(_announced(loaded.name, arms, chosen))
        return _carried_out(Sweep(loaded.name, keys, chosen, (), folder), arms, engine or sequential(supplies))


def _loaded(recipe: str, changes: Sequence[str], problems: Sequence[str]) -> LoadedRecipe:
    """The recipe; where it or `changes` is wrong, that is told together with the problems of the grid."""
    try:
        return load_changed(recipe, changes)[0]
    except RecipeError as error:
        if not problems:
            raise
        raise BadInput("\n".join([*problems, str(error)])) from None


def _carried_out(sweep: Sweep, arms: list[Arm], engine: Engine) -> Sweep:
    # Seed by seed, so that an interrupted sweep has whole pairs.
    plans = [arm.seeded(seed) for seed in sweep.seeds for arm in arms]
    record = sweep.folder / "sweep.json"
    write_json(record, {"state": "running", **_head(sweep, arms)})
    try:
        runs = run_plans(plans, engine)
    except BaseException as ending:
        write_json(record, {"state": "stopped", **_head(sweep, arms)})
        if not isinstance(ending, KeyboardInterrupt):
            raise
        words = "interrupted; the same `recipebox sweep` command goes on with it"
        raise Interrupted(words, getattr(ending, "exit_code", 130)) from None
    by_arm = [tuple(runs[place :: len(arms)]) for place in range(len(arms))]
    done = Sweep(sweep.recipe, sweep.over, sweep.seeds, compared(arms, by_arm), sweep.folder)
    from recipebox.experiment.sweep_text import sweep_document, sweep_plot

    write_json(record, sweep_document(done))
    sweep_plot(done, sweep.folder / "sweep.png")
    return done


def run_plans(plans: list[Plan], engine: Engine) -> list[RunDir]:
    """The runs of these plans, in their order."""
    runs = engine(plans)
    if len(runs) != len(plans):
        raise RunError(f"{len(plans)} plans gave {len(runs)} runs: the engine lost some.")
    return runs


def compared(arms: Sequence[Arm], runs: Sequence[Sequence[RunDir | None]]) -> tuple[Row, ...]:
    """The arms' results, each compared with the first arm's seed by seed.

    Args:
        runs: by arm, then by seed.
    """
    scores = [{metric: tuple(score(run, metric) for run in line) for metric in METRICS} for line in runs]
    return tuple(
        Row(
            arm,
            tuple(line),
            own,
            None if place == 0 else {metric: paired(own[metric], scores[0][metric]) for metric in METRICS},
        )
        for place, (arm, line, own) in enumerate(zip(arms, runs, scores, strict=True))
    )


def score(run: RunDir | None, metric: str) -> float | None:
    """A metric of the test split from evaluate.json; None where there is none."""
    try:
        found = run.read_result("evaluate").get("test", {}).get(metric) if run is not None else None
    except RunError:
        return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def spread(scores: Sequence[float | None]) -> tuple[float | None, float | None]:
    """(mean, standard deviation) over the seeds that were measured; None where there are too few."""
    known = [value for value in scores if value is not None]
    mean = sum(known) / len(known) if known else None
    return mean, deviation(known) if len(known) > 1 else None


def _head(sweep: Sweep, arms: Sequence[Arm]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "recipe": sweep.recipe,
        "over": {key: list(values) for key, values in sweep.over.items()},
        "seeds": list(sweep.seeds),
        "arms": [{"values": dict(arm.values)} for arm in arms],
    }


def _folder(recipe: str, named: Mapping[str, Any]) -> Path:
    """runs/sweeps/<recipe>-<hash of what was asked>: the same command finds its folder again."""
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]
    folder = runs_root() / FOLDER / f"{recipe}-{digest}"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _announced(recipe: str, arms: Sequence[Arm], seeds: Sequence[int]) -> str:
    count = len(arms) * len(seeds)
    words = f"sweep of {recipe}: {len(arms)} arms, seeds {', '.join(map(str, seeds))}, {count} runs"
    seconds = [arm.plan.estimate.seconds for arm in arms]
    known = [value for value in seconds if value is not None]
    return f"{words}, about {duration(sum(known) * len(seeds))} of training" if len(known) == len(arms) else words
