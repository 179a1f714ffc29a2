"""How a list of plans becomes a list of run folders: here one after the other, on this machine."""

from __future__ import annotations

from collections.abc import Callable

from recipebox.errors import DataError, PlanConflict, RunError, TrainingFailed, WeightsError
from recipebox.job import finish_run
from recipebox.making import new_run, plan_lock
from recipebox.progress import say
from recipebox.recipe.lock import lock_digest
from recipebox.recipe.plan import Plan
from recipebox.run_dir import RunDir
from recipebox.stages import is_done
from recipebox.supplies import Supplies
from recipebox.teachers import settled_runs

Engine = Callable[[list[Plan]], list[RunDir]]
"""Carries plans out and gives their runs, in the order of the plans. A run may have failed; its state says so."""


def sequential(supplies: Supplies) -> Engine:
    """One plan after the other, each as `recipebox train` does it: teacher first, then every stage.

    A run that was measured already is taken as it is, one that was stopped goes on, and is made anew where it was
    spoiled. A run that diverges, runs out of memory or is refused does not keep the others from being made.
    """

    def engine(plans: list[Plan]) -> list[RunDir]:
        runs = []
        for number, plan in enumerate(plans, start=1):
            say(f"run {number} of {len(plans)}: {plan.name}, seed {plan.settings.train.seed}")
            runs.append(_run(plan, supplies))
        return runs

    return engine


def _run(plan: Plan, supplies: Supplies) -> RunDir:
    with settled_runs(plan.name, lock_digest(plan_lock(plan, supplies))) as found:
        known = next(filter(measured, found), None)
        if known is not None:
            say(f"{known.root} is reused, its lock is the same")
            return known
        stopped = next(reversed(found), None)
        run = stopped or new_run(plan, supplies)
    if stopped is not None:
        say(f"going on with {run.root}, which was stopped")
        try:
            return _finished(run, plan, supplies)
        except (RunError, WeightsError) as error:
            # Spoiled, or taken up by another process meanwhile: the sweep must not depend on this one for ever.
            say(f"{run.root} cannot be continued: {error}")
            run = new_run(plan, supplies)
    try:
        return _finished(run, plan, supplies)
    except (RunError, WeightsError) as error:
        say(f"{run.root} failed: {error}")
        return run


def _finished(run: RunDir, plan: Plan, supplies: Supplies) -> RunDir:
    """The run with all its stages, or failed where its training went wrong or was refused.

    Raises:
        RunError, WeightsError: the run, or one that it learns from, is spoiled.
    """
    try:
        finish_run(run, plan, supplies)
    except (TrainingFailed, PlanConflict, DataError) as error:
        say(f"{run.root} failed: {error}")
    return run


def measured(run: RunDir) -> bool:
    """Whether a run has what a sweep compares, also where the check of its exported file has failed."""
    try:
        return run.state()[0] in {"finished", "failed"} and is_done(run, "train") and is_done(run, "evaluate")
    except RunError:
        return False
