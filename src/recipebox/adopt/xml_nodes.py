"""XML as nodes that know their line. Document types are refused, so there are no entities to expand or fetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

MAX_BYTES = 20_000_000
MAX_DEPTH = 50


@dataclass
class Node:
    """An element: its text is that directly in it."""

    tag: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Node]:
        """Direct children of this name."""
        return (child for child in self.children if child.tag == tag)

    def get(self, *path: str) -> str | None:
        """The stripped text below a path of direct children; None where one is missing or it is empty."""
        node: Node | None = self
        for tag in path:
            node = next(node.all(tag), None) if node is not None else None
        return node.text.strip() or None if node is not None else None


def parse_xml(content: bytes) -> Node:
    """The root element.

    Raises:
        ValueError: not well formed (with line), with a document type, too large or too deep.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB: not the annotation of one image")
    parser = expat.ParserCreate()
    top = Node("", 0)
    open_nodes = [top]

    def start(tag: str, _: dict[str, str]) -> None:
        if len(open_nodes) > MAX_DEPTH:
            raise ValueError("nested too deeply")
        node = Node(tag, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(_: str) -> None:
        open_nodes.pop()

    def text(data: str) -> None:
        open_nodes[-1].text += data

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which is refused: it can make a small file huge")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"line {error.lineno}: not well-formed XML ({expat.errors.messages[error.code]})") from None
    except (LookupError, UnicodeError) as error:  # an encoding that nobody knows
        raise ValueError(f"not readable XML ({error})") from None
    return top.children[0]
