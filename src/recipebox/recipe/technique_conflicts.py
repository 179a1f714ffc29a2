"""Levers that exclude each other or do nothing here, each with its reason. One function a lever."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.averaging_conflicts import average_conflicts, idle_averages
from recipebox.recipe.class_conflicts import idle_class_levers
from recipebox.recipe.distillation_conflicts import distillation_conflicts, idle_distillation
from recipebox.recipe.estimate import Estimate
from recipebox.recipe.head_conflicts import head_conflicts, idle_head
from recipebox.recipe.pixel_conflicts import idle_pixels, pixel_conflicts
from recipebox.recipe.schema import Settings
from recipebox.recipe.stability_conflicts import idle_stability, stability_conflicts
from recipebox.recipe.yaml_nodes import Document


def technique_conflicts(settings: Settings, document: Document, train_images: int | None) -> Iterator[str]:
    """Why these levers cannot act together, not on this network or not in this run; one sentence each."""
    yield from distillation_conflicts(settings, document)
    yield from pixel_conflicts(settings, document)
    yield from average_conflicts(settings, document, train_images)
    yield from stability_conflicts(settings, document)
    yield from head_conflicts(settings, document)


def idle_techniques(settings: Settings, document: Document, estimate: Estimate) -> Iterator[str]:
    """Levers that are legal and do nothing, or not what they seem to; one sentence each."""
    yield from idle_class_levers(settings)
    yield from idle_averages(settings, estimate)
    yield from idle_pixels(settings)
    yield from idle_stability(settings, estimate)
    yield from idle_distillation(settings, document)
    yield from idle_head(settings)
