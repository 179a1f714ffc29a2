"""The main job: plan, teacher, then every stage of a run, with its state kept right whatever happens.

    train_job    a new run               resume_job    a stopped or failed run, from where it was
    locked_job   a run once more, and whether the weights are the same
    stage_job    one stage of a run again              report_job    its report again

An interrupt (Ctrl-C, SIGTERM, SIGHUP) leaves a run whose state is `stopped`, and says how to go on.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.endings import Interrupted, claimed, signals_interrupt
from recipebox.errors import CheckFailed, PlanConflict, RunError, StorageError
from recipebox.making import carry_out, new_run, plan_lock, refuse_other_inputs
from recipebox.progress import say
from recipebox.run_dir import RunDir, find_run, is_run, runs_root
from recipebox.stages import STAGES, Stage, is_done, read_lock, read_plan, run_stage, write_report
from recipebox.supplies import Supplies, probe, settled_plan

if TYPE_CHECKING:
    from recipebox.recipe.plan import Plan


@dataclass(frozen=True)
class JobResult:
    """What a job left behind. `failed` are the measured checks that said no; `notes` go to the user with the rest."""

    run: RunDir
    failed: tuple[CheckFailed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return CheckFailed.exit_code if self.failed else 0

    def document(self) -> dict[str, Any]:
        """For --json: the run's folder and the result files that there are."""
        state, reason = self.run.state()
        results: dict[str, Any] = {
            stage: self.run.read_result(stage) for stage in STAGES if self.run.result(stage).is_file()
        }
        shown: dict[str, Any] = {"run": str(self.run.root), "state": state, "notes": list(self.notes)}
        return shown | ({"reason": reason} if reason else {}) | results

    def text(self) -> str:
        """For people: where the report is, and what failed."""
        lines = [*self.notes, *(f"check failed: {error}" for error in self.failed)]
        test = self.document().get("evaluate", {}).get("test")
        scores = [test.get(key) for key in ("mAP50", "mAP50-95")] if isinstance(test, dict) else []
        if scores and all(isinstance(score, float) for score in scores):
            lines.append(f"test mAP50 {scores[0]:.3f}, mAP50-95 {scores[1]:.3f}")
        lines.append(f"report: {self.run.report_md if self.run.report_md.is_file() else 'none was written'}")
        return "\n".join(lines)


def plan_job(
    recipe: str, *, profile: str | None, changes: list[str], device: str | None, time: bool = False
) -> tuple[dict[str, Any], str]:
    """What training a recipe would do here: (document, text). Nothing is fetched or written; `time` times steps."""
    from recipebox.recipe.changes import load_changed
    from recipebox.recipe.describe import describe_plan
    from recipebox.recipe.plan import make_plan, plan_document

    loaded, overrides = load_changed(recipe, changes)
    plan = make_plan(loaded, probe(device), profile=profile, overrides=overrides)
    if time:
        from recipebox.train.timing import timed

        plan = timed(plan)
    return plan_document(plan), describe_plan(plan)


def train_job(
    recipe: str, supplies: Supplies, *, profile: str | None, changes: list[str], device: str | None
) -> JobResult:
    """A new run of a recipe, its teachers first, through all stages.

    Raises:
        RecipeboxError: what stopped it; the run's state then says so too.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; the run can be resumed.
        UnexpectedFailure: a bug.
    """
    from recipebox.recipe.changes import load_changed
    from recipebox.recipe.describe import describe_plan

    loaded, overrides = load_changed(recipe, changes)
    with signals_interrupt():
        plan = settled_plan(loaded, probe(device), supplies, profile, overrides)
        print(describe_plan(plan), flush=True)
        return _new_job(plan, supplies)


def resume_job(name: str, supplies: Supplies) -> JobResult:
    """Go on where a run was interrupted: a folder, or a recipe's latest unfinished run; raises as `train_job`.

    While it is not trained, its data and initial weights must be those it began with; whatever else is not as in its
    lock is told and kept with it.
    """
    from recipebox.recipe.lock import lock_difference

    run = _unfinished_run(name)
    plan, lock, trained = read_plan(run), read_lock(run), is_done(run, "train")
    if not trained:
        _refuse_other_device(run, plan, "Go on with it")
    with signals_interrupt():
        now = plan_lock(plan, supplies)
        if not trained:
            refuse_other_inputs(str(run.root), run.recipe, lock, now)
        differences = lock_difference(lock, now)
        notes = tuple(f"not as when this run began: {words}" for words in differences)
        say("\n".join([*notes, f"going on with {run.root}"]))
        return replace(finish_run(run, plan, supplies, differences), notes=notes)


def locked_job(name: str, supplies: Supplies) -> JobResult:
    """Repeat a run by its plan, and say whether the weights are the same to the last bit. Raises as `train_job`."""
    old = find_run(name)
    plan = read_plan(old)
    expected = _trained_weights(old)
    _refuse_other_device(old, plan, "Repeat it")
    with signals_interrupt():
        differences = _lock_differences(old, plan, supplies)
        for words in differences:
            say(f"not as in {old.root}: {words}")
        result = _new_job(plan, supplies)
    made = _trained_weights(result.run)
    difference = weights_difference(expected, made, differences)
    if difference is None:
        return JobResult(result.run, result.failed, (f"same as {old.root}: weights equal to the last bit",))
    return JobResult(result.run, (*result.failed, CheckFailed(f"not the same as {old.root}: {difference}")))


def _trained_weights(run: RunDir) -> dict[str, Any]:
    """Raises RunError when train.json does not say which weights were trained."""
    weights = run.read_result("train").get("weights")
    found: dict[str, Any] = weights if isinstance(weights, dict) else {}
    if not all(isinstance(found.get(key), dict) and "sha256" in found[key] for key in ("best", "last")):
        raise RunError(f"{run.result('train')}: does not say which weights were trained. Train the recipe again.")
    return found


def weights_difference(expected: dict[str, Any], made: dict[str, Any], lock: Sequence[str]) -> str | None:
    """In words, how the `weights` of two train.json differ, and what may be the cause; None when they are the same.

    Args:
        lock: what differs between the two locks, in words.
    """
    different = [key for key in ("best", "last") if made[key]["sha256"] != expected[key]["sha256"]]
    if not different:
        return None
    why = "; ".join(lock) or "the locks are the same, so the machine itself computes otherwise"
    return f"{' and '.join(different)} weights differ ({why})"


def stage_job(name: str, stage: Stage) -> tuple[RunDir, dict[str, Any]]:
    """Run one stage of a trained run again.

    Raises:
        RunError: no such run, or it is running.
        RecipeboxError: what the stage raises.
    """
    run = find_run(name)
    refuse_running(run)
    with signals_interrupt(), claimed(run):
        return run, run_stage(stage, run, read_plan(run), Supplies())


def elsewhere_job(name: str, dataset: str) -> dict[str, Any]:
    """Measure a run's best weights on another data set with the same classes; nothing is written.

    The threshold comes from that set's val split: it says what the detector could do there, not what it would do
    with the threshold it ships with.

    Raises:
        RunError: no such run.
        DataError: the data set cannot be had.
        WeightsError: its classes are others.
    """
    from recipebox.data.datasets import prepare
    from recipebox.evaluate.run import evaluate_weights, trained_sha256

    run = find_run(name)
    plan = read_plan(run)
    return evaluate_weights(run.best, trained_sha256(run), plan.settings, prepare(dataset))


def report_job(name: str) -> RunDir:
    """Write a run's report again; with pictures of boards where the data is here already."""
    run = find_run(name)
    try:
        plan = read_plan(run)
    except RunError as error:
        say(f"the report goes without its plan: {error}")
        plan = None
    write_report(run, Supplies(allow_fetch=False), plan)
    return run


def data_job(name: str, source: Path | None, *, allow_fetch: bool) -> tuple[dict[str, Any], str]:
    """Prepare a data set by name or by hand: (document, text)."""
    from recipebox.data.datasets import prepare, prepare_from

    made = prepare(name, allow_fetch=allow_fetch) if source is None else prepare_from(name, source)
    splits = {split: len(made.split(split)) for split in ("train", "val", "test")}
    document = {"name": made.name, "sha256": made.sha256, "names": list(made.names), "images": splits}
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    lines = [f"{made.name} is ready: {counts} images; {', '.join(made.names)}", *made.notes]
    return document | {"notes": list(made.notes)}, "\n".join(lines)


def _new_job(plan: Plan, supplies: Supplies) -> JobResult:
    return finish_run(new_run(plan, supplies), plan, supplies)


def finish_run(run: RunDir, plan: Plan, supplies: Supplies, differences: Sequence[str] = ()) -> JobResult:
    """All stages of a run and its report; an interrupt says how to go on. Arguments as of `carry_out`."""
    try:
        failed = carry_out(run, plan, supplies, STAGES, differences)
    except KeyboardInterrupt as interrupt:
        words = str(interrupt) or "interrupted"
        code = getattr(interrupt, "exit_code", 128 + signal.SIGINT)
        raise Interrupted(f"{words}; `recipebox train --resume {run.root}` goes on with it", code) from None
    except StorageError:
        if is_run(run.root):
            say(f"when that is mended, `recipebox train --resume {run.root}` goes on with it")
        raise
    return JobResult(run, tuple(failed))


def _refuse_other_device(run: RunDir, plan: Plan, do_it: str) -> None:
    """Raises PlanConflict when what a run was planned for is not on this machine."""
    from recipebox.recipe.machine import has_device

    if not has_device(plan.device):
        raise PlanConflict(
            f"{run.root}: its device {plan.device} is not on this machine, and on another one the weights would be "
            f"others. {do_it} on a machine that has it, or make a new run here: `recipebox train {run.recipe}`."
        )


def _lock_differences(run: RunDir, plan: Plan, supplies: Supplies) -> list[str]:
    """In words, what is not as it was when the run was made."""
    from recipebox.recipe.lock import lock_difference

    return lock_difference(read_lock(run), plan_lock(plan, supplies))


def _unfinished_run(name: str) -> RunDir:
    """Raises RunError when there is nothing to go on with."""
    if not name:
        raise RunError("no run was named. `recipebox runs` lists the runs there are.")
    if is_run(Path(name)) or "/" in name:
        run = RunDir.open(Path(name))
        refuse_running(run)
        if run.state()[0] == "finished":
            raise RunError(f"{run.root}: this run is finished. `recipebox train {run.recipe}` makes a new one.")
        return run
    runs = [RunDir(path.parent) for path in sorted((runs_root() / name).glob("*/plan.yaml"), reverse=True)]
    for run in runs:
        if run.state()[0] in {"stopped", "failed"}:
            return run
    raise RunError(f"{name}: no stopped run of this recipe. `recipebox runs` lists the runs there are.")


def refuse_running(run: RunDir) -> None:
    """Raises RunError when another process is working on a run."""
    if run.state()[0] == "running":
        raise RunError(f"{run.root}: this run is being worked on by another process. Wait for it, or stop it first.")
