"""Pascal VOC XML: what is read, what is left out and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adopt_folders import draw, labels, voc, write
from hypothesis import given
from hypothesis import strategies as st

from recipebox.adopt.xml_nodes import Node, parse_xml
from recipebox.errors import DataError


def lay(source: Path, count: int = 3, **xml: Any) -> None:
    for index in range(count):
        image = draw(source / "JPEGImages" / f"a{index}.png", seed=index)
        write(source / "Annotations" / f"a{index}.xml", voc(image.name, [("scratch", 16, 12, 48, 36)], **xml))


GOOD = (0, 0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize("size", ["64,48", None, "0,0", "sixty,48"])
def test_sizes_may_be_missing(source: Path, init: Any, size: str | None) -> None:
    lay(source, size=size)
    adopted = init()
    assert all(lines == [GOOD] for lines in labels(adopted).values())
    assert any("3 XML files without a size" in note for note in adopted.found.notes) == (size != "64,48")


def test_boxes_from_one_begin_a_pixel_earlier(source: Path, init: Any) -> None:
    lay(source, 2)
    draw(source / "JPEGImages" / "c.png")
    write(source / "Annotations" / "c.xml", voc("c.png", [("dent", 1, 1, 64, 48)]))
    adopted = init()
    assert labels(adopted)["c.png"] == [(0, 0.5, 0.5, 1, 1)]
    assert labels(adopted)["a0.png"][0] == pytest.approx((1, 31.5 / 64, 23.5 / 48, 33 / 64, 25 / 48), abs=1e-6)
    assert any("counted from 1" in note for note in adopted.found.notes)


def test_image_sets_are_splits(source: Path, init: Any) -> None:
    lay(source, 5)
    write(source / "ImageSets" / "Main" / "train.txt", "a0\na1\n")
    write(source / "ImageSets" / "Main" / "val.txt", "a2  1\na3 -1\n")
    write(source / "ImageSets" / "Main" / "test.txt", "a4\n")
    write(source / "ImageSets" / "Main" / "trainval.txt", "a0\na1\na2\na3\n")
    adopted = init()
    assert adopted.splits.kept
    assert adopted.splits.of == ["train", "train", "val", "val", "test"]


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ("<annotation><object><name>x</name></object></annotation>", "no xmin, ymin, xmax and ymax"),
        ("<annotation><object><robndbox/><name>x</name></object></annotation>", "a rotated box"),
        (voc("a9.png", [("", 1, 2, 3, 4)]), "an object without a name"),
        (voc("a9.png", [("x", float("nan"), 2, 3, 4)]), "no xmin, ymin, xmax and ymax"),
        (voc("a9.png", [("x", 40, 2, 3, 4)]), "no part inside the image"),
        (voc("a9.png", [("x", 100, 2, 300, 4)]), "no part inside the image"),
        ("<annotation><object>", "not well-formed"),
        ("", "not well-formed"),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><annotation/>", "document type"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "XML"),
        ("<a>" * 500, "nested too deeply"),
        ("<html/>", "its root is <html>"),
    ],
)
def test_what_has_no_box_is_left_out_and_said(source: Path, init: Any, spoiled: str, said: str) -> None:
    lay(source)
    draw(source / "JPEGImages" / "a9.png", seed=9)
    write(source / "Annotations" / "a9.xml", spoiled)
    adopted = init()
    assert any(said in line and "a9.xml" in line for line in adopted.found.left_out), adopted.found.left_out
    assert all(lines == [GOOD] for name, lines in labels(adopted).items() if name != "a9.png")


def test_an_image_without_xml_is_left_out_and_an_empty_xml_is_background(source: Path, init: Any) -> None:
    lay(source)
    draw(source / "JPEGImages" / "unseen.png", seed=7)
    draw(source / "JPEGImages" / "clean.png", seed=8)
    write(source / "Annotations" / "clean.xml", voc("clean.png", []))
    written = labels(init())
    assert "unseen.png" not in written
    assert written["clean.png"] == []


def test_the_filename_finds_what_the_xml_s_own_name_does_not(source: Path, init: Any) -> None:
    lay(source, 2)
    draw(source / "JPEGImages" / "Größe 1.png")
    write(source / "Annotations" / "0001.xml", voc("C:\\\\pictures\\\\Größe 1.png", [("scratch", 16, 12, 48, 36)]))
    assert labels(init())["Größe 1.png"] == [GOOD]


def test_parts_and_their_boxes_are_not_the_object_s(source: Path, init: Any) -> None:
    lay(source, 2)
    draw(source / "JPEGImages" / "p.png")
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    text = voc("p.png", [("scratch", 16, 12, 48, 36)]).replace("<object>", f"<object>{part}")
    write(source / "Annotations" / "p.xml", text)
    assert labels(init())["p.png"] == [GOOD]


def test_without_any_image_it_is_told(source: Path, init: Any) -> None:
    write(source / "a.xml", voc("a.png", [("x", 1, 1, 4, 4)]))
    write(source / "b.xml", voc("b.png", [("x", 1, 1, 4, 4)]))
    draw(source / "c.png")
    with pytest.raises(DataError, match="not one of their images is there"):
        init()


@given(st.binary(max_size=300) | st.text(alphabet="<>/a&;!'\" =?x[]-", max_size=80).map(str.encode))
def test_any_bytes_are_nodes_or_a_reason(content: bytes) -> None:
    try:
        assert isinstance(parse_xml(content), Node)
    except ValueError as error:
        assert str(error)
