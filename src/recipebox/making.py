"""A run as it is made: its folder with plan and lock, its teachers first, then its stages, with its state kept right."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from recipebox.endings import state_kept
from recipebox.errors import CheckFailed, RunError, WeightsError
from recipebox.progress import say
from recipebox.run_dir import RunDir, write_json, write_text
from recipebox.stages import TEACHER_STAGES, Stage, is_done, read_lock, run_missing_stages, write_report
from recipebox.supplies import Supplies
from recipebox.teachers import finished_teacher, runs_with_lock

if TYPE_CHECKING:
    from recipebox.recipe.plan import Plan


def carry_out(run: RunDir, plan: Plan, supplies: Supplies, stages: tuple[Stage, ...]) -> list[CheckFailed]:
    """Teachers, stages and report of one run, its state kept. Returns the checks that failed."""
    with state_kept(run):
        teachers = [] if is_done(run, "train") else teacher_runs(plan, supplies, read_lock(run))
        failed = run_missing_stages(run, plan, supplies, teachers, stages)
        say(f"{plan.name}: report")
        write_report(run, supplies, plan, teachers=teachers)
    if failed:
        run.set_state("failed", "; ".join(str(error) for error in failed))
    return failed


def teacher_runs(plan: Plan, supplies: Supplies, lock: dict[str, Any]) -> list[RunDir]:
    """A finished run of each of the plan's teachers, in their order: reused, resumed or trained.

    Args:
        lock: the student's. It says which teachers, also where the code has changed since an interrupted run began.
    """
    if len(lock["teachers"]) != len(plan.teachers):
        raise RunError(f"the lock of {plan.name} does not say which teachers it has. Train the recipe again.")
    return [
        _teacher_run(teacher, supplies, locked) for teacher, locked in zip(plan.teachers, lock["teachers"], strict=True)
    ]


def _teacher_run(teacher: Plan, supplies: Supplies, lock: dict[str, Any]) -> RunDir:
    """A finished run with the teacher's lock."""
    from recipebox.recipe.lock import lock_digest

    found = runs_with_lock(teacher.name, lock_digest(lock))
    finished = finished_teacher(found)
    if finished is not None:
        return finished
    for run in found:
        if run.state()[0] not in {"stopped", "failed"}:
            continue
        say(f"teacher: going on with {run.root}, which was stopped")
        try:
            carry_out(run, teacher, supplies, TEACHER_STAGES)
            return run
        except (RunError, WeightsError) as error:
            # Spoiled, or taken up by another process meanwhile: a student must not depend on this one for ever.
            say(f"teacher: {run.root} cannot be continued: {error}")
    run = new_run(teacher, supplies)
    say(f"teacher: {teacher.name} is trained first, in {run.root}")
    carry_out(run, teacher, supplies, TEACHER_STAGES)
    return run


def new_run(plan: Plan, supplies: Supplies) -> RunDir:
    """A new run folder with plan and lock, or none at all."""
    from recipebox.recipe.plan import plan_to_yaml

    lock = plan_lock(plan, supplies)
    run = RunDir.create(plan.name)
    try:
        write_json(run.lock, lock)
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
        teacher_locks=[plan_lock(teacher, supplies) for teacher in plan.teachers],
    )
