"""Every lever of every recipe that ships acts, in the recipe's smoke profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recipebox.experiment.levers import levers
from recipebox.experiment.proof_text import proof_text
from recipebox.experiment.prove import prove
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import Plan
from recipebox.supplies import Supplies, probe, settled_plan

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


def smoke(path: Path, supplies: Supplies) -> Plan:
    return settled_plan(load_recipe(path), probe("cpu"), supplies, "smoke", {})


def pulled(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """Every lever with what decides it: its value and that of its zero."""
    plain = plan.settings.model_dump(mode="json")
    found = {}
    for lever in levers(plan.settings, 6):
        value: Any = plain
        for part in lever.key.split("."):
            value = value[part]
        found[lever.key] = (value, dict(lever.zero))
    return found


LONG = {"pcb-baseline", "pcb-swa", "pcb-distill-ensemble"}
"""Ten to twenty seconds each; what they pull is pulled by smaller recipes in test_prove.py."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in RECIPES],
)
def test_the_levers_of_every_recipe_act(path: Path, supplies: Supplies) -> None:
    """Those that a recipe only inherits, with the same value, are proven with the recipe that it extends."""
    loaded = load_recipe(path)
    plan = smoke(path, supplies)
    own = pulled(plan)
    if loaded.recipe.extends is not None:
        inherited = pulled(smoke(path.parent / f"{loaded.recipe.extends}.yaml", supplies))
        own = {key: value for key, value in own.items() if inherited.get(key) != value}
    if own:
        proof = prove(plan, supplies, only=list(own))
        assert proof.exit_code == 0, proof_text(proof)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_all_levers_of_every_recipe_act_together(path: Path, supplies: Supplies) -> None:
    proof = prove(smoke(path, supplies), supplies)
    assert proof.exit_code == 0, proof_text(proof)
