"""The levers of a plan in plain text."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Distillation, Ema


def describe_techniques(settings: Settings) -> Iterator[str]:
    """The levers in force, a few words each."""
    techniques = settings.techniques
    if techniques.distillation is not None:
        yield f"distillation from {', '.join(each.recipe for each in techniques.distillation.teachers)} " + ", ".join(
            _terms(techniques.distillation)
        )
    if techniques.ema is False:
        yield "EMA off"
    elif isinstance(techniques.ema, Ema):
        yield f"EMA decay {techniques.ema.decay:g} tau {techniques.ema.tau:g}"


def _terms(distillation: Distillation) -> Iterator[str]:
    for name, term in (("logits", distillation.logits), ("box", distillation.box)):
        if term is not None:
            end = f" to {term.weight_end:g}" if term.weight_end is not None else ""
            yield f"{name} ({term.loss}, temperature {term.temperature:g}, weight {term.weight:g}{end})"
