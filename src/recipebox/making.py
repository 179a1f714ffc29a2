"""A run as it is made: its folder with plan and lock, its teachers, then its stages, with its state kept right."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.endings import state_kept
from recipebox.errors import CheckFailed, PlanConflict, RunBusy, RunError, WeightsError
from recipebox.progress import say
from recipebox.run_dir import RunDir, write_json, write_text
from recipebox.stages import TEACHER_STAGES, Stage, is_done, read_lock, run_missing_stages, write_report
from recipebox.supplies import Supplies
from recipebox.teachers import finished_teacher, run_as_it_is, settled_runs, wait_for

if TYPE_CHECKING:
    from recipebox.recipe.plan import Plan


def carry_out(
    run: RunDir, plan: Plan, supplies: Supplies, stages: tuple[Stage, ...], differences: Sequence[str] = ()
) -> list[CheckFailed]:
    """Teachers, stages and report of one run, its state kept.

    Args:
        differences: what is not as in the run's lock, in words; train.json keeps it where training goes on so.

    Returns:
        The checks that failed.
    """
    with state_kept(run) as failed:
        teachers: list[RunDir] = []
        if not is_done(run, "train"):
            run.add_differences(differences)
            teachers = teacher_runs(plan, supplies, read_lock(run))
        failed += run_missing_stages(run, plan, supplies, teachers, stages)
        say(f"{plan.name}: report")
        write_report(run, supplies, plan, teachers=teachers)
    return failed


def teacher_runs(plan: Plan, supplies: Supplies, lock: dict[str, Any]) -> list[RunDir]:
    """A finished run of each of the plan's teachers, in their order: reused, resumed or trained.

    Args:
        lock: the student's. It says which teachers, also where the code has changed since an interrupted run began.
    """
    if len(lock["teachers"]) != len(plan.teachers):
        raise RunError(f"the lock of {plan.name} does not say which teachers it has. Train the recipe again.")
    runs = [
        run_as_it_is(teacher, locked) if teacher.run is not None else _teacher_run(teacher, supplies, locked)
        for teacher, locked in zip(plan.teachers, lock["teachers"], strict=True)
    ]
    if twice := {str(run.root) for run in runs if runs.count(run) > 1}:
        raise PlanConflict(
            f"{plan.name}: {', '.join(twice)} is the run of two teachers, named as `run` and found for a `recipe`. "
            "Name it once, with the sum of the weights."
        )
    return runs


def _teacher_run(teacher: Plan, supplies: Supplies, lock: dict[str, Any]) -> RunDir:
    """A finished run with the teacher's lock."""
    from recipebox.recipe.lock import lock_difference, lock_digest

    digest, spoiled = lock_digest(lock), set[Path]()
    while True:
        with settled_runs(teacher.name, digest, "teacher: ") as found:
            finished = finished_teacher(found)
            if finished is not None:
                return finished
            now = plan_lock(teacher, supplies)
            refuse_other_inputs(f"teacher {teacher.name}", teacher.name, lock, now)
            open_runs = (run for run in found if run.state()[0] != "finished" and run.root not in spoiled)
            stopped = next(open_runs, None)
            run = stopped or new_run(teacher, supplies)
        if stopped is None:
            say(f"teacher: {teacher.name} is trained first, in {run.root}")
        else:
            say(f"teacher: going on with {run.root}, which was stopped")
        try:
            carry_out(run, teacher, supplies, TEACHER_STAGES, lock_difference(lock, now) if stopped else ())
            return run
        except RunBusy:
            wait_for(run, "teacher: ")  # another process took it up meanwhile
        except (RunError, WeightsError) as error:
            if stopped is None:
                raise
            # A student must not depend on a spoiled run for ever.
            say(f"teacher: {run.root} cannot be continued: {error}")
            spoiled.add(run.root)


def refuse_other_inputs(whose: str, recipe: str, lock: dict[str, Any], now: dict[str, Any]) -> None:
    """Training goes on with the data and the initial weights that it began with, or its lock would be false.

    Args:
        whose: what the message begins with.
        recipe: what to train again where they cannot be put back.

    Raises:
        RunError: they are others.
    """
    from recipebox.recipe.lock import input_difference

    changed = input_difference(lock, now)
    if changed:
        raise RunError(
            f"{whose}: {'; '.join(changed)} since it began, and what would be trained now is another run than its lock "
            f"says. Put them back as they were, or train the recipe again: `recipebox train {recipe}`."
        )


def new_run(plan: Plan, supplies: Supplies) -> RunDir:
    """A new run folder with plan and lock, or none at all.

    Its state says that it is being worked on before there is a plan to see it by: nobody else may go on with it.
    """
    from recipebox.recipe.plan import plan_to_yaml

    lock = plan_lock(plan, supplies)
    run = RunDir.create(plan.name)
    try:
        write_json(run.lock, lock)
        run.set_state("running")
        write_text(run.plan, plan_to_yaml(plan))
    except BaseException:
        shutil.rmtree(run.root, ignore_errors=True)
        raise
    return run


def plan_lock(plan: Plan, supplies: Supplies) -> dict[str, Any]:
    from recipebox.recipe.lock import make_lock

    settings = plan.settings
    return make_lock(
        plan,
        data_sha256=supplies.detection_set(settings).sha256,
        weights_sha256=supplies.weights_sha256(settings),
        teacher_locks=[
            plan_lock(teacher, supplies) if teacher.run is None else read_lock(RunDir.open(Path(teacher.run)))
            for teacher in plan.teachers
        ],
    )
