"""COCO JSON: one file, or one a split."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipebox.adopt.found import MAX_SIDE, Box, Found, Item, pixel_box
from recipebox.adopt.image_size import image_size
from recipebox.adopt.segmentation import bounds
from recipebox.adopt.survey import Survey, split_of, split_word
from recipebox.data.yolo_labels import count
from recipebox.errors import DataError

MAX_BYTES = 2 * 2**30
_OTHER_TASKS = re.compile(r"^(person_keypoints|captions|image_info|panoptic|stuff)_")


@dataclass
class CocoFile:
    """A JSON file with COCO's three lists."""

    path: Path
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    split: str | None


def coco_files(survey: Survey) -> tuple[list[CocoFile], list[str]]:
    """The JSON files that are COCO's, those of objects before those of other tasks; and what the others are."""
    files, seen = [], []
    for path in sorted(survey.with_suffix(".json"), key=lambda path: (bool(_OTHER_TASKS.match(path.name)), path)):
        shown = survey.inside(path)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES // 2**30} GiB")
            document = json.loads(path.read_bytes())
        except OSError as error:
            seen.append(f"{shown}: cannot be read ({error.strerror})")
        except (ValueError, RecursionError) as error:
            seen.append(f"{shown}: not valid JSON ({' '.join(str(error).split())[:120]})")
        else:
            lists = [
                document[key] for key in _KEYS if isinstance(document, dict) and isinstance(document.get(key), list)
            ]
            if len(lists) == len(_KEYS):
                files.append(CocoFile(path, lists[0], lists[1], lists[2], _split_named(path, survey)))
            else:
                seen.append(f"{shown}: {_other_json(document)}")
    if files and not _OTHER_TASKS.match(files[0].path.name):
        files = [file for file in files if not _OTHER_TASKS.match(file.path.name)]
    return files, seen


_KEYS = ("images", "annotations", "categories")


def _other_json(document: Any) -> str:
    if isinstance(document, dict) and "shapes" in document and "imagePath" in document:
        return "LabelMe's format: export or convert it to COCO"
    if isinstance(document, dict) and {"_via_img_metadata", "_via_settings"} & set(document):
        return "the VGG annotator's format: export it as COCO"
    if isinstance(document, list) and document and isinstance(document[0], dict) and "annotations" in document[0]:
        return "Label Studio's own format: export it as COCO or YOLO"
    return "JSON, but without COCO's lists `images`, `annotations` and `categories`"


def _split_named(path: Path, survey: Survey) -> str | None:
    words = [word for part in re.split(r"[^A-Za-z0-9]+", path.stem) if (word := split_word(part))]
    return words[-1] if words else split_of(survey.inside(path))


def read_coco(survey: Survey, files: list[CocoFile]) -> Found:
    """Everything in the files that has a box, or can be given one.

    Raises:
        DataError: not one image of the lists is there, or two categories share an id.
    """
    reader = _Reader(survey, files)
    for file in files:
        reader.read(file)
    if not reader.items:
        raise DataError(
            f"{survey.root}: COCO JSON ({_names(files, survey)}), but none of its {reader.listed} images can be used: "
            f"{reader.left_out[0] if reader.left_out else 'the list is empty'}. Below the folder there "
            f"{'is' if len(survey.images) == 1 else 'are'} {count(len(survey.images), 'image')}, such as "
            f"{survey.inside(survey.images[0])}; `file_name` has to be the name of one."
        )
    kind = f"COCO JSON ({_names(files, survey)})"
    return Found(kind, tuple(reader.names), list(reader.items.values()), reader.notes(), reader.left_out)


def _names(files: list[CocoFile], survey: Survey) -> str:
    shown = ", ".join(str(survey.inside(file.path)) for file in files[:3])
    return shown + (f" and {len(files) - 3} more" if len(files) > 3 else "")


class _Reader:
    def __init__(self, survey: Survey, files: list[CocoFile]) -> None:
        self.survey = survey
        self.items: dict[Path, Item] = {}
        self.left_out: list[str] = []
        self.listed = 0
        self._said: Counter[str] = Counter()
        parents = self._parents(files)
        self._parents_said: list[str] = []
        if parents:
            self._parents_said = [
                f"left out, as it only is the parent of other categories: {', '.join(sorted(parents))}"
            ]
        self.names = list(dict.fromkeys(name for file in files for _, name in _categories(file) if name not in parents))

    def _parents(self, files: list[CocoFile]) -> set[str]:
        parents = {
            str(each.get("supercategory")) for file in files for each in file.categories if isinstance(each, dict)
        }
        used: set[str] = set()
        for file in files:
            names = dict(_categories(file))
            used |= {names.get(_id(each, "category_id"), "") for each in file.annotations}
        known = {name for file in files for _, name in _categories(file)}
        return (known & parents) - used if known - parents else set()

    def notes(self) -> list[str]:
        """What was taken or left out, counted."""
        return [*self._parents_said, *(f"{number} {words}" for words, number in self._said.items() if number)]

    def read(self, file: CocoFile) -> None:
        """Add a file's images with their boxes."""
        numbers = self._numbers(file)
        of_image: dict[Any, list[dict[str, Any]]] = {}
        named = {(_id(image, "id"), str(image.get("file_name"))) for image in file.images if isinstance(image, dict)}
        owners = Counter(key for key, _ in named)
        known = set(owners)
        for annotation in file.annotations:
            key = _id(annotation, "image_id")
            if isinstance(annotation, dict) and key is not None and key in known:
                of_image.setdefault(key, []).append(annotation)
            else:
                self._leave(file, annotation, "belongs to no image of the list")
        for image in file.images:
            self.listed += 1
            key = _id(image, "id")
            if isinstance(image, dict) and (key is None or owners[key] > 1):
                # Whose boxes are whose nobody can say; without any it would be trained as background.
                self._said["images left out: without an id of their own"] += 1
                self.left_out.append(f"{file.path.name}: image {str(image)[:100]}: no id of its own")
            else:
                self._image(file, image, of_image, numbers)

    def _numbers(self, file: CocoFile) -> dict[Any, int]:
        names: dict[Any, str] = {}
        for key, name in _categories(file):
            if names.setdefault(key, name) != name:
                raise DataError(
                    f"{file.path}: category id {key} is called both {names[key][:60]!r} and {name[:60]!r}. Give each "
                    "category an id of its own."
                )
        return {key: self.names.index(name) for key, name in names.items() if name in self.names}

    def _image(
        self, file: CocoFile, entry: Any, of_image: dict[Any, list[dict[str, Any]]], numbers: dict[Any, int]
    ) -> None:
        named = entry.get("file_name") if isinstance(entry, dict) else None
        path = self.survey.image(named, file.path, split=file.split) if isinstance(named, str) else None
        if path is None:
            self._said["of the listed images are not there, or there more than once under that name"] += 1
            self.left_out.append(f"{file.path.name}: image {str(named)[:100]!r}: not there, or not one alone")
            return
        if path in self.items:
            self._said["images listed twice: the first list counts"] += 1
            return
        shown, said = image_size(path), _size(entry)
        if shown and said and shown != said:
            turned = shown == said[::-1]
            self._said[_TURNED if turned else "images of another size than their JSON says: boxes are scaled"] += 1
        size = said or shown
        boxes: list[Box] = []
        for annotation in of_image.get(_id(entry, "id"), []):
            box = self._box(file, annotation, size, numbers)
            if box is not None:
                boxes.append(box)
        self.items[path] = Item(path, boxes, file.split or split_of(self.survey.inside(path)))

    def _box(
        self, file: CocoFile, annotation: dict[str, Any], size: tuple[int, int] | None, numbers: dict[Any, int]
    ) -> Box | None:
        number = numbers.get(_id(annotation, "category_id"))
        if annotation.get("iscrowd") in (1, True, "1"):
            self._said["crowd regions left out: they are not the box of one object"] += 1
            return None
        if number is None:
            self._leave(file, annotation, "its category is not in the list")
            return None
        if size is None:
            self._leave(file, annotation, "neither the JSON nor the image says how large the image is")
            return None
        corners = _corners(annotation.get("bbox"))
        if corners is None and not annotation.get("bbox"):
            corners = bounds(annotation.get("segmentation"))
            self._said["boxes taken from segmentations"] += corners is not None
        fitted = pixel_box(corners, size) if corners is not None else None
        if fitted is None:
            self._leave(file, annotation, "no box inside the image can be made of it")
            return None
        self._said["boxes cut off at the edge of their image"] += fitted[1]
        return (number, *fitted[0])

    def _leave(self, file: CocoFile, annotation: Any, why: str) -> None:
        self._said[f"annotations left out: {why}"] += 1
        shown = annotation.get("id") if isinstance(annotation, dict) else annotation
        self.left_out.append(f"{file.path.name}: annotation {str(shown)[:60]}: {why}")


_TURNED = "images lie on their side in the JSON (EXIF turns them): look at their boxes"


def _categories(file: CocoFile) -> Iterator[tuple[Any, str]]:
    """(id, name), by id."""
    rows = [each for each in file.categories if isinstance(each, dict) and _id(each, "id") is not None]
    for each in sorted(rows, key=lambda each: (not _id(each, "id").isdecimal(), _id(each, "id").zfill(20))):
        name, key = each.get("name"), _id(each, "id")
        yield key, str(name).strip() if name not in (None, "") else f"category {key}"


def _id(entry: Any, key: str) -> Any:
    """An id that can be looked up: some tools write 7 here and "7" or 7.0 there."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) else None


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    return (
        (width, height)
        if isinstance(width, int)
        and isinstance(height, int)
        and min(width, height) > 0
        and max(width, height) < MAX_SIDE
        else None
    )


def _corners(bbox: Any) -> tuple[float, float, float, float] | None:
    """COCO's x, y, width, height as corners."""
    if not (isinstance(bbox, list) and len(bbox) == 4):
        return None
    if not all(isinstance(each, int | float) and abs(each) < MAX_SIDE for each in bbox):
        return None
    x, y, width, height = bbox
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None
