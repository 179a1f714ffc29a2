"""The script that makes the page of proofs asks for levers that there are."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from recipebox.experiment.levers import levers
from recipebox.recipe.changes import parse_set
from recipebox.recipe.load import load_recipe
from recipebox.supplies import Supplies, probe, settled_plan

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(REPOSITORY / "scripts" / "proof_table.py"))


@pytest.mark.parametrize(
    ("recipe", "key", "settings"), TABLE["OTHER_SETTINGS"], ids=lambda part: "".join(part) if part else None
)
def test_settings_beside_the_recipes_pull_the_lever_that_is_asked_for(
    recipe: str, key: str, settings: tuple[str, ...], supplies: Supplies
) -> None:
    loaded = load_recipe(REPOSITORY / "recipes" / f"{recipe}.yaml")
    plan = settled_plan(loaded, probe("cpu"), supplies, "smoke", parse_set(list(settings)))
    assert key in {lever.key for lever in levers(plan.settings, 6)}


def test_a_row_shows_what_was_not_compared_as_a_dash() -> None:
    lever = {"lever": "train.nbs", "value": 16, "zero": {"train.nbs": 64}, "epoch": 2, "acts": False}
    assert TABLE["row"]("r", lever, ()) == "| `train.nbs` | r | `16` | `64` | 2 | - | - | - | - | - | - | NO EFFECT |"
