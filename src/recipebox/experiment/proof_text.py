"""A proof as a table for people and as a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recipebox.experiment.prove import Effect, Proof
from recipebox.listing import fitted_table
from recipebox.progress import duration

SCHEMA = 1


def proof_document(proof: Proof) -> dict[str, Any]:
    """For --json. What could not be compared is absent."""
    plan = proof.plan
    return {
        "schema": SCHEMA,
        "recipe": plan.name,
        "profile": plan.profile,
        "device": plan.device,
        "dataset": plan.settings.data.dataset,
        "fallbacks": list(plan.fallbacks),
        "teachers": list(proof.teachers),
        "levers": [_effect_document(proof, effect) for effect in proof.effects],
        "passed": not proof.dead,
        "seconds": proof.seconds,
    }


def proof_text(proof: Proof) -> str:
    """For people: what each lever changes, and the dead ones with the reason."""
    plan = proof.plan
    lines = [*plan.fallbacks, *proof.teachers]
    if not proof.effects:
        return "\n".join([*lines, f"{plan.name} pulls no lever: it trains as Ultralytics does."])
    head = ("lever", "is", "without", "epoch", "images", "loss", "gradient", "cosine", "weights", "average", "")
    lines.append(fitted_table([head, *(_row(proof, effect) for effect in proof.effects)]))
    for effect in proof.dead:
        verdict = "no effect" if effect.met else "not met"
        lines.append(f"{verdict}: {effect.lever.key}: {effect.why}. Expected: {effect.lever.expects}.")
    count = len(proof.effects)
    verdict = f"{count - len(proof.dead)} of {count} levers act"
    return "\n".join([*lines, f"{plan.name}: {verdict} ({duration(proof.seconds)})"])


def _effect_document(proof: Proof, effect: Effect) -> dict[str, Any]:
    lever, window = effect.lever, effect.lever.window
    shown: dict[str, Any] = {
        "lever": lever.key,
        "value": setting(proof, lever.key),
        "zero": dict(lever.zero),
        "epoch": window.epoch + 1,
        "batches": window.batches,
        "expects": lever.expects,
        "acts": effect.acts,
    }
    if effect.difference is not None:
        trained = window.batches > 0
        shown["effect"] = effect.difference.document(trained=trained)
        if effect.noise is not None:
            shown |= {
                "noise": effect.noise.document(trained=trained),
                "above_noise": list(effect.difference.above(effect.noise)),
            }
    if not effect.met:
        shown["met"] = False
    return shown | ({"why": effect.why} if effect.why else {})


def setting(proof: Proof, key: str) -> Any:
    """What the plan says at a dotted key."""
    value: Any = proof.plan.settings.model_dump(mode="json")
    for part in key.split("."):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() else [one[part] for one in value]
        else:
            value = value[part]
    return value


def _row(proof: Proof, effect: Effect) -> tuple[str, ...]:
    lever, difference = effect.lever, effect.difference
    numbers: tuple[str, ...] = ("-",) * 6
    if difference is not None:
        shown = (difference.images, difference.loss, difference.gradient)
        trained = lever.window.batches > 0
        numbers = (
            percent(difference.images),
            *(percent(value) if trained else "-" for value in shown[1:]),
            f"{difference.cosine:.4f}" if difference.cosine is not None else "-",
            *(percent(value) if trained else "-" for value in (difference.weights, difference.average)),
        )
    zero = ", ".join(_word(value) for value in without_it(lever.key, lever.zero))
    verdict = "acts" if effect.acts else "NO EFFECT" if effect.met else "NOT MET"
    return (lever.key, _word(setting(proof, lever.key)), zero, str(lever.window.epoch + 1), *numbers, verdict)


def without_it(key: str, zero: Mapping[str, Any]) -> list[Any]:
    """What a table shows of a lever's zero value: its own, or those of all that has to go with it."""
    section, _, last = key.rpartition(".")
    if isinstance(zero.get(section), list) and not last.isdigit():
        return [[one[last] for one in zero[section]]]
    return [zero[key]] if key in zero else list(zero.values())


def percent(value: float) -> str:
    """A share in words; one below 0.1 % shows its magnitude, for it may still be above the noise."""
    if value == 0:
        return "same"
    return f"{100 * value:.1f} %" if value >= 0.001 else f"{100 * value:.0e} %"


def _word(value: Any) -> str:
    text = "stock" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 32 else text[:31] + "…"
