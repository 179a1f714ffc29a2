"""YAML with positions: every value remembers the file and line it came from, so that every problem can say where.

Only what a recipe needs: mappings, lists, text, numbers, on/off, null. Dates and base-60 numbers stay text, `1e-3` is
a number. Nothing is constructed from tags, duplicate keys are refused and aliases cannot explode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from recipebox.errors import Problem

KeyPath = tuple[str | int, ...]

MAX_BYTES = 100_000
"""A recipe has two or three kB; the reader would take ten seconds for 1 MB."""
MAX_NODES = 20_000

_WORD = {"null": "null", "bool": "on/off", "int": "a whole number", "float": "a number", "timestamp": "a date"}


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a file and its line, or (`line` 0) a place that has none, such as `--set`."""

    file: str
    line: int

    def problem(self, message: str) -> Problem:
        return Problem(self.file, self.line, message) if self.line else UnplacedProblem(self.file, 0, message)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class UnplacedProblem(Problem):
    """A problem that has no line: a file that is not there, an argument of the command line."""

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass
class Document:
    """A tree of plain values and where each of its nodes was written. Path () is the whole."""

    value: dict[str, Any]
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Where `path` was written, or the nearest thing around it that was."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path) or Origin("recipe", 0)

    def below(self, path: KeyPath) -> Document:
        """The mapping at `path` as a document of its own; empty when there is none."""
        value: Any = self.value
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        origins = {p[len(path) :]: origin for p, origin in self.origins.items() if p[: len(path)] == path}
        return Document(value if isinstance(value, dict) else {}, origins or {(): self.origin(path)})

    def without(self, *keys: str) -> Document:
        """A copy that lacks some top-level keys."""
        return Document(
            {key: value for key, value in self.value.items() if key not in keys},
            {path: origin for path, origin in self.origins.items() if not path or path[0] not in keys},
        )


def merged(base: Document, top: Document) -> Document:
    """`base` with `top` laid over it: mappings key by key; anything else, lists too, is replaced whole."""
    origins = dict(base.origins)

    def lay(below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        result = dict(below)
        for key, value in above.items():
            here = (*path, key)
            if isinstance(value, dict) and isinstance(result.get(key), dict):
                result[key] = lay(result[key], value, here)
                continue
            for stale in [p for p in origins if p[: len(here)] == here]:
                del origins[stale]
            origins.update({p: origin for p, origin in top.origins.items() if p[: len(here)] == here})
            origins.setdefault(here, top.origin(here))
            result[key] = value
        return result

    return Document(lay(base.value, top.value, ()), origins)


class _RecipeLoader(yaml.SafeLoader):
    """The safe loader, without dates and base-60 numbers. The Python one on purpose: libyaml's has no depth check."""


_RecipeLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse_yaml(text: str, file: str) -> tuple[Any, dict[KeyPath, Origin], list[Problem]]:
    """Parse one YAML document of plain values.

    Returns:
        The value (None when the text holds none), the origin of every node, and what is wrong with it.
    """
    reader = _Reader(file)
    try:
        node = yaml.compose(text, Loader=_RecipeLoader)
        value = None if node is None else reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        reader.problems.append(Problem(file, mark.line + 1 if mark else 1, f"not valid YAML: {words}"))
        value = None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.problems.append(Problem(file, line, "not valid YAML: a control character that text may not hold"))
        value = None
    except RecursionError:
        reader.problems.append(Problem(file, 1, "nested too deeply, or an alias that holds itself; a recipe is flat"))
        value = None
    except _TooManyNodes:
        words = f"more than {MAX_NODES} values once its aliases are written out; a recipe has a few dozen"
        reader.problems.append(Problem(file, 1, words))
        value = None
    return value, reader.origins, reader.problems


def yaml_scalar_or_tree(text: str) -> Any:
    """The value that `text` means in a recipe (for `--set key=value`).

    Raises:
        ValueError: it is not one valid YAML value.
    """
    value, _, problems = parse_yaml(text, "value")
    if problems:
        raise ValueError("; ".join(problem.message for problem in problems))
    return value


class _TooManyNodes(Exception):
    pass


class _Reader:
    """Turns composed nodes into values, collecting origins and problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.origins: dict[KeyPath, Origin] = {}
        self.problems: list[Problem] = []
        self.count = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise _TooManyNodes
        self.origins.setdefault(path, Origin(self.file, node.start_mark.line + 1))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._plain(node, "seq")
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        self._plain(node, "map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._wrong(line, "a key must be a word")
                continue
            # The text as written, whatever its type: `on: 1` names a key "on" and is then refused as unknown.
            key = str(key_node.value)
            if key == "<<":
                self._wrong(line, "`<<` is not known here; `extends:` takes over another recipe")
                continue
            if key in result:
                first = self.origins[(*path, key)].line
                self._wrong(line, f"`{key}` stands here a second time (first in line {first}); keep one")
                continue
            self.origins[(*path, key)] = Origin(self.file, line)
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: Node) -> Any:
        text = str(node.value)
        line = node.start_mark.line + 1
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            text.encode("utf-8")
            if kind == "str":
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() in {"yes", "true", "on"}
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        except UnicodeEncodeError:
            self._wrong(line, "half of a surrogate pair (\\ud800 to \\udfff) is no text")
            return ""
        except ValueError:
            self._wrong(line, f"{text[:40]!r} is not {_WORD[kind]} that can be read")
            return None
        self._wrong(line, f"the tag `{node.tag}` is not allowed; write a plain value")
        return None

    def _plain(self, node: Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self._wrong(node.start_mark.line + 1, f"the tag `{node.tag}` is not allowed; write a plain value")

    def _wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, message))
