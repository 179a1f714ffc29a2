"""Markdown pieces. Text that comes from files (class names, paths, messages) goes through `escape` or `code`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_LONGEST = 300
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": "&#64;", "$": "&#36;"}
_SPECIAL = re.compile(r"[&<>|@$]")
_SYNTAX = re.compile(r"([\\`*_\[\]~#])")
_LIST_START = re.compile(r"^(\d*)([-+=.)])")


def one_line(text: object, limit: int = _LONGEST) -> str:
    """`text` without control, direction or surrogate characters and line breaks, cut at `limit` characters."""
    words = " ".join(str(text).split())
    clean = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn"} else c for c in words)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def escape(text: object, limit: int = _LONGEST) -> str:
    """`text` as it stands, in Markdown and in HTML alike: no markup, no table cell, no link, no new line.

    The entities serve readers of report.md that pass HTML through; links are broken so that none is made of a name.
    """
    line = _SYNTAX.sub(r"\\\1", one_line(text, limit))
    line = _SPECIAL.sub(lambda match: _ENTITIES[match.group()], line)
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;")
    # A number is the start of a list only before a dot or bracket: dates and ids stay readable.
    return _LIST_START.sub(lambda m: m.group() if m[1] and m[2] in "-+=" else f"{m[1]}\\{m[2]}", line)


def code(text: object, limit: int = _LONGEST) -> str:
    """`text` as a code span, fenced by more backticks than it holds."""
    line = one_line(text, limit)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else "(empty)"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table of ready Markdown cells; the first `left` columns are aligned left, the others right.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    lines = [_row(header), _row([":---" if column < left else "---:" for column in range(len(header))])]
    for cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"a row of {len(cells)} cells under a header of {len(header)}")
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    # `escape` leaves no pipe; those of code spans are taken back by every reader of tables, backslash and all.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def bullets(items: Iterable[str]) -> str:
    """A list of ready Markdown lines."""
    return "\n".join(f"- {item}" for item in items)


def attention(title: str, lines: Sequence[str]) -> str:
    """The loud box: a block quote that opens with the word ATTENTION, which the page draws in colour."""
    quoted = [f"> **ATTENTION: {title}**", ">"]
    quoted += [f"> - {line}" for line in lines]
    return "\n".join(quoted)


def picture(name: str, description: str, caption: str) -> str:
    """A picture of the run folder with its caption; `description` is read out where it cannot be seen."""
    return f"![{description}](pictures/{name})\n\n*{caption}*"


def shell(lines: Sequence[str]) -> str:
    """Commands, as a fenced block."""
    body = "\n".join(one_line(line, 2000).replace("```", "'''") for line in lines)
    return f"```sh\n{body}\n```"
