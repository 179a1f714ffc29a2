"""What pydantic finds wrong with a recipe, in the words of a recipe: the key, what is wrong, what would be right."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from recipebox.errors import Problem
from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document, KeyPath

SettingsModel = TypeVar("SettingsModel", bound=Settings)


def validated(model: type[SettingsModel], document: Document) -> tuple[SettingsModel | None, list[Problem]]:
    """`document` as a `model`, or None and everything that is wrong with it.

    Types are taken strictly: `epochs: yes` or `lr0: "0.01"` is a mistake, not a number.
    """
    try:
        # Through JSON, because strict Python input would want tuples where YAML has lists.
        return model.model_validate_json(json.dumps(document.value), strict=True), []
    except ValidationError as error:
        found: dict[Problem, None] = {}
        details = [(*_follow(document.value, detail["loc"]), detail) for detail in error.errors(include_url=False)]
        misspelt = {
            (*path[:-1], nearest(str(path[-1]), keys_at(path[:-1], model) or ()))
            for path, _, detail in details
            if detail["type"] == "extra_forbidden"
        }
        for path, rest, detail in details:
            if detail["type"] == "missing" and (*path, *rest) in misspelt:
                continue  # it is there, under another spelling, which is said
            message = _message(model, document.value, path, rest, detail)
            if message:
                at = (*path, rest[-1]) if rest and detail["type"] == "extra_forbidden" else path
                found[document.origin(at).problem(message)] = None
        return None, list(found)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, case aside."""
    by_lower = {choice.lower(): choice for choice in choices}
    longer = [name for name in by_lower if len(word) >= 3 and name.startswith(word.lower())]
    if longer:
        return by_lower[longer[0]]
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean x?`, or the choices when none is near, or nothing when there are none."""
    known = list(choices)
    close = nearest(word, known)
    if close:
        return f"; did you mean `{close}`?"
    return f"; known here: {', '.join(known)}" if known else ""


def keys_at(path: KeyPath, model: type[BaseModel] = Settings) -> tuple[str, ...] | None:
    """The keys that may stand in the section at `path`; None when `path` is not a section."""
    section: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, int):
            continue
        info = section.model_fields.get(key) if section else None
        section = _section(info.annotation) if info else None
    return tuple(section.model_fields) if section else None


def takes_names(path: KeyPath, model: type[BaseModel] = Settings) -> bool:
    """Whether the keys at `path` are names of the user's own, such as classes."""
    info = _field(model, path)
    return info is not None and _has_mapping(info.annotation)


def unknown_key(path: KeyPath, model: type[BaseModel] = Settings) -> str:
    """What to say about a key that does not exist: the nearest one beside it, or the section it belongs to."""
    key = str(path[-1])
    place = f" in `{dotted(path[:-1])}`" if path[:-1] else ""
    here = keys_at(path[:-1], model) or ()
    close = nearest(key, here)
    if close is None:
        homes = sorted(dotted(home) for home in _all_paths(model) if home[-1] == key)
        if homes:
            return f"`{key}` is not known{place}; it belongs in `{'` or `'.join(h.rpartition('.')[0] for h in homes)}`"
    return f"`{key}` is not known{place}{did_you_mean(key, here)}"


def dotted(path: KeyPath) -> str:
    """`train.epochs`."""
    return ".".join(str(part) for part in path)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section a field holds, looking through Optional, Annotated and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        return next((found for found in map(_section, get_args(annotation)) if found), None)
    return None


def _has_mapping(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return any(map(_has_mapping, get_args(annotation)))
    return get_origin(annotation) is dict


def _all_paths(model: type[BaseModel], path: KeyPath = ()) -> list[KeyPath]:
    result: list[KeyPath] = []
    for name, info in model.model_fields.items():
        result.append((*path, name))
        section = _section(info.annotation)
        result += _all_paths(section, (*path, name)) if section else []
    return result


def _field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    section: type[BaseModel] | None = model
    info = None
    for key in path:
        if isinstance(key, str):
            info = section.model_fields.get(key) if section else None
            section = _section(info.annotation) if info else None
    return info


def _follow(value: Any, loc: tuple[str | int, ...]) -> tuple[KeyPath, KeyPath]:
    """Split pydantic's location into the part that exists in the recipe and the rest; names of union branches go."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, dict) and part in value):
            value = value[part]
        elif index < len(loc) - 1 or part in ("[key]", "Ema", "literal[False]"):
            continue
        else:
            return tuple(path), (part,)
        path.append(part)
    return tuple(path), ()


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _message(model: type[BaseModel], value: Any, path: KeyPath, rest: KeyPath, detail: Mapping[str, Any]) -> str | None:
    """One problem in words; None for the echo of another one."""
    kind, given, context = detail["type"], _at(value, path), detail.get("ctx", {})
    name = dotted(path) or "the recipe"
    if kind == "missing":
        info = _field(model, (*path, *rest))
        hint = f" ({info.description})" if info is not None and info.description else ""
        return f"`{dotted((*path, *rest))}` is missing{hint}"
    if kind == "extra_forbidden":
        return unknown_key((*path, *rest), model)
    if "Ema" in detail["loc"] or "literal[False]" in detail["loc"]:
        if isinstance(given, dict) and path[-1:] == ("ema",):
            return None  # the other branch of `off | mapping` tells what is wrong inside the mapping
        if path[-1:] == ("ema",):
            return f"`{name}` must be `off`, or a mapping with decay and tau, not {_shown(given)}"
    if kind in ("too_short", "too_long"):
        count = context.get("min_length" if kind == "too_short" else "max_length")
        if isinstance(given, list) and kind == "too_short" and count is not None and len(given) >= count:
            return None  # items were dropped because they are wrong themselves, which is said for each
        return f"`{name}` must hold at {'least' if kind == 'too_short' else 'most'} {count}, not {len(given)}"
    if kind == "value_error":
        return f"`{name}`: {context.get('error', detail['msg'])}"
    if "[key]" in detail["loc"]:
        return f"`{name}`: a name here starts with a letter or digit and goes on with letters, digits, . _ -"
    if kind == "model_type" and given is False and path[:1] == ("techniques",):
        return f"`{name}`: to take it away, give `null` (or leave it out), not off"
    right = _right(kind, context, given)
    if right is None:
        return f"`{name}`: {detail['msg']}, not {_shown(given)}"
    return f"`{name}` must be {right[0]}, not {_shown(given)}{right[1]}"


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "on or off",
    "string_type": "text",
    "tuple_type": "a list such as [a, b]",
    "list_type": "a list such as [a, b]",
    "model_type": "a section of `key: value`",
    "dict_type": "a section of `key: value`",
    "finite_number": "a finite number",
    "string_too_short": "a name that is not empty",
}


def _right(kind: str, context: Mapping[str, Any], given: Any) -> tuple[str, str] | None:
    """(what would be right, a hint to append) for one kind of pydantic error."""
    if kind in _TYPES:
        return _TYPES[kind], ""
    if kind == "literal_error":
        choices = [part.strip("'") for part in str(context["expected"]).replace(" or ", ", ").split(", ")]
        close = nearest(str(given), choices)
        return " or ".join(", ".join(choices).rsplit(", ", 1)), f"; did you mean `{close}`?" if close else ""
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        if "yolo" in pattern:
            return "yolov8, yolo11 or yolo26 with a size n, s, m, l or x (yolov8n)", ""
        return ("64 hexadecimal digits, lower case" if "0-9a-f" in pattern else "a name of letters, digits, . _ -"), ""
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters", ""
    if kind == "multiple_of" and isinstance(given, int):
        step = int(context["multiple_of"])
        low = max(step, given // step * step)
        return f"a multiple of {step}", f"; {low} or {low + step} would do"
    for key, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if key in context:
            limit = context[key]
            return f"{words} {limit if isinstance(limit, int) else f'{limit:g}'}", ""
    return None


def _shown(value: Any) -> str:
    """A given value as YAML would have it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
