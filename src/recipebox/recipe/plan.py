"""From a recipe and a machine to a plan: what will run, with everything applied. Pure; refuses what cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipebox.errors import PlanConflict, RecipeError, RunError
from recipebox.recipe.changes import overrides_document
from recipebox.recipe.class_conflicts import class_conflicts
from recipebox.recipe.conflicts import conflicts, idle_settings
from recipebox.recipe.distillation_conflicts import partly_taught, teacher_conflicts, twin_teachers
from recipebox.recipe.estimate import (
    Estimate,
    ema_decay_reached,
    optimizer_steps,
    prepared_bytes,
    run_bytes,
    steps_averaged,
    steps_per_epoch,
    train_seconds,
)
from recipebox.recipe.load import LoadedRecipe, find_recipe, load_recipe
from recipebox.recipe.machine import KnownDataset, Machine
from recipebox.recipe.plan_record import Change, Pending, Plan, plan_document, plan_from_yaml, plan_to_yaml
from recipebox.recipe.problems import did_you_mean, validated
from recipebox.recipe.schema import Settings
from recipebox.recipe.supply import Supply
from recipebox.recipe.teacher_plans import classes_of, finished_run_plan, inherited, no_recipe_but
from recipebox.recipe.yaml_nodes import Document, Origin, merged

__all__ = [
    "Change",
    "Estimate",
    "Pending",
    "Plan",
    "make_plan",
    "plan_document",
    "plan_from_yaml",
    "plan_to_yaml",
    "technique_order",
]


def make_plan(
    loaded: LoadedRecipe,
    machine: Machine,
    *,
    profile: str | None = None,
    overrides: dict[str, Any] | None = None,
    unavailable: frozenset[str] = frozenset(),
    require_data: bool = True,
    load: Callable[..., LoadedRecipe] = load_recipe,
) -> Plan:
    """Apply profile, fallbacks and `--set` to a recipe, and its teachers', and check that the parts go together.

    Args:
        loaded: the recipe.
        machine: what there is to run it on.
        profile: a profile by name; by default `gpu` or `cpu`, as the machine is, where the recipe has it.
        overrides: what `--set` asks for (`parse_set`).
        unavailable: data sets and weights found impossible to fetch.
        require_data: refuse when data or weights cannot be had; otherwise warn.
        load: reads teacher recipes.

    Raises:
        RecipeError: an unknown profile, a wrong `--set`, a broken teacher recipe.
        PlanConflict: the parts exclude each other; all reasons at once.
        DataError, WeightsError: cannot be had, and the recipe names no fallback.
    """
    request = _Request(machine, profile, unavailable, require_data, load)
    return _plan(loaded, request, overrides or {}, profile, ())


@dataclass(frozen=True)
class _Request:
    machine: Machine
    profile: str | None
    unavailable: frozenset[str]
    require_data: bool
    load: Callable[..., LoadedRecipe]


def _plan(
    loaded: LoadedRecipe, request: _Request, overrides: dict[str, Any], profile: str | None, students: tuple[Path, ...]
) -> Plan:
    layers = _Layers(loaded.document.without("extends", "profiles", "fallbacks"))
    chosen, reason = _choose_profile(loaded, request.machine, profile)
    if chosen is not None:
        layers.lay(loaded.document.below(("profiles", chosen)), f"profile {chosen}")
    asked = overrides_document(overrides)
    supply = Supply(request.machine, loaded, unavailable=request.unavailable, require_data=request.require_data)
    for decide in (supply.decide_data, supply.decide_weights):
        done = len(supply.forced)
        decide(_validated(merged(layers.document, asked)))
        for name, forced in supply.forced[done:]:
            layers.lay(forced, f"fallback {name}")
            layers.lay(loaded.document.below(("fallbacks", name)), f"fallback {name}")
    layers.lay(asked, "--set")
    for name, forced in supply.forced:  # `--set` may ask again for what cannot be had
        layers.lay(forced, f"fallback {name}")
    settings, document = layers.settings, layers.document
    known = supply.known(settings.data.dataset, settings.data.images)
    count = (known.counts or {}).get("train")

    refused = [*conflicts(settings, document, count), *class_conflicts(settings, known.names, document)]
    teachers = tuple(_teachers(loaded, settings, document, request, overrides, students, refused))
    names = _class_names(supply)
    taught = [classes_of(teacher, names) for teacher in teachers]
    for teacher, theirs in zip(teachers, taught, strict=True):
        classes = names(settings.data.dataset), theirs
        refused += teacher_conflicts(settings, teacher, classes, bool(supply.data_fallback), document)
    refused += twin_teachers(teachers, document)
    if refused:
        raise PlanConflict("\n".join(dict.fromkeys(refused)))
    estimate = _estimate(settings, known, supply, request.machine, teachers)
    partly = partly_taught(
        settings, known.names, [(each.name, who) for each, who in zip(teachers, taught, strict=True)]
    )
    warnings = [*supply.warnings, *partly, *idle_settings(settings, document, estimate)]
    warnings += _surroundings(loaded, settings, document)
    if chosen == "gpu" and not request.machine.has_gpu:
        warnings.append("the profile `gpu` is made for a GPU, and this run would use the CPU: see the time above.")
    if 0 < request.machine.free_disk < estimate.disk_bytes:
        free, needed = request.machine.free_disk / 1e6, estimate.disk_bytes / 1e6
        warnings.append(f"about {needed:.0f} MB of disk are needed and {free:.0f} MB are free where runs are written.")
    return Plan(
        name=loaded.name,
        source=str(loaded.path),
        profile=chosen,
        profile_reason=reason,
        device=request.machine.device,
        settings=settings,
        changes=tuple(layers.changes),
        fallbacks=tuple(supply.fallbacks),
        pending=tuple(supply.pending),
        warnings=tuple(warnings),
        teachers=teachers,
        estimate=estimate,
    )


class _Layers:
    """A recipe with one thing after another laid over it; remembers what each changed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.settings = _validated(document)
        self.changes: list[Change] = []

    def lay(self, top: Document, by: str) -> None:
        if not top.value:
            return
        before = self.settings.model_dump(mode="json")
        self.document = merged(self.document, top)
        self.settings = _validated(self.document)
        for path, old, new in _differences(before, self.settings.model_dump(mode="json"), ()):
            self.changes.append(Change(".".join(path), old, new, by))


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in after:
            yield from _differences(before.get(key), after[key], (*path, key))
    elif before != after or type(before) is not type(after):
        yield path, before, after


def _validated(document: Document) -> Settings:
    settings, problems = validated(Settings, document)
    if settings is None:
        raise RecipeError(problems)
    return settings


def _choose_profile(loaded: LoadedRecipe, machine: Machine, asked: str | None) -> tuple[str | None, str]:
    """(profile, why)."""
    known = list(loaded.recipe.profiles)
    if asked:
        if asked not in known:
            origin = loaded.where("profiles")
            raise RecipeError([origin.problem(f"no profile `{asked}` in {loaded.name}{did_you_mean(asked, known)}")])
        return asked, "asked for"
    fitting = "gpu" if machine.has_gpu else "cpu"
    why = f"this machine has {machine.gpu_name or 'a GPU'}" if machine.has_gpu else "no GPU is used here"
    return (fitting, why) if fitting in known else (None, f"{why}, and the recipe has no profile `{fitting}`")


def _teachers(
    loaded: LoadedRecipe,
    settings: Settings,
    document: Document,
    request: _Request,
    overrides: dict[str, Any],
    students: tuple[Path, ...],
    refused: list[str],
) -> Iterator[Plan]:
    """The plans of the teachers; conflicts found there are added to `refused`."""
    distillation = settings.techniques.distillation
    if distillation is None:
        return
    line = (*students, loaded.path.resolve())
    origin = document.origin(("techniques", "distillation", "teachers"))
    beside = _beside(origin, loaded)
    for teacher in distillation.teachers:
        if teacher.recipe is None:
            try:
                yield finished_run_plan(teacher.run or "", beside)
            except RunError as error:
                raise RecipeError([origin.problem(f"teacher {error}")]) from None
            continue
        try:
            recipe = request.load(teacher.recipe, beside=beside)
        except RecipeError as error:
            instead = no_recipe_but(teacher.recipe, beside)
            words = [instead] if instead else error.problems
            raise RecipeError([origin.problem(f"teacher {teacher.recipe}: {each}") for each in words]) from None
        if recipe.path.resolve() in line:
            circle = " -> ".join([*(path.stem for path in line), recipe.name])
            refused.append(
                f"{origin}: teachers go in a circle: {circle}. A teacher has to be trained before its student."
            )
            continue
        profile = request.profile if request.profile in recipe.recipe.profiles else None
        try:
            yield _plan(recipe, request, inherited(overrides, loaded, recipe), profile, line)
        except PlanConflict as error:
            refused += [f"teacher {recipe.name}: {reason}" for reason in str(error).splitlines()]


def _beside(origin: Origin, loaded: LoadedRecipe) -> Path:
    """The folder that a name written at `origin` counts from: of the file it stands in, also where that is extended."""
    return Path(origin.file).parent if origin.line else loaded.path.parent


def _class_names(supply: Supply) -> Callable[[str], tuple[str, ...] | None]:
    return lambda dataset: supply.known(dataset, None).names


def _surroundings(loaded: LoadedRecipe, settings: Settings, document: Document) -> Iterator[str]:
    """Names in the recipe that lead nowhere."""
    for name in settings.evaluate.compare:
        try:
            find_recipe(name, _beside(document.origin(("evaluate", "compare")), loaded))
        except RecipeError as error:
            yield f"`evaluate.compare`: {error}"
    possible = {"scratch", settings.data.fallback, settings.data.dataset}
    for name in loaded.recipe.fallbacks:
        if name not in possible:
            where = loaded.where("fallbacks", name)
            yield f"{where}: `fallbacks.{name}` is never taken: `data.fallback` names another."


def _estimate(
    settings: Settings, known: KnownDataset, supply: Supply, machine: Machine, teachers: tuple[Plan, ...]
) -> Estimate:
    counts = dict(known.counts or {})
    images, validation = counts.get("train"), counts.get("val", 0)
    fetched = sum(pending.download_bytes or 0 for pending in supply.pending)
    disk = run_bytes(settings) + prepared_bytes(sum(counts.values()), known.download_bytes)
    if not images:
        return Estimate(None, None, None, None, disk, fetched, None)
    train = settings.train
    batches = steps_per_epoch(images, train.batch)
    steps = optimizer_steps(batches, train.epochs, train.batch, train.nbs, train.warmup_epochs)
    seconds = None
    if not machine.has_gpu:
        teaching = tuple(teacher.settings for teacher in teachers)
        seconds = train_seconds(settings, images, validation, machine.cpu_count, teaching)
    decay = ema_decay_reached(settings.techniques.ema, steps_averaged(settings, batches, steps))
    return Estimate(images, batches, steps, decay, disk, fetched, seconds, validation)


def technique_order(settings: Settings) -> tuple[str, ...]:
    """The techniques in force, in the order they act: network, images, targets, then added losses, then weights."""
    techniques = settings.techniques
    present = {
        "anchor_head": techniques.anchor_head is not None,
        "p2": techniques.p2,
        "assigner": techniques.assigner is not None,
        "border": settings.augment.border != "grey",
        "progressive": techniques.progressive is not None,
        "late": techniques.late is not None,
        "sampling": techniques.sampling is not None,
        "label_smoothing": techniques.label_smoothing is not None,
        "class_weights": techniques.class_weights is not None,
        "distillation": techniques.distillation is not None,
        "clipping": techniques.clipping is not None,
        "ema": techniques.ema is not None,
        "swa": techniques.swa is not None,
    }
    return tuple(name for name, there in present.items() if there)
