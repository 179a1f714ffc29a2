"""What belongs together stays together, and every class comes to every side where it can."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from adopt_folders import draw, write
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.adopt.found import Item
from recipebox.adopt.groups import Grouping, group
from recipebox.adopt.split import divide, parse_shares, settle
from recipebox.errors import BadInput, DataError

ROOT = Path("/set")
SHARES = (0.7, 0.15, 0.15)


def items(names: list[str], classes: int = 1) -> list[Item]:
    """A box an image, of the classes in turn."""
    return [Item(ROOT / name, [(index % classes, 0.5, 0.5, 0.2, 0.2)]) for index, name in enumerate(names)]


def grouped(names: list[str], by: str | None = None, classes: int = 1) -> Grouping:
    return group(items(names, classes), ROOT, by)


def together(grouping: Grouping, names: list[str]) -> list[set[str]]:
    found: dict[str, set[str]] = {}
    for key, name in zip(grouping.keys, names, strict=True):
        found.setdefault(key, set()).add(name)
    return list(found.values())


@pytest.mark.parametrize(
    ("names", "by", "groups"),
    [
        ([f"board{b}_crop{c}.png" for b in range(5) for c in range(3)], "names", 5),
        ([f"board{b}_x{c}_y{d}.png" for b in range(6) for c in range(3) for d in range(2)], "names", 6),
        ([f"line1_pcb{b:03}-{c}.png" for b in range(5) for c in range(3)], "names", 5),
        ([f"IMG_2024010{b}_10{c}500.jpg" for b in range(5) for c in range(4)], "names", 5),
        ([f"IMG2024010{b}T10{c}500.jpg" for b in range(5) for c in range(4)], "names", 5),
        ([f"{b:05}{c:03}.jpg" for b in range(7) for c in range(4)], "names", 7),
        ([f"{b}_jpg.rf.{c:032x}.jpg" for b in range(5, 9) for c in range(3)], "copies", 4),
        ([f"{b * 3 + c:07x}f-board{b}_{c}.png" for b in range(5) for c in range(3)], "names", 5),
        ([f"2024010{b}-{c:03}.png" for b in range(1, 6) for c in range(3)], "names", 5),
        ([f"board{b} (copy {c}).png" for b in range(5) for c in range(3)], "names", 5),
        ([f"session {b}/images/{c:04}.png" for b in range(4) for c in range(5)], "folders", 4),
        ([f"train/cam{b}/{c:04}.png" for b in range(4) for c in range(5)], "folders", 4),
        ([f"{c:012}.jpg" for c in range(30)], "runs", 10),
        ([f"frame{c}.jpg" for c in range(100)], "runs", 10),
        ([f"{(c * 7919) % 2**31:08x}{c:08x}abcd.jpg" for c in range(40)], "runs", 10),
        (["a.png", "b.png", "c.png"], "runs", 3),
    ],
)
def test_what_names_and_folders_suggest(names: list[str], by: str, groups: int) -> None:
    grouping = grouped(names)
    assert (grouping.by, grouping.groups) == (by, groups), grouping.said


def test_a_class_in_the_name_is_no_group() -> None:
    """NEU-DET's crazing_12.jpg: grouped by that, each class would be on one side only."""
    kinds = ["crazing", "inclusion", "patches", "pitted", "rolled", "scratches"]
    names = [f"{kind}_{number}.jpg" for number in range(20) for kind in kinds]
    for spelled in (names, [name.replace("_", "/") for name in names]):
        grouping = group(items(spelled, 6), ROOT, None)
        assert grouping.by == "runs"
        assert grouping.groups >= 12


def test_runs_keep_copies_of_an_image_together() -> None:
    names = [f"{number}_jpg.rf.{copy}a{number}.jpg" for number in range(40) for copy in range(3)]
    keys = dict(zip(names, grouped(names).keys, strict=True))
    assert all(len({keys[name] for name in names if name.startswith(f"{number}_")}) == 1 for number in range(40))


def test_runs_count_as_people_do() -> None:
    names = [f"frame{number}.jpg" for number in range(100)]
    keys = grouped(names).keys
    assert keys[:20] == ["0"] * 10 + ["1"] * 10


@pytest.mark.parametrize(("by", "groups"), [(r"board(\d)", 4), (r"b\w+\d(?=_)", 4), ("none", 12), (r"board[01]", 8)])
def test_grouping_by_hand(by: str, groups: int) -> None:
    grouping = grouped([f"x/board{b}_{c}.png" for b in range(4) for c in range(3)], by)
    assert grouping.groups == groups


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 4), max_size=4)), min_size=2, max_size=60),
    st.integers(0, 5),
)
def test_a_split_tears_nothing_and_leaves_nothing_empty(drawn: list[tuple[int, list[int]]], seed: int) -> None:
    chosen = [Item(ROOT / f"{i}.png", [(c, 0.5, 0.5, 0.1, 0.1) for c in boxes]) for i, (_, boxes) in enumerate(drawn)]
    keys = [str(key) for key, _ in drawn]
    with_boxes = {key for key, item in zip(keys, chosen, strict=True) if item.boxes}
    if len(with_boxes) < 2:
        with pytest.raises(DataError, match="one group"):
            divide(chosen, keys, SHARES, seed)
        return
    sides = divide(chosen, keys, SHARES, seed)
    assert sides == divide(chosen, keys, SHARES, seed)
    of_group: dict[str, set[str]] = {}
    for key, side in zip(keys, sides, strict=True):
        of_group.setdefault(key, set()).add(side)
    assert all(len(found) == 1 for found in of_group.values())
    filled = Counter(side for side, item in zip(sides, chosen, strict=True) if item.boxes)
    assert filled["train"]
    assert filled["val"]
    assert filled["test"] or len(with_boxes) == 2


def test_shares_and_rare_classes() -> None:
    """200 boards of 5, and a class that is on 6 of them: each side gets its share, and some of that class."""
    chosen = [
        Item(ROOT / f"board{b}_{c}.png", [(0, 0.5, 0.5, 0.1, 0.1)] + [(1, 0.5, 0.5, 0.1, 0.1)] * (b % 33 == 0))
        for b in range(200)
        for c in range(5)
    ]
    keys = [item.image.stem.partition("_")[0] for item in chosen]
    sides = divide(chosen, keys, SHARES, 0)
    counts = Counter(sides)
    assert abs(counts["train"] - 700) <= 15
    assert abs(counts["val"] - 150) <= 15
    rare = Counter(side for side, item in zip(sides, chosen, strict=True) if len(item.boxes) > 1)
    assert set(rare) == {"train", "val", "test"}
    assert sides != divide(chosen, keys, SHARES, 1)


@pytest.mark.parametrize(("text", "shares"), [("80,20", (0.8, 0.2, 0)), ("2,1,1", (0.5, 0.25, 0.25))])
def test_shares_by_hand(text: str, shares: tuple[float, ...]) -> None:
    assert parse_shares(text) == pytest.approx(shares)
    sides = set(divide(items([f"{n}.png" for n in range(20)]), [str(n) for n in range(20)], parse_shares(text), 0))
    assert sides == {side for side, share in zip(("train", "val", "test"), shares, strict=True) if share}


@pytest.mark.parametrize("text", ["", "a,b,c", "1", "1,2,3,4", "-1,1,1", "0,1,1", "1,0,1", "inf,1,1", "nan,nan,nan"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="not shares"):
        parse_shares(text)


def test_a_declared_split_without_boxes_in_train_is_made_anew() -> None:
    chosen = items([f"{n}.png" for n in range(10)])
    for item in chosen:
        item.split = "test"
    made = settle(chosen, [str(n) for n in range(10)], SHARES, 0, anew=False)
    assert not made.kept
    assert set(made.of) == {"train", "val", "test"}
    assert made.notes == ["the folder declares test only: split anew"]


def test_whole_image_boxes(source: Path, init: Any) -> None:
    for kind in ("good", "scratch", "dent"):
        for number in range(8):
            draw(source / kind / f"{kind}{number}.png", seed=number)
    adopted = init(whole_image_boxes=True, background=("good",))
    assert adopted.found.names == ("dent", "scratch")
    assert {tuple(item.boxes) for item in adopted.found.items} == {
        (),
        ((0, 0.5, 0.5, 1.0, 1.0),),
        ((1, 0.5, 0.5, 1.0, 1.0),),
    }
    assert any("never where" in note for note in adopted.found.notes)
    for side in ("train", "val", "test"):
        there = {
            box[0]
            for item, of in zip(adopted.found.items, adopted.splits.of, strict=True)
            if of == side
            for box in item.boxes
        }
        assert there == {0, 1}, f"{side} lacks a class"


@pytest.mark.parametrize("background", [("nowhere",), ("good", "bad")])
def test_a_background_that_cannot_be(source: Path, init: Any, background: tuple[str, ...]) -> None:
    for kind in ("good", "bad"):
        for number in range(3):
            draw(source / kind / f"{number}.png")
    with pytest.raises(DataError, match="--background"):
        init(whole_image_boxes=True, background=background)


def test_class_folders_with_notes_beside_them_are_still_class_folders(source: Path, init: Any) -> None:
    for kind in ("good", "bad"):
        for number in range(3):
            draw(source / kind / f"{number}.png")
    write(source / "README.txt", "good and bad boards\n")
    with pytest.raises(DataError, match="image classification"):
        init()
