"""The page is one file that runs nothing and fetches nothing."""

from __future__ import annotations

import base64
import re

from recipebox.report.html import page

PNG = b"\x89PNG\r\n\x1a\n content"


def test_pictures_are_inside_the_page() -> None:
    text = page("# T\n\n![what it shows](pictures/a.png)\n\n*caption*\n", title="t", pictures={"a.png": PNG})
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in text
    assert re.search(r'<figure><img alt="what it shows"', text)
    assert "pictures/a.png" not in text


def test_a_missing_picture_is_said_in_words() -> None:
    text = page("![PR curves](pictures/pr.png)", title="t", pictures={})
    assert "PR curves (picture not available)" in text
    assert "<img" not in text


def test_raw_html_and_title_are_text() -> None:
    text = page("hello <script>alert(1)</script>\n\n<b>x</b>", title="</title><script>", pictures={})
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<title>&lt;/title&gt;&lt;script&gt;</title>" in text


def test_nothing_is_fetched_from_outside() -> None:
    text = page("# T\n\n## A\n\ntext\n\n![x](https://example.org/x.png)", title="t", pictures={})
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "default-src 'none'" in text


def test_headings_are_reached_from_the_contents() -> None:
    text = page("# T\n\nlead\n\n## One, two\n\ntext\n\n## Three\n", title="t", pictures={})
    assert '<a href="#one-two">One, two</a><a href="#three">Three</a>' in text
    assert '<h2 id="one-two">' in text
    assert text.index("lead") < text.index("<nav") < text.index("<h2")
