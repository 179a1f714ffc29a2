"""COCO JSON: what is read, what is left out and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adopt_folders import coco, draw, labels, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipebox.adopt.segmentation import bounds
from recipebox.errors import DataError


def entry(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"a{number}.png", "width": 64, "height": 48} | more


def box(number: int, image: int, bbox: Any = (16, 12, 32, 24), category: int = 3, **more: Any) -> dict[str, Any]:
    shown = list(bbox) if isinstance(bbox, tuple) else bbox
    return {"id": number, "image_id": image, "category_id": category, "bbox": shown, "iscrowd": 0} | more


def lay(source: Path, count: int = 4) -> None:
    for index in range(count):
        draw(source / "images" / f"a{index}.png", seed=index)


def annotate(source: Path, *annotations: dict[str, Any], count: int = 4) -> None:
    """Images a0 to a3 with a good box each, and more annotations."""
    lay(source, count)
    good = [box(100 + index, index) for index in range(count)]
    write(source / "annotations.json", coco([entry(index) for index in range(count)], [*good, *annotations]))


GOOD = (0, 0.5, 0.5, 0.5, 0.5)


def test_categories_with_gaps_are_numbered_without(source: Path, init: Any) -> None:
    annotate(source, box(1, 0, (0, 0, 32, 24), 7))
    adopted = init()
    assert adopted.found.names == ("scratch", "dent")
    assert labels(adopted)["a0.png"] == [GOOD, (1, 0.25, 0.25, 0.5, 0.5)]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (box(1, 0, iscrowd=1), "1 crowd regions left out"),
        (box(1, 0, category=99), "its category is not in the list"),
        (box(1, 77), "belongs to no image of the list"),
        (box(1, 0, (100, 100, 5, 5)), "no box inside the image"),
        (box(1, 0, (1, 1, 0, 5)), "no box inside the image"),
        (box(1, 0, (1, 1, 5)), "no box inside the image"),
        (box(1, 0, "box"), "no box inside the image"),
        (box(1, 0, (float("nan"), 1, 5, 5)), "no box inside the image"),
        (box(1, 0, (1, float("inf"), 5, 5)), "no box inside the image"),
        (box(1, 0, (1, 10**400, 5, 5)), "no box inside the image"),
        (box(1, 0, None), "no box inside the image"),
        ({"id": 1, "image_id": [0], "category_id": {}}, "belongs to no image of the list"),
        (box(1, 0, None, segmentation={"counts": [5], "size": "x"}), "no box inside the image"),
    ],
)
def test_what_has_no_box_is_left_out_and_counted(source: Path, init: Any, annotation: Any, said: str) -> None:
    annotate(source, annotation)
    adopted = init()
    assert labels(adopted)["a0.png"] == [GOOD]
    assert any(said in note for note in adopted.found.notes), adopted.found.notes
    assert "annotation 1" in "".join(adopted.found.left_out) or annotation.get("iscrowd")


def test_a_box_beyond_the_edge_is_cut_and_counted(source: Path, init: Any) -> None:
    annotate(source, box(1, 0, (-32, -24, 64, 48), 7))
    adopted = init()
    assert labels(adopted)["a0.png"][1] == (1, 0.25, 0.25, 0.5, 0.5)
    assert "1 boxes cut off at the edge of their image" in adopted.found.notes


def test_segmentation_alone_gives_its_bounds(source: Path, init: Any) -> None:
    polygon = [[16, 12, 48, 12, 48, 36], [20, 20, 30, 20, 30, 30]]
    runs = {"size": [48, 64], "counts": [16 * 48 + 12, *([24, 24] * 31), 24, 48 * 16 + 12]}
    annotate(source, box(1, 0, None, 7, segmentation=polygon), box(2, 1, [], 7, segmentation=runs))
    written = labels(init())
    assert written["a0.png"] == written["a1.png"] == [GOOD, (1, 0.5, 0.5, 0.5, 0.5)]


def compressed(counts: list[int]) -> str:
    """COCO's text form of run lengths, written out from its description."""
    text = ""
    for index, number in enumerate(counts):
        left = number - counts[index - 2] if index > 2 else number
        more = True
        while more:
            bits = left & 0x1F
            left >>= 5
            more = left != -1 if bits & 0x10 else left != 0
            text += chr((bits | (0x20 if more else 0)) + 48)
    return text


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20), st.floats(0.0, 1.0))
def test_run_lengths_have_the_bounds_of_their_mask(seed: int, height: int, width: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    counts = [0, *counts] if flat[0] else counts
    rows, columns = np.nonzero(mask)
    wanted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else None
    assert bounds({"size": [height, width], "counts": counts}) == wanted
    assert bounds({"size": [height, width], "counts": compressed(counts)}) == wanted


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["size", "counts"]), each),
    )
)
def test_any_segmentation_has_bounds_or_none(segmentation: Any) -> None:
    found = bounds(segmentation)
    assert found is None or len(found) == 4


def test_one_json_a_split_keeps_it(source: Path, init: Any) -> None:
    for split, numbers in (("train2017", range(4)), ("val2017", range(4, 6))):
        for number in numbers:
            draw(source / split / f"{number:012}.png", seed=number)
        images = [entry(number, f"{number:012}.png") for number in numbers]
        for task in ("instances", "person_keypoints", "captions"):
            write(source / "annotations" / f"{task}_{split}.json", coco(images, [box(n, n) for n in numbers]))
    adopted = init()
    assert adopted.splits.kept
    assert adopted.splits.of == ["train"] * 4 + ["val"] * 2
    assert "instances_train2017.json" in adopted.found.kind
    assert "person" not in adopted.found.kind
    assert not any("twice" in note for note in adopted.found.notes)


def test_roboflow_s_json_in_split_folders(source: Path, init: Any) -> None:
    categories = [
        {"id": 0, "name": "boards", "supercategory": "none"},
        {"id": 1, "name": "scratch", "supercategory": "boards"},
    ]
    for split, numbers in (("train", range(3)), ("valid", range(2)), ("test", range(1))):
        for number in numbers:  # the same names in every split
            draw(source / split / f"a{number}.png", seed=number)
        images = [entry(number) for number in numbers]
        boxes = [box(number, number, category=1) for number in numbers]
        write(source / split / "_annotations.coco.json", coco(images, boxes, categories))
    adopted = init()
    assert adopted.found.names == ("scratch",)
    assert sorted(adopted.splits.of) == ["test", "train", "train", "train", "val", "val"]
    assert not adopted.found.left_out


def test_images_that_are_not_there_or_not_listed(source: Path, init: Any) -> None:
    lay(source, 3)
    images = [entry(0), entry(1), entry(8, "gone.png"), entry(9, "../../../etc/passwd"), entry(10, None)]
    images[-1]["file_name"] = 5
    write(source / "a.json", coco([*images, "no entry"], [box(n, n) for n in (0, 1, 8, 9)]))  # type: ignore[list-item]
    adopted = init()
    assert sorted(labels(adopted)) == ["a0.png", "a1.png"], "a2 is not listed: nobody has looked at it"
    assert any("4 of the listed images are not there" in note for note in adopted.found.notes)


def test_none_of_the_images_there_is_told(source: Path, init: Any) -> None:
    draw(source / "other.png")
    write(source / "a.json", coco([entry(0)], [box(0, 0)]))
    with pytest.raises(
        DataError, match=r"none of its 1 images can be used: a\.json: image .* there is 1 image, such as other\.png"
    ):
        init()


def test_ids_of_several_images_or_categories_are_not_guessed(source: Path, init: Any) -> None:
    """The boxes of an id that two images share are nobody's; without them an image would be background."""
    lay(source, 6)
    twice = [entry(2), entry(2, "a3.png"), entry(4) | {"id": None}, entry(5), entry(5)]
    write(source / "a.json", coco([entry(0), entry(1), *twice], [box(n, n) for n in range(6)]))
    adopted = init()
    assert sorted(labels(adopted)) == ["a0.png", "a1.png", "a5.png"]
    assert "3 images left out: without an id of their own" in adopted.found.notes
    write(source / "a.json", coco([entry(0)], [box(0, 0)], [{"id": 3, "name": "dent"}, {"id": 3, "name": "scratch"}]))
    with pytest.raises(DataError, match=r"a\.json: category id 3 is called both 'dent' and 'scratch'"):
        init(name="another")


def test_ids_as_numbers_and_as_text_are_the_same(source: Path, init: Any) -> None:
    lay(source, 2)
    boxes = [box(0, 0, category="3"), box(1, 1) | {"image_id": "1"}, box(2, 1, category=7.0)]  # type: ignore[arg-type]
    write(source / "a.json", coco([entry(0) | {"id": "0"}, entry(1)], boxes))
    assert {name: len(lines) for name, lines in labels(init()).items()} == {"a0.png": 1, "a1.png": 2}


def test_sizes_missing_or_of_another_copy(source: Path, init: Any) -> None:
    lay(source, 3)
    images = [entry(0), entry(1, width=None, height=0), entry(2, width=128, height=96)]
    write(source / "a.json", coco(images, [box(0, 0), box(1, 1), box(2, 2, (32, 24, 64, 48))]))
    adopted = init()
    assert set(map(tuple, labels(adopted).values())) == {(GOOD,)}
    assert any("1 images of another size" in note for note in adopted.found.notes)


def test_an_image_on_its_side_is_told(source: Path, init: Any) -> None:
    lay(source, 2)
    turned = Image.open(source / "images" / "a0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(source / "images" / "side.jpg", exif=exif)
    write(source / "a.json", coco([entry(0), entry(1), entry(2, "side.jpg")], [box(n, n) for n in range(3)]))
    assert any("on their side" in note for note in init().found.notes)


def test_names_of_all_kinds(source: Path, init: Any) -> None:
    names = ["scratch: deep", "kratzer ä", "yes", "12", "# no comment", "日本"]
    categories = [{"id": 10 * n, "name": name} for n, name in enumerate(names)]
    lay(source, 4)
    boxes = [box(n, n % 4, category=10 * n) for n in range(len(names))]
    write(source / "a.json", coco([entry(n) for n in range(4)], boxes, categories))
    adopted = init()
    assert adopted.found.names == tuple(names)
    from recipebox.data.datasets import known

    assert known(adopted.dataset).names == tuple(names)


@pytest.mark.parametrize("count", [1, 2])
def test_a_category_name_twice_is_one_class(source: Path, init: Any, count: int) -> None:
    lay(source, 2)
    categories = [{"id": 1, "name": "scratch"}, {"id": 2, "name": "scratch"}, {"id": 4}, "x", {"name": "no id"}][
        : count + 2
    ]
    write(source / "a.json", coco([entry(0), entry(1)], [box(0, 0, category=1), box(1, 1, category=2)], categories))  # type: ignore[arg-type]
    assert init().found.names[:1] == ("scratch",)


def test_there_and_back_again(source: Path, init: Any, tmp_path: Path) -> None:
    """YOLO to COCO and back: the same numbers to a thousandth of a pixel."""
    rng = np.random.default_rng(4)
    images, annotations, wanted = [], [], {}
    for number in range(6):
        draw(source / f"b{number}.png", (640, 480), seed=number)
        images.append(entry(number, f"b{number}.png", width=640, height=480))
        size = rng.uniform(0.01, 0.4, (5, 2))
        centre = rng.uniform(size / 2, 1 - size / 2)
        wanted[f"b{number}.png"] = np.hstack([centre, size])
        for x, y, w, h in wanted[f"b{number}.png"]:
            corner = [(x - w / 2) * 640, (y - h / 2) * 480, w * 640, h * 480]
            annotations.append(box(len(annotations), number, tuple(corner)))
    write(source / "a.json", coco(images, annotations))
    for name, lines in labels(init()).items():
        np.testing.assert_allclose(np.array(lines)[:, 1:], wanted[name], atol=2e-7)


def test_what_was_left_out_stands_in_the_record(source: Path, init: Any) -> None:
    annotate(source, box(1, 0, category=99))
    adopted = init()
    record = json.loads((adopted.folder / "adopted.json").read_text(encoding="utf-8"))
    assert record["left_out"] == adopted.found.left_out
    assert record["source"] == str(source)
