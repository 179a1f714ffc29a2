"""What `--set` asks of a recipe: keys that are known, values that are YAML, problems that name the option."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipebox.errors import Problem, RecipeError
from recipebox.recipe.load import LoadedRecipe, load_recipe
from recipebox.recipe.problems import dotted, keys_at, nearest, takes_names, unknown_key, validated
from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document, KeyPath, Origin, UnplacedProblem, merged, yaml_scalar_or_tree


def load_changed(name_or_path: str | Path, changes: Iterable[str]) -> tuple[LoadedRecipe, dict[str, Any]]:
    """A recipe, and what `--set` asks of it; what is wrong with either is told together.

    Raises:
        RecipeError: as `load_recipe` and `parse_set` do.
    """
    overrides, problems = _parsed(changes)
    try:
        loaded = load_recipe(name_or_path)
    except RecipeError as error:
        raise RecipeError([*error.problems, *problems]) from None
    if problems:
        raise RecipeError([*problems, *_refused(loaded, overrides)])
    return loaded, overrides


def _refused(loaded: LoadedRecipe, overrides: dict[str, Any]) -> list[Problem]:
    """What no profile of the recipe lets pass of that which could be read: a plan, which would tell it, is not made."""
    asked = overrides_document(overrides)
    each = [validated(Settings, merged(variant, asked))[1] for variant in loaded.variants()]
    return [one for one in each[0] if one.file.startswith("--set") and all(one in others for others in each)]


def parse_set(items: Iterable[str]) -> dict[str, Any]:
    """`["train.epochs=3"]` as `{"train": {"epochs": 3}}`. Values are YAML: `off`, `null`, `[a, b]`, `1e-3`.

    Raises:
        RecipeError: not `key=value`, no such key (the nearest is named), a value that is no YAML, a key given twice
            with another key below it.
    """
    result, problems = _parsed(items)
    if problems:
        raise RecipeError(problems)
    return result


def _parsed(items: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """As `parse_set`, with what is wrong beside what is right."""
    result: dict[str, Any] = {}
    problems: list[Problem] = []
    for item in items:
        key, separator, text = item.partition("=")
        place = f"--set {key.strip()}" if key.strip() else "--set"
        try:
            if not separator or not key.strip():
                raise ValueError(f"{item!r} is not `key=value`, such as train.epochs=3")
            path = _known_path(key.strip())
            value = yaml_scalar_or_tree(text)
            node = result
            for part in path[:-1]:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):
                    raise ValueError(f"`{part}` is set to a value by another --set")
            if isinstance(value, dict) and isinstance(node.get(path[-1]), dict):
                node[path[-1]] = merged(Document(node[path[-1]]), Document(value)).value
            else:
                node[path[-1]] = value
        except ValueError as error:
            problems.append(UnplacedProblem(place, 0, str(error)))
    return result, problems


def assignment(key: str, value: Any) -> str:
    """A setting as `--set` takes it; `parse_set` gives the value back."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _known_path(key: str) -> list[str]:
    """Raises ValueError when no such setting exists."""
    path = key.split(".")
    for end in range(1, len(path) + 1):
        known = keys_at(tuple(path[: end - 1]))
        if known is None and end == len(path) and takes_names(tuple(path[:-1])):
            break
        if known is None:
            raise ValueError(f"`{dotted(tuple(path[: end - 1]))}` is a value, not a section")
        if path[end - 1] not in known:
            if end == 1 and len(path) == 1:
                raise ValueError(unknown_key((path[0],)))
            close = nearest(path[end - 1], known)
            if close is not None:
                mended = ".".join([*path[: end - 1], close, *path[end:]])
                raise ValueError(f"`{key}` is not a setting; did you mean `{mended}`?")
            raise ValueError(unknown_key(tuple(path[:end])))
    return path


def overrides_document(overrides: dict[str, Any]) -> Document:
    """What `--set` asks for as a document whose problems name the option."""
    origins: dict[KeyPath, Origin] = {(): Origin("--set", 0)}

    def walk(value: Any, path: KeyPath) -> None:
        if path:
            origins[path] = Origin(f"--set {dotted(path)}", 0)
        if isinstance(value, dict):
            for key, below in value.items():
                walk(below, (*path, key))

    walk(overrides, ())
    return Document(copy.deepcopy(overrides), origins)
