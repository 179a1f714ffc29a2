"""What a plan takes for its teachers: their part of `--set`, and finished runs that teach as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipebox.errors import RunError
from recipebox.recipe.load import LoadedRecipe
from recipebox.recipe.plan_record import Plan, plan_from_yaml
from recipebox.recipe.yaml_nodes import KeyPath
from recipebox.run_dir import RunDir, is_run

INHERITED_BY_TEACHERS: tuple[KeyPath, ...] = (("data",), ("train", "imgsz"), ("train", "seed"))
"""What `--set` changes for teachers too, so that teacher and student see the same images."""


def inherited(overrides: dict[str, Any], student: LoadedRecipe, teacher: LoadedRecipe) -> dict[str, Any]:
    """The part of `--set` that holds for teachers too.

    Seeds keep their distance: teachers that differ by their seed alone are to be different teachers under any seed.
    """
    result: dict[str, Any] = {}
    for section, *rest in INHERITED_BY_TEACHERS:
        value = overrides.get(str(section))
        if not rest and value is not None:
            result[str(section)] = value
        elif rest and isinstance(value, dict) and rest[0] in value:
            result.setdefault(str(section), {})[rest[0]] = value[rest[0]]
    seed = result.get("train", {}).get("seed")
    if isinstance(seed, int):
        result["train"]["seed"] = (seed + teacher.recipe.train.seed - student.recipe.train.seed) % 2**31
    return result


def finished_run_plan(folder: str, beside: Path) -> Plan:
    """The plan of a run that teaches as it is, with the run's folder in it.

    Args:
        folder: as the recipe names it; a relative path counts from `beside` first, then from here.

    Raises:
        RunError: no run, not finished, or its plan cannot be read.
    """
    named = os.path.expanduser(folder)
    run = next((RunDir.open(start / named) for start in (beside, Path()) if is_run(start / named)), None)
    if run is None:
        raise RunError(f"{folder}: not a run folder. `recipebox runs` lists the runs there are.")
    state, reason = run.state()
    if state != "finished":
        raise RunError(f"{folder}: this run is {state}{f' ({reason})' if reason else ''}; only a finished one teaches.")
    try:
        plan = plan_from_yaml(run.plan.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{run.plan}: cannot be read ({error}).") from None
    return replace(plan, run=str(run.root.resolve()), pending=(), warnings=(), fallbacks=())


def no_recipe_but(named: str, beside: Path) -> str | None:
    """What to say where something else that could teach was given as a teacher's `recipe`; None where it was not."""
    if any(is_run(start / named) for start in (beside, Path())):
        return "that is the folder of a run: say `run` in place of `recipe`"
    if named.endswith(".pt"):
        return (
            "weights alone do not say at which size and on which data they were trained: name the run that made them "
            "(`run: FOLDER`), or a recipe that trains from them"
        )
    return None


def classes_of(teacher: Plan, names: Callable[[str], tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """The classes that a teacher knows: of a finished run those that it was measured on, whatever its data set has by
    now; None where they are not known.

    Args:
        names: data set -> its class names, None where they are not known.
    """
    if teacher.run is None:
        return names(teacher.settings.data.dataset)
    try:
        return tuple(str(name) for name in RunDir(Path(teacher.run)).read_result("evaluate")["names"])
    except (RunError, KeyError, TypeError):
        return None
