"""What a plan needs from outside: its data and its initial weights, and what happens when they cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.errors import BadInput, DataError, WeightsError
from recipebox.progress import say

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.recipe.load import LoadedRecipe
    from recipebox.recipe.machine import Machine
    from recipebox.recipe.plan import Plan
    from recipebox.recipe.schema import Settings


class Supplies:
    """Data sets and weights of one job, each found, fetched and checked once.

    Args:
        trust_weights: load weights that nobody vouches for.
        allow_fetch: whether the network may be asked.
    """

    def __init__(self, *, trust_weights: bool = False, allow_fetch: bool = True) -> None:
        self.trust_weights = trust_weights
        self.allow_fetch = allow_fetch
        self._sets: dict[tuple[str, int | None, str], DetectionSet] = {}
        self._weights: dict[tuple[str, str | None], tuple[Path, str]] = {}

    def detection_set(self, settings: Settings) -> DetectionSet:
        """The prepared data set.

        Raises:
            DataError: missing, incomplete or spoiled.
            StorageError: the cache cannot be written.
        """
        from recipebox.data.datasets import prepare

        name, images, errors = key = (settings.data.dataset, settings.data.images, settings.data.errors)
        if key not in self._sets:
            leave_out = errors == "leave_out"
            self._sets[key] = prepare(name, images=images, allow_fetch=self.allow_fetch, leave_out=leave_out)
            for note in self._sets[key].notes:
                say(f"{self._sets[key].name}: {note}")
        return self._sets[key]

    def weights(self, settings: Settings) -> Path | None:
        """The checked file of initial weights; None from scratch.

        Raises:
            WeightsError: missing, corrupted, or unknown and not vouched for.
        """
        found = self._find(settings)
        return found[0] if found else None

    def weights_sha256(self, settings: Settings) -> str | None:
        """The hash of the initial weights; None from scratch. Raises as `weights`."""
        found = self._find(settings)
        return found[1] if found else None

    def _find(self, settings: Settings) -> tuple[Path, str] | None:
        from recipebox.data.archive import file_sha256
        from recipebox.data.weights import find_weights

        key = (settings.model.weights, settings.model.sha256)
        if key[0] == "scratch":
            return None
        if key not in self._weights:
            path = find_weights(key[0], sha256=key[1], trust=self.trust_weights, allow_fetch=self.allow_fetch)
            self._weights[key] = (path, file_sha256(path))
        return self._weights[key]


def probe(device: str | None) -> Machine:
    """This machine, as a plan asks about it.

    Raises:
        PlanConflict: the device that was asked for is not here.
    """
    from recipebox.data.datasets import known
    from recipebox.data.weights import download_bytes, weights_available
    from recipebox.recipe.machine import probe_machine

    return probe_machine(device, known=known, weights_available=weights_available, weights_bytes=download_bytes)


def settled_plan(
    loaded: LoadedRecipe, machine: Machine, supplies: Supplies, profile: str | None, overrides: dict[str, Any]
) -> Plan:
    """The plan with everything it needs at hand: fetched, or replaced by a fallback where the recipe allows it.

    Only what is not there at all falls back. What is there and spoiled is an error: nobody asked to ignore it.

    Raises:
        BadInput: data or weights cannot be had, and the recipe names no fallback.
    """
    from recipebox.recipe.plan import make_plan

    unavailable: set[str] = set()
    while True:
        plan = make_plan(loaded, machine, profile=profile, overrides=overrides, unavailable=frozenset(unavailable))
        missing = _first_missing(plan, machine, supplies)
        if missing is None:
            return plan
        name, error = missing
        if name in unavailable:
            raise error
        say(f"cannot be had: {error}")
        unavailable.add(name)


def _first_missing(plan: Plan, machine: Machine, supplies: Supplies) -> tuple[str, BadInput] | None:
    """The first thing that cannot be had and may fall back, with the reason."""
    for part in (*plan.forerunners(), plan):
        data, model = part.settings.data, part.settings.model
        try:
            supplies.weights(part.settings)
        except WeightsError as error:
            if model.fallback is None or machine.has_weights(model.weights, model.sha256):
                raise
            return model.weights, error
        try:
            supplies.detection_set(part.settings)
        except DataError as error:
            if data.fallback is None or machine.has_dataset(data.dataset):
                raise
            return data.dataset, error
    return None
