"""The arms of a sweep: every combination of the settings that are swept over, each with every seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from recipebox.data.check import check_images, set_sha256
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import BadInput, RecipeError
from recipebox.recipe.changes import assignment, parse_set
from recipebox.recipe.load import LoadedRecipe
from recipebox.recipe.lock import deciding_plan
from recipebox.recipe.machine import Machine
from recipebox.recipe.plan import Change, Plan, make_plan, technique_order
from recipebox.recipe.yaml_nodes import yaml_scalar_or_tree
from recipebox.supplies import Supplies, settled_plan
from recipebox.techniques.build import check_data

SEED = "train.seed"
_LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Arm:
    """One combination: dotted setting -> value, and the plan that it gives, still with the recipe's seed."""

    values: Mapping[str, Any]
    plan: Plan

    @property
    def label(self) -> str:
        """The values, each under as much of its key's end as tells it from the other keys."""
        return (
            ", ".join(f"{_short(key, self.values)}={word(value)}" for key, value in self.values.items()) or "as it is"
        )

    def seeded(self, seed: int) -> Plan:
        """The plan with another seed. Teachers keep theirs: one teacher for all, so that the student is compared."""
        settings = self.plan.settings
        if settings.train.seed == seed:
            return self.plan
        train = settings.train.model_copy(update={"seed": seed})
        change = Change(SEED, settings.train.seed, seed, "--seeds")
        settings = settings.model_copy(update={"train": train})
        return replace(self.plan, settings=settings, changes=(*self.plan.changes, change))


def parse_over(items: Sequence[str], changes: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """`["train.lr0=0.01,0.02"]` as `{"train.lr0": [0.01, 0.02]}`, and what is wrong, in words.

    Values are YAML, as with `--set`: `off`, `null`, `[a, b]`. A key that is wrong is left out, for every arm would tell
    it again; the values of the others can be checked all the same.

    Args:
        changes: what `--set` says; a key cannot be in both.
    """
    over: dict[str, list[Any]] = {}
    problems: list[str] = []
    fixed = [change.partition("=")[0].strip() for change in changes]
    for item in items:
        key, separator, text = item.partition("=")
        key = key.strip()
        try:
            if not separator or not key or not text.strip():
                raise ValueError(f"{item!r} is not KEY=V1,V2, such as train.lr0=0.005,0.01")
            values = yaml_scalar_or_tree(f"[{text}]")
            _refuse(key, values, [*over, *fixed])
            parse_set([assignment(key, values[0])])
        except ValueError as error:
            problems.append(f"--over {key}: {error}")
        except RecipeError as error:
            problems += [f"--over {key}: {problem.message}" for problem in error.problems]
        else:
            over[key] = values
    return over, list(dict.fromkeys(problems))


def _refuse(key: str, values: list[Any], taken: Sequence[str]) -> None:
    """Raises ValueError."""
    if key == SEED:
        raise ValueError("seeds are given by --seeds")
    for other in taken:
        if key == other or key.startswith(f"{other}.") or other.startswith(f"{key}."):
            raise ValueError(f"is given twice: `{other}` is set already")
    plain = [json.dumps(value, sort_keys=True) for value in values]
    if len(set(plain)) < len(plain):
        raise ValueError("has a value twice")


def parse_seeds(text: str | None) -> tuple[list[int], list[str]]:
    """`"1,2,3"` as numbers, and what is wrong, in words. Empty where nothing is given."""
    if text is None:
        return [], []
    parts = [part.strip() for part in text.split(",")]
    good = [int(part) for part in parts if part.isascii() and part.isdigit() and int(part) <= _LARGEST_SEED]
    problems = []
    if len(good) < len(parts):
        problems.append(f"--seeds {text}: whole numbers from 0 to {_LARGEST_SEED} with commas between, such as 1,2,3")
    elif len(set(good)) < len(good):
        problems.append(f"--seeds {text}: a seed is there twice; it would be the same run")
    return good, problems


def plan_arms(
    loaded: LoadedRecipe,
    machine: Machine,
    supplies: Supplies,
    *,
    over: Mapping[str, Sequence[Any]],
    profile: str | None,
    changes: Sequence[str],
    problems: Sequence[str] = (),
) -> list[Arm]:
    """The arms in order: the last key changes fastest, the first combination is what the others are compared with.

    Args:
        problems: what was found wrong before; told together with what is wrong with the arms.

    Raises:
        BadInput: everything that is wrong with any of them, before anything is trained; what can be said without the
            data before anything is fetched, too.
    """
    found = list(problems)
    combinations = [dict(zip(over, values, strict=True)) for values in product(*over.values())]
    planned: list[tuple[Arm, dict[str, Any]]] = []
    for values in combinations:
        try:
            overrides = parse_set([*changes, *(assignment(key, value) for key, value in values.items())])
            planned.append((Arm(values, make_plan(loaded, machine, profile=profile, overrides=overrides)), overrides))
        except BadInput as error:
            found += [_as_over(line, values) for line in str(error).splitlines()]
    _refuse_all([*found, *_twins([arm for arm, _ in planned])])
    arms = [Arm(arm.values, settled_plan(loaded, machine, supplies, profile, overrides)) for arm, overrides in planned]
    # What could not be had may have fallen back to what another arm has.
    _refuse_all([*_twins(arms), *_tested_on_others(arms, supplies), *_refused_by_data(arms, supplies)])
    return arms


def _refuse_all(problems: Iterable[str]) -> None:
    """Raises BadInput with all of them, where there is one."""
    if found := list(dict.fromkeys(problems)):
        raise BadInput("\n".join(found))


def _twins(arms: Sequence[Arm]) -> Iterator[str]:
    """Arms with equal locks: the second would find the first one's runs, and their difference would surely be 0."""
    seen: dict[str, Arm] = {}
    for arm in arms:
        decides = json.dumps(deciding_plan(arm.plan), sort_keys=True)
        if decides in seen:
            yield (
                f"--over: {_told(arm.values)} and {_told(seen[decides].values)} are the same run: no weight depends on "
                "what differs, and a sweep compares what was trained. Take one of them out."
            )
        seen.setdefault(decides, arm)


def _tested_on_others(arms: Sequence[Arm], supplies: Supplies) -> Iterator[str]:
    """Arms whose runs would be measured on other images than the first arm's."""
    first, *others = arms
    ours = supplies.detection_set(first.plan.settings)
    digest = _test_sha256(ours)
    for arm in others:
        theirs = supplies.detection_set(arm.plan.settings)
        if theirs.sha256 != ours.sha256 and _test_sha256(theirs) != digest:
            yield (
                f"--over: {_told(arm.values)} has other test images ({len(theirs.test)}) than {_told(first.values)} "
                f"({len(ours.test)}), so their accuracies do not compare. Sweep over what is trained on; of a set that "
                "is not drawn, `data.images` takes a part of the training images alone."
            )


def _test_sha256(detection_set: DetectionSet) -> str:
    """The hash of class names, test images and their boxes, wherever the files are."""
    splits = (detection_set.train, detection_set.val, detection_set.test)
    # All images, so that they are looked up under the name that preparing them left.
    checked = check_images([path for split in splits for path in split.images])
    return set_sha256(detection_set.names, [("test", detection_set.test)], checked)


def _refused_by_data(arms: Sequence[Arm], supplies: Supplies) -> Iterator[str]:
    """What training would refuse once it sees the data, the teachers' trainings included."""
    for arm in arms:
        for plan in (*arm.plan.forerunners(), arm.plan):
            try:
                check_data(plan.settings, technique_order(plan.settings), supplies.detection_set(plan.settings))
            except BadInput as error:
                whose = "" if plan is arm.plan else f"teacher {plan.name}: "
                yield f"--over {_told(arm.values)}: {whose}{error}" if arm.values else f"{whose}{error}"


def _short(key: str, keys: Iterable[str]) -> str:
    parts = key.split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
    return next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1)


def _as_over(problem: str, keys: Mapping[str, Any]) -> str:
    """A problem that names `--set` for a setting that --over has given."""
    for key in keys:
        problem = problem.replace(f"--set {key}", f"--over {key}")
    return problem


def word(value: Any) -> str:
    """A value as people write it."""
    return "off" if value is False else value if isinstance(value, str) else json.dumps(value)


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={word(value)}" for key, value in values.items())
