"""report.md as one self-contained page: no script, no address outside, pictures and style inside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --wash: #f6f8fa; --accent: #0072b2;
  --loud: #b3400a; --loud-wash: #fff1e8; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .5rem; }
p, ul { margin: .6rem 0; } ul { padding-left: 1.3rem; } li { margin: .2rem 0; }
p, li { overflow-wrap: break-word; }
code { font: .87em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background: var(--wash);
  padding: .1em .35em; border-radius: 4px; overflow-wrap: anywhere; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .94rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { background: var(--wash); font-weight: 600; border-bottom: 2px solid var(--line); }
td { min-width: 4.2rem; } td:first-child { min-width: 7rem; }
th[style*="right"], td[style*="right"] { white-space: nowrap; }
blockquote { margin: 1rem 0; padding: .8rem 1.1rem; background: var(--loud-wash); border: 2px solid var(--loud);
  border-left-width: 10px; border-radius: 6px; }
blockquote > p:first-child { color: var(--loud); font-size: 1.1rem; margin-top: 0; }
blockquote > :last-child { margin-bottom: 0; }
nav { margin: 1.2rem 0 0; padding: .6rem 0; border-top: 1px solid var(--line); border-bottom: 1px solid var(--line);
  font-size: .92rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
nav a { color: var(--accent); text-decoration: none; padding: .25rem 0; }
nav a:hover { text-decoration: underline; }
figure { margin: 1rem 0 .2rem; } img { display: block; max-width: 100%; height: auto; }
figure + p { color: var(--soft); font-size: .92rem; margin: .2rem 0 1.6rem; max-width: 50rem; }
figure + p em { font-style: normal; }
@media (max-width: 40rem) { body { padding: 1rem .9rem 3rem; font-size: 15px; } h1 { font-size: 1.35rem; }
  th, td { padding: .35rem .5rem; } table { font-size: .87rem; }
  td:first-child, th:first-child { min-width: 6rem; max-width: 9rem; position: sticky; left: 0; }
  td:first-child { background: #fff; } }
@page { size: A4; margin: 14mm 13mm; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  table { font-size: 8.5pt; } th, td { padding: .25rem .4rem; } td, td:first-child { min-width: 0; }
  .scroll, pre { overflow: visible; } .scroll { break-inside: avoid; } pre { white-space: pre-wrap; }
  h2, h3 { break-after: avoid; } figure, tr, blockquote, pre { break-inside: avoid; } figure { break-after: avoid; }
  img { max-height: 225mm; width: auto; margin: 0 auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="recipebox">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(markdown: str, *, title: str, pictures: Mapping[str, bytes]) -> str:
    """The whole HTML document of a report.

    Args:
        markdown: report.md; raw HTML in it is shown as text, never obeyed.
        title: plain text of the browser's title bar.
        pictures: PNG bytes by file name; an image the mapping lacks becomes its description in words.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return _image(tokens[index], pictures)

    rules: dict[str, Any] = parser.renderer.rules  # type: ignore[attr-defined]
    rules["image"] = image
    rules["table_open"] = lambda *_: '<div class="scroll"><table>\n'
    rules["table_close"] = lambda *_: "</table></div>\n"
    tokens = parser.parse(markdown)
    links = _number_headings(tokens)
    _lone_images_are_figures(tokens)
    first = next((at for at, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"), None)
    render = parser.renderer.render
    if first is None:
        body = render(tokens, parser.options, {})
    else:
        body = render(tokens[:first], parser.options, {}) + links + render(tokens[first:], parser.options, {})
    return _PAGE.format(title=html.escape(title), style=_STYLE, body=body)


def _image(token: Token, pictures: Mapping[str, bytes]) -> str:
    source = str(token.attrGet("src") or "")
    description = html.escape(token.content)
    content = pictures.get(source.removeprefix("pictures/"))
    if content is None:
        return f"<em>{description} (picture not available)</em>"
    return f'<img alt="{description}" src="data:image/png;base64,{base64.b64encode(content).decode("ascii")}">'


def _number_headings(tokens: Sequence[Token]) -> str:
    """Give every second-level heading an id; return the navigation that leads to them."""
    links = []
    for position, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            words = tokens[position + 1].content
            anchor = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
            token.attrSet("id", anchor)
            links.append(f'<a href="#{anchor}">{html.escape(words)}</a>')
    return f'<nav aria-label="Contents">{"".join(links)}</nav>\n'


def _lone_images_are_figures(tokens: Sequence[Token]) -> None:
    """A paragraph that holds one image and nothing else becomes a <figure>, so that the style can find captions."""
    for position, token in enumerate(tokens):
        children = token.children or []
        if token.type == "inline" and len(children) == 1 and children[0].type == "image" and position:
            tokens[position - 1].tag = tokens[position + 1].tag = "figure"
