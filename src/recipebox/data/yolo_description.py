"""data.yaml, or what stands in for it: what a set in YOLO layout says about itself, and what is wrong with that."""

from __future__ import annotations

import os
import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipebox.data.findings.finding import Fault
from recipebox.errors import DataError

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")
"""What a description is called, first one first."""
Faults = list[tuple[Fault, Path, int | None]]
"""What is wrong with a description, with file and line, where somebody wants to hear of all of it."""


def read_description(
    folder: Path, names: Sequence[str] | None, faults: Faults | None = None
) -> tuple[dict[str, Any], Path | None, Path]:
    """The content of the YAML file, that file (None: there is none), and the folder its paths count from.

    Args:
        folder: the data set's folder, or its YAML file.
        names: class names that make a description unnecessary.
        faults: keys that stand twice, and names that YAML reads as something else; None: raised.

    Raises:
        DataError: there is none, or it is no YAML.
    """
    import yaml

    refuse_closed(folder)
    if folder.is_file():
        yaml_file: Path | None = folder
    else:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Give a folder in YOLO layout, or the name of a known data set.")
        found = [folder / stem for stem in DESCRIPTIONS if (folder / stem).is_file()]
        others = sorted(path for path in folder.glob("*.y*ml") if path.is_file())
        yaml_file = found[0] if found else others[0] if len(others) == 1 else None
    if yaml_file is None:
        if names is None and not (folder / "classes.txt").is_file():
            raise DataError(_undescribed(folder))
        return ({} if names is not None else {"names": text_lines(folder / "classes.txt")}), None, folder.absolute()
    try:
        description = _content(yaml_file, faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{yaml_file}:{mark.line + 1}" if mark else str(yaml_file)
        raise DataError(f"{where}: not valid YAML: {shortened(' '.join(str(error.problem).split()))}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{yaml_file}:{line}: not UTF-8 text. Save it as UTF-8.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number or date that is none
        raise DataError(f"{yaml_file}: not valid YAML: {shortened(' '.join(str(error).split()))}.") from None
    except RecursionError:
        raise DataError(f"{yaml_file}: nested too deeply. It lists names, train and val, and no more.") from None
    except OSError as error:
        raise DataError(f"{yaml_file}: {error.strerror}. Mend its permissions.") from None
    if not isinstance(description, dict):
        raise DataError(f"{yaml_file}: expected keys such as names, train and val.")
    return description, yaml_file, yaml_file.parent.absolute()


def _content(yaml_file: Path, faults: Faults | None) -> Any:
    """What the file says. YAML's reader takes the last of two equal keys, and 0402 for an octal number, without a word.

    Raises:
        DataError: without `faults`, the first of these.
        yaml.YAMLError, ValueError, RecursionError, OSError: it cannot be read.
    """
    import yaml

    loader = yaml.SafeLoader(yaml_file.read_text(encoding="utf-8"))
    try:
        top = loader.get_single_node()
        if not isinstance(top, yaml.MappingNode):
            return None
        names = _values(loader, top, yaml_file, faults).get("names")
        meant = [] if names is None else _misread(loader, names, yaml_file, faults)
        content: dict[str, Any] = loader.construct_document(top)
    finally:
        loader.dispose()
    if isinstance(content.get("names"), list | dict):
        for key, written in meant:
            content["names"][key] = written
    return content


def _misread(loader: Any, names: Any, where: Path, faults: Faults | None) -> list[tuple[Any, str]]:
    """Index or key of each class name whose value is not what is written, and what is written."""
    import yaml

    entries: dict[Any, Any] = {}
    if isinstance(names, yaml.MappingNode):
        entries = _values(loader, names, where, faults)
    elif isinstance(names, yaml.SequenceNode):
        entries = dict(enumerate(names.value))
    meant = []
    for key, node in entries.items():
        value = loader.construct_object(node) if isinstance(node, yaml.ScalarNode) else ""
        if isinstance(value, bool) or (str(value) != node.value and not isinstance(value, str)):
            meant.append((key, str(node.value)))
            if node.value:  # nothing at all is no name, which is told with the names
                read = shortened(str(value))
                told = f"the class name {shortened(node.value)} is read as {read} by YAML. Put it in quotes."
                wrong(faults, "names-unclear", where, told, "names", node.start_mark.line + 1)
    return meant


def _values(loader: Any, mapping: Any, where: Path, faults: Faults | None) -> dict[Any, Any]:
    """The value nodes of a mapping by their keys; a key that stands twice is a fault."""
    import yaml

    values: dict[Any, Any] = {}
    lines: dict[Any, int] = {}
    for key_node, value_node in mapping.value:
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key, line = loader.construct_object(key_node), key_node.start_mark.line + 1
        if key in values:
            told = f"`{shortened(key_node.value)}` stands here a second time (first in line {lines[key]}). Keep one."
            wrong(faults, "key-repeated", where, told, "", line)
        values[key] = value_node
        lines.setdefault(key, line)
    return values


def _undescribed(folder: Path) -> str:
    try:
        empty = not any(os.scandir(folder))
    except PermissionError as error:
        return f"{folder}: may not be listed ({error.strerror}), and there is no data.yaml. Mend its permissions."
    if empty:
        return f"{folder}: the folder is empty. Give the one that holds images and labels."
    return (
        f"{folder}: no data.yaml, so the class names are not known. `recipebox init` brings COCO, Pascal VOC and YOLO "
        "in other layouts into this one; by hand, data.yaml begins with\n"
        "    names: [scratch, dent]\n    train: images/train\n    val: images/val"
    )


def declared_names(folder: Path) -> tuple[str, ...]:
    """The class names of data.yaml or classes.txt. Raises DataError where there are none, or none that will do."""
    description, yaml_file, _ = read_description(folder, None)
    return class_names(description, yaml_file or folder, None)


def class_names(description: dict[str, Any], where: Path, faults: Faults | None) -> tuple[str, ...]:
    """The class names of a description; what is wrong with them and with `nc` goes to `faults`, or is raised.

    Raises:
        DataError: there are none; without `faults`, also where they are unclear.
    """
    names = description.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            told = f"the keys of `names` must be the numbers 0 to {len(names) - 1}, each once."
            wrong(faults, "names-unclear", where, told, "names")
        names = [names[key] for key in sorted(names, key=lambda key: (not isinstance(key, int), str(key).zfill(9)))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{where}: `names` must list the class names, e.g. names: [scratch, dent].")
    unclear = [name for name in names if isinstance(name, bool | list | dict) or name is None]
    if unclear:
        told = (
            f"{spelled(unclear[0])} is no class name. Put names such as on, off, yes, no and null in quotes: "
            "YAML reads them as something else."
        )
        wrong(faults, "names-unclear", where, told, "names")
    cleaned = tuple((spelled(name) if isinstance(name, list | dict) else str(name)).strip() for name in names)
    repeated = sorted(name for name, times in Counter(cleaned).items() if times > 1 or not name)
    if repeated:
        told = f"class names must be there and differ; look at {shortened(', '.join(map(repr, repeated)))}."
        wrong(faults, "names-unclear", where, told, "names")
    nc = description.get("nc")
    if nc is not None and spelled(nc).strip(" '") != str(len(cleaned)):
        wrong(faults, "nc-names", where, f"nc is {spelled(nc)}, but `names` has {len(cleaned)} entries.", "nc")
    return cleaned


def refuse_closed(path: Path) -> None:
    """Tell of permissions that hide what is at a path: it is there, or not, only for who may enter the folder.

    Raises:
        DataError: the folder, or one around it, may not be entered.
    """
    try:
        os.stat(f"{path}/." if os.path.isdir(path) else path)
    except PermissionError as error:
        raise DataError(f"{path}: may not be entered ({error.strerror}). Mend the permissions of the folder.") from None
    except (OSError, ValueError):  # not there, or no name that could be
        return


def wrong(faults: Faults | None, rule: str, where: Path, told: str, key: str, line: int | None = None) -> None:
    """Collect what is wrong with the value of a key, or raise it where nobody collects; `line` where it is known."""
    if faults is None:
        raise DataError(f"{where}:{line}: {told}" if line else f"{where}: {told}")
    if line is None and where.is_file():
        begins = re.compile(rf"\s*['\"]?{key}['\"]?\s*:")
        line = next((number for number, text in enumerate(_raw_lines(where), start=1) if begins.match(text)), None)
    faults.append((Fault(rule, told), where, line))


def text_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file that are not blank, stripped. Raises DataError where it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None


def spelled(value: object) -> str:
    """A value of a YAML file, for a message: aliases make a few lines a list of billions."""
    brief = reprlib.Repr()
    brief.maxlevel = 2
    return brief.repr(value)


def shortened(text: str) -> str:
    """At most 200 characters, for a message."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def _raw_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
