"""Every recipe stands in the README's table, and the table names no recipe that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_lists_the_recipes_there_are() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Recipes\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| \[`([\w-]+)`\]\(recipes/([\w-]+)\.yaml\) \|", section, flags=re.M)
    assert all(name == file for name, file in listed)
    assert sorted(name for name, _ in listed) == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
