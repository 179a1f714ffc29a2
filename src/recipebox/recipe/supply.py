"""Whether the data and weights that a recipe asks for can be had, and what it says to take instead."""

from __future__ import annotations

from typing import Any

from recipebox.errors import DataError, WeightsError
from recipebox.recipe.load import LoadedRecipe
from recipebox.recipe.machine import KnownDataset, Machine
from recipebox.recipe.plan_record import Pending
from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document, Origin


class Supply:
    """Decides on data, then on weights.

    Attributes:
        forced: (key of the recipe's `fallbacks`, settings that the fallback forces), in order.
        fallbacks: what is taken instead, in words that start with `data:` or `weights:`.
        pending: what has to be fetched.
        warnings: what cannot be had, where that is not refused.
    """

    def __init__(
        self, machine: Machine, loaded: LoadedRecipe, *, unavailable: frozenset[str], require_data: bool
    ) -> None:
        self.machine, self.loaded = machine, loaded
        self.unavailable, self.require_data = unavailable, require_data
        self.forced: list[tuple[str, Document]] = []
        self.fallbacks: list[str] = []
        self.pending: list[Pending] = []
        self.warnings: list[str] = []
        self.data_fallback: str | None = None

    def known(self, name: str, images: int | None) -> KnownDataset:
        """What is known of a data set; a DataError says which line of the recipe asked for it."""
        try:
            return self.machine.known(name, images)
        except DataError as error:
            raise DataError(f"{self.loaded.where('data', 'dataset')}: {error}") from None

    def decide_data(self, settings: Settings) -> None:
        """Here, to be fetched, or replaced; `forced` then says by what."""
        name, fallback = settings.data.dataset, settings.data.fallback
        known = self.known(name, None)
        self._check_fallback(name, fallback)
        if known.available and name not in self.unavailable:
            return
        if name not in self.unavailable and known.download_bytes is not None:
            self.pending.append(Pending("data", name, known.download_bytes, fallback))
            return
        usable = fallback is not None and fallback != name and fallback not in self.unavailable
        if usable and fallback is not None:
            drawn = " (boards that recipebox draws itself, no real ones)" if fallback == "pcb-synthetic" else ""
            self.fallbacks.append(f"data: {name} cannot be had here; {fallback}{drawn} is used instead")
            self.data_fallback = fallback
            self._force(fallback, {"data": {"dataset": fallback}})
            return
        meant = f" (did you mean {known.meant}?)" if known.meant else ""
        self._refuse(
            DataError,
            f"{self.loaded.where('data', 'dataset')}: the data set {name}{meant} is not in $RECIPEBOX_DATA or the "
            "cache and cannot be fetched, and the recipe names no `data.fallback` that can be had. Point "
            f"RECIPEBOX_DATA to the folder that holds it, or prepare it by hand: "
            f"`make data DATASET={name} FROM=archive.tar`.",
        )

    def _check_fallback(self, name: str, fallback: str | None) -> None:
        """Warn of a fallback that will not be there on the day it is needed."""
        if fallback in (None, name):  # a profile may take at once what the recipe falls back to
            return
        where = self.loaded.where("data", "fallback")
        try:
            known = self.machine.known(fallback, None)
        except DataError as error:
            self.warnings.append(f"{where}: `data.fallback: {fallback}` would be of no use: {error}")
            return
        if not known.available and known.download_bytes is None:
            meant = f" Did you mean {known.meant}?" if known.meant else ""
            self.warnings.append(f"{where}: `data.fallback: {fallback}` is not here and cannot be fetched.{meant}")

    def decide_weights(self, settings: Settings) -> None:
        """Here, to be fetched, or replaced; `forced` then says by what."""
        model, machine = settings.model, self.machine
        missing = model.weights in self.unavailable
        if not missing and machine.has_weights(model.weights, model.sha256):
            return
        size = machine.weights_bytes(model.weights)
        if not missing and size is not None:
            self.pending.append(Pending("weights", model.weights, size, model.fallback))
            return
        where = self.loaded.where("model", "weights")
        if model.fallback is not None and model.architecture is not None:
            self.fallbacks.append(f"weights: {model.weights} cannot be had here; training starts from scratch instead")
            scratch = {"weights": "scratch", "arch": model.architecture, "sha256": None}
            self._force("scratch", {"model": scratch})
            return
        way_out = (
            "say `model.arch` beside `fallback: scratch`, since only the file names its architecture"
            if model.fallback is not None
            else "let the recipe start from scratch (`model: {fallback: scratch}`)"
        )
        self._refuse(
            WeightsError,
            f"{where}: the weights {model.weights} are neither a file here nor in $RECIPEBOX_WEIGHTS or the cache, and "
            f"cannot be fetched. Place the file there, or {way_out}.",
        )

    def _refuse(self, error: type[DataError] | type[WeightsError], message: str) -> None:
        if self.require_data:
            raise error(message)
        self.warnings.append(message)

    def _force(self, name: str, value: dict[str, Any]) -> None:
        self.forced.append((name, Document(value, {(): Origin(f"fallback {name}", 0)})))
