"""Text from files stands in the report as it is, and does nothing there."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from recipebox.report.markdown import code, escape, one_line, table

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "line\nbreak", "`code`", "**bold**", "[x](javascript:1)", "![x](y)", "# title",
    "- item", "1. item", "> quote", "~~~", "```", "&lt;", "\\", "\\|", "a_b_c", "<!-- ", "]]>", "$x$", "http://x.y",
    "www.x.y", "@someone", "\u202eevil", "\ud800", "\x00", "= =", "| a | b |", "---", "<img src=x onerror=alert(1)>",
]  # fmt: skip
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.lists(st.sampled_from(HOSTILE)).map("".join))
PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")  # html on: the worst reader report.md can meet


def shown(rendered: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()


@given(texts)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    rendered = PARSER.render("- " + escape(text))
    assert shown(rendered) == one_line(text)
    assert set(re.findall(r"<[^>]*>", rendered)) <= {"<ul>", "</ul>", "<li>", "</li>"}


@given(texts)
def test_code_is_shown_as_it_is(text: str) -> None:
    line = one_line(text)
    assert shown(PARSER.render(code(text))) == (line or "(empty)")


@given(texts, texts)
def test_a_table_row_stays_one_row_of_its_cells(first: str, second: str) -> None:
    rendered = PARSER.render(table(["a", "b"], [[escape(first), code(second)]]))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rendered, re.S)
    assert rendered.count("<tr>") == 2
    assert len(cells) == 2
    assert html.unescape(cells[0]) == one_line(first)
    assert shown(cells[1]) == (one_line(second) or "(empty)")


def test_no_link_is_made_of_a_name() -> None:
    linked = [text for text in ("http://x.y", "www.x.y", "@someone") if text in escape(text)]
    assert linked == []


def test_long_text_is_cut() -> None:
    assert len(one_line("x" * 5000, 80)) == 80


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 cells"):
        table(["a", "b"], [["1", "2", "3"]])


def test_dates_and_ids_stay_readable() -> None:
    assert escape("20261121-093436-8702") == "20261121-093436-8702"
    assert escape("1. item") == "1\\. item"
    assert escape("-- set") == "\\-- set"
