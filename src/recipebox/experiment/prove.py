"""`recipebox prove`: for every lever of a recipe, what changes without it. docs/proof.md says what counts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recipebox.data.balance import class_counts
from recipebox.data.detection_set import DetectionSet
from recipebox.endings import signals_interrupt
from recipebox.errors import BadInput
from recipebox.experiment.effect import Difference, compare
from recipebox.experiment.lever import MOST_VIEWS, Lever
from recipebox.experiment.levers import levers, without
from recipebox.experiment.teachers import Teaching, teaching
from recipebox.experiment.trace import Trace, trace
from recipebox.experiment.window import Window
from recipebox.progress import duration, say, track
from recipebox.recipe.changes import load_changed
from recipebox.recipe.plan import Plan
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir
from recipebox.supplies import Supplies, probe, settled_plan


@dataclass(frozen=True)
class Effect:
    """What a lever did.

    Attributes:
        difference: of the run with it from the run without; None where it was not tried.
        noise: of a second run with it from the first; None where there was nothing to tell it from.
        why: in words, why it has no effect; None where it acts.
        met: whether what it acts on is in the images and steps that were looked at; if not, nobody knows.
    """

    lever: Lever
    difference: Difference | None
    noise: Difference | None
    why: str | None
    met: bool = True

    @property
    def acts(self) -> bool:
        return self.why is None


@dataclass(frozen=True)
class Proof:
    """A recipe's levers, each with its effect."""

    plan: Plan
    teachers: tuple[str, ...]
    effects: tuple[Effect, ...]
    seconds: float

    @property
    def dead(self) -> tuple[Effect, ...]:
        return tuple(effect for effect in self.effects if not effect.acts)

    @property
    def exit_code(self) -> int:
        """3, as CheckFailed, where a lever has no effect."""
        return 3 if self.dead else 0


def prove_job(
    recipe: str,
    supplies: Supplies,
    *,
    profile: str | None,
    changes: list[str],
    device: str | None,
    only: Sequence[str] = (),
) -> Proof:
    """Plan a recipe and prove its levers. Nothing is left behind.

    Args:
        only: keys of levers to prove; all where it is empty.

    Raises:
        BadInput: the recipe cannot be planned, or `only` names no lever of it.
        TrainingFailed: a step could not be made.
    """
    loaded, overrides = load_changed(recipe, changes)
    with signals_interrupt():
        plan = settled_plan(loaded, probe(device), supplies, profile, overrides)
        return prove(plan, supplies, only=only)


def prove(plan: Plan, supplies: Supplies, *, only: Sequence[str] = ()) -> Proof:
    """Prove the levers of a plan; arguments and errors as in `prove_job`."""
    began = time.monotonic()
    detection_set = supplies.detection_set(plan.settings)
    boxes = tuple(int(count) for count in class_counts(detection_set.train, len(detection_set.names)))
    batches, images = _batches(plan.settings, detection_set), len(detection_set.train)
    pulled = _chosen(levers(plan.settings, batches, boxes, images, detection_set.names), only)
    with tempfile.TemporaryDirectory(prefix="recipebox-prove-") as folder:
        taught = teaching(plan, supplies, Path(folder))
        tracer = Tracer(plan, detection_set, supplies.weights(plan.settings), taught)
        say(_announced(plan, pulled))
        effects = tuple(tracer.effect(lever) for lever in track(pulled, f"proving {plan.name}"))
    return Proof(plan, taught.words, effects, time.monotonic() - began)


class Tracer:
    """Traces one plan with and without its levers; what two levers need alike is traced once."""

    def __init__(self, plan: Plan, detection_set: DetectionSet, weights: Path | None, taught: Teaching) -> None:
        self._plan, self._set, self._weights, self._taught = plan, detection_set, weights, taught
        self._known: dict[Window, Trace] = {}
        self._noises: dict[Window, Difference] = {}

    def effect(self, lever: Lever) -> Effect:
        """Trace the lever's window with it, with it again, and without it."""
        if lever.idle is not None:
            return Effect(lever, None, None, f"it is never active: {lever.idle}")
        settings = without(self._plan.settings, lever)
        if settings == self._plan.settings:
            return Effect(lever, None, None, "the recipe sets it to the very value that it has without it")
        if lever.classes:
            lever, unmet = self._until_met(lever)
            if unmet is not None:
                return Effect(lever, None, None, unmet, met=False)
        on = self._with(lever.window)
        try:
            off = self._trace(settings, lever.window)
        except BadInput as error:  # a zero that this recipe cannot have is no reason to say nothing of its other levers
            return Effect(lever, None, None, f"without it, training is refused: {error}", met=False)
        difference = compare(on, off)
        unmet = self._no_step(lever, on, off) or _untaught(lever, on)
        if not any(difference.quantities().values()):
            unmet = unmet or lever.rare
            return Effect(lever, difference, None, unmet or f"nothing changes at all: {lever.hint}", met=not unmet)
        noise = self._noise(lever.window)
        if not difference.above(noise):
            why: str | None = "what changes is no more than between two runs of the same setting"
        else:
            why = lever.sign(on, off, noise)
        if why is not None and unmet is not None:
            return Effect(lever, difference, noise, unmet, met=False)
        return Effect(lever, difference, noise, why)

    def _no_step(self, lever: Lever, on: Trace, off: Trace) -> str | None:
        """That the window trains and no optimizer step falls into it, with the lever or without."""
        if not on.losses or on.step_norms or off.step_norms:
            return None
        batches, epoch, nbs = len(on.losses), lever.window.epoch + 1, self._plan.settings.train.nbs
        return f"no optimizer step is made in the {batches} batches from epoch {epoch} on (`nbs: {nbs}`)"

    def _until_met(self, lever: Lever) -> tuple[Lever, str | None]:
        """The lever with a window that reaches the first object of its classes, or why there is none."""
        columns = tuple(self._set.names.index(name) for name in lever.classes)
        window = lever.window
        seen = self._with(Window(window.epoch, views=MOST_VIEWS, seek=columns)).views
        if not any(view.classes.intersection(columns) for view in seen):
            named = " or ".join(lever.classes)
            return lever, f"no object of {named} is in the first {len(seen)} images of epoch {window.epoch + 1}"
        batches = -(-len(seen) // self._plan.settings.train.batch)
        return replace(lever, window=replace(window, batches=max(window.batches, batches))), None

    def _with(self, window: Window) -> Trace:
        if window not in self._known:
            self._known[window] = self._trace(self._plan.settings, window)
        return self._known[window]

    def _noise(self, window: Window) -> Difference:
        """Of a second run with the levers from the first."""
        if window not in self._noises:
            self._noises[window] = compare(self._trace(self._plan.settings, window), self._with(window))
        return self._noises[window]

    def _trace(self, settings: Settings, window: Window) -> Trace:
        plan = replace(self._plan, settings=settings)
        distillation = settings.techniques.distillation
        whole = self._plan.settings.techniques.distillation
        runs: tuple[RunDir, ...] = ()
        if distillation is not None and whole is not None:
            places = [(teacher.recipe, teacher.run) for teacher in whole.teachers]
            runs = tuple(self._taught.runs[places.index((one.recipe, one.run))] for one in distillation.teachers)
        return trace(plan, window, self._set, weights=self._weights, teacher_runs=runs)


def _untaught(lever: Lever, on: Trace) -> str | None:
    """That what a lever of distillation acts on is 0 in every batch: a teacher that scores nothing teaches nothing."""
    term = lever.key.removeprefix("techniques.distillation.").split(".")[0]
    if lever.key.startswith("techniques.distillation.") and on.losses:
        name = "kd_loss" if term == "teachers" else f"kd_{term}_loss"
        if all(losses.get(name) == 0 for losses in on.losses):
            return f"`{name}` is 0 in all {len(on.views)} images: the teacher scores nothing in them"
    return None


def _announced(plan: Plan, pulled: Sequence[Lever]) -> str:
    """How many batches it takes, and about how long on a CPU."""
    active = [lever.window for lever in pulled if lever.idle is None]
    # With it twice for each window, without it once for each lever.
    batches = sum(2 * _trained(window) for window in dict.fromkeys(active)) + sum(map(_trained, active))
    words = f"{plan.name}: {len(pulled)} levers, {batches} batches of {plan.settings.train.batch} images to train"
    seconds, a_epoch = plan.estimate.seconds, plan.estimate.steps_per_epoch
    if not seconds or not a_epoch:
        return words
    return f"{words}, about {duration(batches * seconds / (a_epoch * plan.settings.train.epochs))} and setting up"


def _trained(window: Window) -> int:
    return max(window.batches, window.epoch_ends * (window.epoch_batches or 0))


def _batches(settings: Settings, detection_set: DetectionSet) -> int:
    return -(-len(detection_set.train) // min(settings.train.batch, len(detection_set.train)))


def _chosen(pulled: list[Lever], only: Sequence[str]) -> list[Lever]:
    known = [lever.key for lever in pulled]
    unknown = [key for key in only if key not in known]
    if unknown:
        raise BadInput(
            f"no lever of this recipe: {', '.join(unknown)}. It pulls {', '.join(known) or 'none: it is stock'}."
        )
    return [lever for lever in pulled if not only or lever.key in only]
