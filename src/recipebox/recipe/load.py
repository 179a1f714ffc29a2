"""Recipe files: found, read, extended and checked. Every problem of a recipe is said at once, with file and line."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipebox.errors import Problem, RecipeError
from recipebox.recipe.problems import did_you_mean, validated
from recipebox.recipe.schema import Recipe, Settings
from recipebox.recipe.yaml_nodes import (
    MAX_BYTES,
    Document,
    KeyPath,
    Origin,
    UnplacedProblem,
    merged,
    parse_yaml,
)

MAX_EXTENDS = 3
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_SUFFIXES = (".yaml", ".yml")
_NOT_SETTINGS = ("extends", "profiles", "fallbacks")


@dataclass(frozen=True)
class LoadedRecipe:
    """A checked recipe: it, and each of its profiles and fallbacks laid over it, is valid.

    `raw` is the recipe with what it extends, as plain values; `lines` says where each of its keys was written;
    `sha256` covers the bytes of the file and of every file it extends.
    """

    name: str
    path: Path
    sha256: str
    recipe: Recipe
    raw: dict[str, Any]
    lines: dict[KeyPath, Origin] = field(repr=False)

    @property
    def document(self) -> Document:
        """`raw` and `lines` together."""
        return Document(self.raw, self.lines)

    def variants(self) -> list[Document]:
        """Its settings alone and under each profile, with and without each fallback's settings."""
        return [self.document.without(*_NOT_SETTINGS), *_variants(self.document)]

    def where(self, *path: str | int) -> Origin:
        """Where a key was written; the section around it when it was not."""
        return self.document.origin(path)


def recipe_folders(beside: Path | None = None) -> list[Path]:
    """Where recipes are looked for by name: beside the recipe that names them, ./recipes, and those that ship."""
    package = Path(__file__).resolve().parents[1]
    places = [beside] if beside else []
    places += [Path("recipes"), package.parents[1] / "recipes", Path(sys.prefix) / "share" / "recipebox" / "recipes"]
    unique = {place.absolute(): place for place in reversed(places) if place.is_dir()}
    return list(reversed(unique.values()))


def find_recipes(beside: Path | None = None) -> list[Path]:
    """Every recipe file that can be called by its name, by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in recipe_folders(beside):
        for path in sorted(folder.iterdir()):
            if path.suffix in _SUFFIXES and path.is_file():
                found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]


def find_recipe(name_or_path: str, beside: Path | None = None) -> Path:
    """The file that a name or a path means. A relative path counts from `beside` first, then from here.

    Raises:
        RecipeError: there is none; the message names the nearest one.
    """
    if "/" in name_or_path or os.sep in name_or_path or name_or_path.endswith(_SUFFIXES):
        for start in [beside, Path()] if beside else [Path()]:
            path = start / os.path.expanduser(name_or_path)
            if os.path.isfile(path):
                return path
        raise RecipeError([UnplacedProblem(name_or_path, 0, _no_recipe("no such recipe file", name_or_path, beside))])
    for path in find_recipes(beside):
        if path.stem == name_or_path:
            return path
    raise RecipeError([UnplacedProblem(name_or_path or "''", 0, _no_recipe("no such recipe", name_or_path, beside))])


def load_recipe(name_or_path: str | Path, *, beside: Path | None = None) -> LoadedRecipe:
    """Read a recipe, what it extends, and check it with each of its profiles and fallbacks.

    Raises:
        RecipeError: every problem there is, each with file and line.
    """
    path = find_recipe(str(name_or_path), beside)
    problems: list[Problem] = []
    digest = hashlib.sha256()
    document = _read_chain(path, problems, digest)
    if not _NAME.match(path.stem) or len(path.stem) > 80:
        words = "a recipe's file name is its run folder too: letters, digits, . _ -, at most 80"
        problems.append(UnplacedProblem(_shown(path), 0, words))
    if document is None:
        raise RecipeError(problems)
    recipe, found = validated(Recipe, document)
    for variant in _variants(document):
        found += validated(Settings, variant)[1]
    # A line that could not be read holds a stand-in; what is wrong with that is no news.
    unreadable = {(problem.file, problem.line) for problem in problems}
    problems += [problem for problem in found if (problem.file, problem.line) not in unreadable]
    if problems or recipe is None:
        # One mistake shows in every profile that does not cover it; it is said once.
        raise RecipeError(sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.message)))
    return LoadedRecipe(path.stem, path, digest.hexdigest(), recipe, document.value, document.origins)


def _variants(document: Document) -> Iterator[Document]:
    """The settings of a recipe under each profile, with and without each fallback's settings."""
    base = document.without(*_NOT_SETTINGS)
    profiles = [document.below(("profiles", name)) for name in _names(document, "profiles")]
    fallbacks = [document.below(("fallbacks", name)) for name in _names(document, "fallbacks")]
    for profile in [None, *profiles]:
        layered = merged(base, profile) if profile else base
        if profile:
            yield layered
        for fallback in fallbacks:
            yield merged(layered, fallback)


def _names(document: Document, section: str) -> list[str]:
    value = document.value.get(section)
    return [name for name, below in value.items() if isinstance(below, dict)] if isinstance(value, dict) else []


def _read_chain(path: Path, problems: list[Problem], digest: Any) -> Document | None:
    """The recipe at `path` laid over what it extends; None when nothing can be checked for want of a file."""
    layers: list[Document] = []
    seen: list[Path] = []
    while True:
        document = _read(path, problems, digest)
        if document is None:
            return None
        layers.append(document)
        seen.append(path.resolve())
        extends = document.value.get("extends")
        if not isinstance(extends, str) or not extends:
            break
        origin = document.origin(("extends",))
        try:
            base = find_recipe(extends, path.parent)
        except RecipeError as error:
            problems.append(origin.problem(f"`extends`: {error.problems[0]}"))
            return None
        if base.resolve() in seen:
            chain = " -> ".join(each.stem for each in [*seen, base])
            problems.append(origin.problem(f"`extends` goes in a circle: {chain}"))
            return None
        if len(seen) > MAX_EXTENDS:
            problems.append(origin.problem(f"`extends` is {MAX_EXTENDS + 1} files deep; at most {MAX_EXTENDS}"))
            return None
        path = base
    result = layers.pop()
    while layers:
        own = layers.pop()
        result = merged(result, own)
        result.origins[()] = own.origin(())
    return result


def _read(path: Path, problems: list[Problem], digest: Any) -> Document | None:
    """One file as a document, without what it extends."""
    shown = _shown(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(UnplacedProblem(shown, 0, f"cannot be read: {error.strerror or error}"))
        return None
    digest.update(len(content).to_bytes(8, "big") + content)
    if len(content) > MAX_BYTES:
        problems.append(UnplacedProblem(shown, 0, f"larger than {MAX_BYTES // 1000} kB; this is no recipe"))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(shown, line, "not UTF-8 text; save the file as UTF-8"))
        return None
    value, origins, found = parse_yaml(text, shown)
    problems += found
    if not isinstance(value, dict):
        if not found:
            words = "is empty" if value is None else "holds no `key: value` sections"
            problems.append(Problem(shown, 1, f"the recipe {words}; `recipebox recipes` lists recipes to start from"))
        return None
    return Document(value, origins)


def _shown(path: Path) -> str:
    """A path as people would type it: relative to here when it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _no_recipe(what: str, name: str, beside: Path | None) -> str:
    names = [path.stem for path in find_recipes(beside)]
    return f"{what}{did_you_mean(Path(name).stem, names) or '; there are none in ./recipes'}"


def recipe_json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, for editors. Profiles and fallbacks are described as partial settings."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    settings = {key: value for key, value in schema["properties"].items() if key not in _NOT_SETTINGS}
    settings_schema = {"type": "object", "additionalProperties": False, "properties": settings}
    partial = {f"Partial{name}": _partial(body) for name, body in definitions.items()}
    partial["PartialSettings"] = _partial(settings_schema)
    definitions.update(partial)
    for section, words in (
        ("profiles", "Settings for a machine (gpu, cpu) or a purpose (smoke), laid over the recipe."),
        ("fallbacks", "Settings that go with a fallback: under the fallback data set's name, or `scratch`."),
    ):
        schema["properties"][section] = {
            "type": "object",
            "description": words,
            "propertyNames": {"pattern": _NAME.pattern, "maxLength": 80},
            "additionalProperties": {"$ref": "#/$defs/PartialSettings"},
        }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recipebox recipe"
    # What a recipe extends may hold the sections that the file itself lacks.
    required = schema.pop("required")
    schema["if"] = {"not": {"required": ["extends"]}}
    schema["then"] = {"required": required}
    for name in list(definitions):
        if not name.startswith("Partial"):
            definitions[name].pop("required", None) if name in {"Data", "Model", "Train"} else None
    return schema


def _partial(body: Any) -> Any:
    """A copy of a schema in which nothing is required and references point to the partial definitions."""
    if isinstance(body, list):
        return [_partial(each) for each in body]
    if not isinstance(body, dict):
        return body
    result = {key: _partial(value) for key, value in body.items() if key != "required"}
    if isinstance(result.get("$ref"), str):
        result["$ref"] = result["$ref"].replace("#/$defs/", "#/$defs/Partial")
    return result
