"""A plan as data, and as the plan.yaml of a run folder: what was decided, readable and read back exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from recipebox.errors import RunError
from recipebox.recipe.estimate import Estimate
from recipebox.recipe.schema import Settings

SCHEMA = 1


@dataclass(frozen=True)
class Change:
    """A setting that something other than the recipe changed. Values are plain (None: not set)."""

    path: str
    before: Any
    after: Any
    by: str


@dataclass(frozen=True)
class Pending:
    """Something that is not on this machine and has to be fetched first; `fallback` is taken if that fails."""

    kind: Literal["data", "weights"]
    name: str
    download_bytes: int | None
    fallback: str | None


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run, and how it came about.

    Attributes:
        name: the recipe's name, which is also its folder of runs.
        source: the recipe file.
        profile: the profile in force; None when the recipe has none that fits.
        profile_reason: why this one.
        device: `cpu` or `cuda:N`.
        settings: the recipe with profile, fallbacks and `--set` applied.
        changes: every setting they changed, in that order.
        fallbacks: what was taken in place of what cannot be had, one sentence each. To be said loudly.
        pending: what must be fetched before this plan can run.
        warnings: what is legal but does nothing, or may go wrong.
        teachers: the plans of the teachers, which run first.
        estimate: this run alone, without its teachers.
        run: of a teacher, the folder of the finished run that teaches as it is; None: its lock finds or makes one.
    """

    name: str
    source: str
    profile: str | None
    profile_reason: str
    device: str
    settings: Settings
    changes: tuple[Change, ...]
    fallbacks: tuple[str, ...]
    pending: tuple[Pending, ...]
    warnings: tuple[str, ...]
    teachers: tuple[Plan, ...]
    estimate: Estimate
    run: str | None = None

    def forerunners(self) -> Iterator[Plan]:
        """The plans that run before this one, in the order they run: before a teacher its own teachers."""
        for teacher in self.teachers:
            if teacher.run is None:
                yield from teacher.forerunners()
                yield teacher


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "source": plan.source,
        "profile": plan.profile,
        "profile_reason": plan.profile_reason,
        "device": plan.device,
        "settings": plan.settings.model_dump(mode="json"),
        "changes": [asdict(change) for change in plan.changes],
        "fallbacks": list(plan.fallbacks),
        "pending": [asdict(pending) for pending in plan.pending],
        "warnings": list(plan.warnings),
        "teachers": [plan_document(teacher) for teacher in plan.teachers],
        "estimate": asdict(plan.estimate),
        **({} if plan.run is None else {"run": plan.run}),
    }


def plan_to_yaml(plan: Plan) -> str:
    """The text of plan.yaml; `plan_from_yaml` gives the same plan back, to the last digit."""
    return yaml.dump(plan_document(plan), Dumper=_Dumper, sort_keys=False, width=120)


def plan_from_yaml(text: str) -> Plan:
    """Read a plan that `plan_to_yaml` wrote.

    Raises:
        RunError: it is no plan, or one of a version of recipebox with other settings.
    """
    try:
        return _plan(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise RunError(f"the plan is not valid YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"the plan was written by another version of recipebox: {place}: {first['msg']}") from None
    except KeyError as error:
        raise RunError(f"not a whole plan: it has no {error}") from None
    except RecursionError:
        raise RunError("not a plan: it is nested too deeply") from None
    except ValueError as error:
        raise RunError(f"not a plan: {error}") from None
    except (TypeError, AttributeError):
        raise RunError("not a plan: it is empty, or not built as one") from None


class _Dumper(yaml.SafeDumper):
    """No anchors: a value that occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plan(document: dict[str, Any]) -> Plan:
    if document["schema"] != SCHEMA:
        raise ValueError(f"it has schema {str(document['schema'])[:40]}, and this recipebox reads {SCHEMA}")
    return Plan(
        name=str(document["name"]),
        source=str(document["source"]),
        profile=document["profile"],
        profile_reason=str(document["profile_reason"]),
        device=str(document["device"]),
        settings=Settings.model_validate_json(json.dumps(document["settings"]), strict=True),
        changes=tuple(Change(**change) for change in document["changes"]),
        fallbacks=tuple(document["fallbacks"]),
        pending=tuple(Pending(**pending) for pending in document["pending"]),
        warnings=tuple(document["warnings"]),
        teachers=tuple(_plan(teacher) for teacher in document["teachers"]),
        estimate=Estimate(**document["estimate"]),
        run=document.get("run"),
    )
