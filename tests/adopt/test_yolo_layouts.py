"""YOLO in the layouts that people and tools leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adopt_folders import draw, labels, write

from recipebox.errors import DataError

LINE = "0 0.5 0.5 0.5 0.5\n"


def flat(root: Path) -> None:
    for index in range(6):
        draw(root / f"a{index}.png", seed=index)
        write(root / f"a{index}.txt", LINE)
    write(root / "classes.txt", "scratch\n")


def label_studio(root: Path) -> None:
    for index in range(6):
        draw(root / "images" / f"a{index}.png", seed=index)
        write(root / "labels" / f"a{index}.txt", LINE)
    write(root / "classes.txt", "scratch\n")
    write(root / "notes.json", '{"categories": [{"id": 0, "name": "scratch"}], "info": {}}')


def roboflow_without_yaml(root: Path) -> None:
    for index, split in enumerate(["train"] * 4 + ["valid"] * 2 + ["test"]):
        draw(root / split / "images" / f"a{index}_jpg.rf.00{index}ff.png", seed=index)
        write(root / split / "labels" / f"a{index}_jpg.rf.00{index}ff.txt", LINE)
    write(root / "classes.txt", "scratch\n")


def other_folder_names(root: Path) -> None:
    for index in range(6):
        draw(root / "img" / "day one" / f"a{index}.png", seed=index)
        write(root / "ann" / "day one" / f"a{index}.txt", LINE)
    write(root / "obj.names", "scratch\n")


def darknet(root: Path) -> None:
    for index in range(6):
        draw(root / "obj" / f"a{index}.png", seed=index)
        write(root / "obj" / f"a{index}.txt", LINE)
    write(root / "train.txt", "".join(f"data/obj/a{index}.png\n" for index in range(4)))
    write(root / "valid.txt", "data/obj/a4.png\ndata/obj/a5.png\n")
    write(root / "obj.names", "scratch\n")


def yaml_of_another_machine(root: Path) -> None:
    label_studio(root)
    write(root / "data.yaml", "names: [scratch]\nnc: 1\ntrain: /home_of_bob/train\nval: /home_of_bob/val\n")


@pytest.mark.parametrize(
    "layout", [flat, label_studio, roboflow_without_yaml, other_folder_names, darknet, yaml_of_another_machine]
)
def test_every_layout_ends_with_all_images_and_labels(source: Path, init: Any, layout: Any) -> None:
    layout(source)
    adopted = init()
    written = labels(adopted)
    assert len(written) == len(list(source.rglob("*.png")))
    assert all(lines == [(0, 0.5, 0.5, 0.5, 0.5)] for lines in written.values())
    assert adopted.found.names == ("scratch",)
    assert adopted.splits.kept == (layout in (roboflow_without_yaml, darknet))
    assert {"train", "val"} <= set(adopted.splits.of)


def test_declared_splits_are_kept_image_by_image(source: Path, init: Any) -> None:
    darknet(source)
    adopted = init()
    sides = {item.image.name: side for item, side in zip(adopted.found.items, adopted.splits.of, strict=True)}
    assert sides == {f"a{index}.png": "train" if index < 4 else "val" for index in range(6)}
    assert any("no test split" in note for note in adopted.splits.notes)


def test_a_label_file_called_like_a_list_is_its_image_s(source: Path, init: Any) -> None:
    for index in range(6):
        draw(source / f"train_{index}.png", seed=index)
        write(source / f"train_{index}.txt", LINE)
    write(source / "obj.names", "scratch\n")
    assert all(lines == [(0, 0.5, 0.5, 0.5, 0.5)] for lines in labels(init()).values())


def test_without_val_it_is_taken_from_train(source: Path, init: Any) -> None:
    for index in range(12):
        side = "test" if index > 9 else "train"
        draw(source / "images" / side / f"b{index // 2}_{index}.png", seed=index)
        write(source / "labels" / side / f"b{index // 2}_{index}.txt", LINE)
    write(source / "classes.txt", "scratch\n")
    adopted = init()
    sides = {item.image.name: side for item, side in zip(adopted.found.items, adopted.splits.of, strict=True)}
    assert sides["b5_10.png"] == sides["b5_11.png"] == "test"
    assert {"train", "val", "test"} == set(sides.values())
    assert all(sides[f"b{i}_{2 * i}.png"] == sides[f"b{i}_{2 * i + 1}.png"] for i in range(5)), "a board was torn"


def test_class_names_can_be_missing(source: Path, init: Any) -> None:
    for index in range(4):
        draw(source / f"a{index}.png", seed=index)
        write(source / f"a{index}.txt", f"{index} 0.5 0.5 0.5 0.5\n")
    adopted = init()
    assert adopted.found.names == ("class0", "class1", "class2", "class3")
    assert any("no class names" in note for note in adopted.found.notes)


def test_an_unlabelled_image_is_background_and_counted(source: Path, init: Any) -> None:
    flat(source)
    draw(source / "clean.png", seed=99)
    adopted = init()
    assert labels(adopted)["clean.png"] == []
    assert "1 image without a label file: taken as free of objects" in adopted.found.notes


def test_two_images_that_would_share_a_label_do_not(source: Path, init: Any) -> None:
    """sub/images and sub are both `sub` in the new folder."""
    for place in ("images", "x/images"):
        draw(source / "one" / place / "a.png", seed=len(place))
        write(
            source / "one" / place.replace("images", "labels") / "a.txt",
            LINE if place == "images" else "0 .2 .2 .1 .1\n",
        )
        draw(source / "one" / place / "a.jpg", seed=len(place) + 50)
    draw(source / "two" / "b.png")
    write(source / "two" / "b.txt", LINE)
    write(source / "classes.txt", "scratch\n")
    adopted = init(group_by="none")
    assert len(list((adopted.folder / "images").rglob("*.*g"))) == 5
    stems = [
        path.relative_to(adopted.folder / "images").with_suffix("")
        for path in (adopted.folder / "images").rglob("*.*g")
    ]
    assert len(set(stems)) == 5


@pytest.mark.parametrize("names", ["a\na\n", "\n\n"])
def test_class_names_that_cannot_be_used_are_told(source: Path, init: Any, names: str) -> None:
    flat(source)
    write(source / "classes.txt", names)
    with pytest.raises(DataError, match=r"classes\.txt: should list the class names"):
        init()


def test_a_copy_stands_alone(source: Path, init: Any) -> None:
    flat(source)
    adopted = init(copy=True)
    assert adopted.copied
    assert not any(path.is_symlink() for path in adopted.folder.rglob("*"))


def test_links_lead_to_the_user_s_files(source: Path, init: Any) -> None:
    flat(source)
    adopted = init()
    links = [path for path in adopted.folder.rglob("*") if path.is_symlink()]
    assert len(links) == 12
    assert all(link.resolve().is_relative_to(source) for link in links)


def test_a_link_back_to_where_it_lies_ends(source: Path, init: Any) -> None:
    flat(source)
    (source / "again").symlink_to(source)
    assert len(init().found.items) == 6


def test_a_kept_split_that_tears_boards_is_told(source: Path, init: Any) -> None:
    for index in range(24):
        side = "val" if index % 4 == 0 else "train"
        draw(source / "images" / side / f"board{index // 4}_{index % 4}.png", seed=index)
        write(source / "labels" / side / f"board{index // 4}_{index % 4}.txt", LINE)
    write(source / "data.yaml", "names: [scratch]\ntrain: images/train\nval: images/val\n")
    adopted = init()
    assert not adopted.written
    assert any(note.startswith("6 of 6 groups are on more than one side") for note in adopted.splits.notes)
    anew = init(name="anew", split="70,15,15")
    assert not any("more than one side" in note for note in anew.splits.notes)


def roboflow(root: Path) -> None:
    """Three augmented copies of each image, and one of a training image in valid."""
    for index, split in enumerate(["train"] * 12 + ["valid"] * 4):
        name = f"board{0 if index == 15 else index // 3}_jpg.rf.{index:032x}"
        draw(root / split / "images" / f"{name}.jpg", seed=index)
        write(root / split / "labels" / f"{name}.txt", LINE)
    write(root / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['scratch']\n")


def test_an_export_one_folder_deeper_is_found(source: Path, init: Any) -> None:
    roboflow(source / "export (1)")
    draw(source / "more.png")
    adopted = init()
    assert (adopted.written, adopted.folder, adopted.found.names) == (False, source / "export (1)", ("scratch",))
    assert "1 image, such as more.png, lies in no split of data.yaml: not used" in adopted.found.notes
    assert any(note.startswith("1 of 5 groups are on more than one side") for note in adopted.splits.notes)


def test_two_exports_beside_each_other_have_to_agree(source: Path, init: Any) -> None:
    roboflow(source / "one")
    roboflow(source / "two")
    adopted = init()
    assert adopted.found.names == ("scratch",)
    assert len(labels(adopted)) == 16, "names of the two are the same, numbers were added"
    write(source / "two" / "data.yaml", "names: [dent]\ntrain: ../train/images\n")
    with pytest.raises(DataError, match=r"one/data\.yaml and two/data\.yaml name other classes"):
        init(name="another")


def test_a_val_without_boxes_is_not_kept(source: Path, init: Any) -> None:
    """Training would refuse the folder as it is: nothing to choose the best epoch by."""
    for index, split in enumerate(["train"] * 8 + ["val"] * 2):
        draw(source / "images" / split / f"{index}.png", seed=index)
        write(source / "labels" / split / f"{index}.txt", LINE if split == "train" else "")
    write(source / "data.yaml", "names: [scratch]\ntrain: images/train\nval: images/val\n")
    adopted = init()
    assert adopted.written
    from recipebox.data.datasets import prepare

    assert any(len(boxes) for boxes in prepare(str(adopted.folder)).val.boxes)


def test_predictions_are_told_from_labels(source: Path, init: Any) -> None:
    flat(source)
    for label in source.glob("a*.txt"):
        label.write_text("0 0.5 0.5 0.5 0.5 0.93\n")
    with pytest.raises(DataError, match=r"a0\.txt begins with '0 0.5 0.5 0.5 0.5 0.93': a sixth is a score"):
        init()


def test_yaml_of_something_else_does_not_stand_in_the_way(source: Path, init: Any) -> None:
    flat(source)
    write(source / "compose.yaml", "services: {a: b}\n")
    assert init().found.names == ("scratch",)
