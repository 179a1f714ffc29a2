"""Which format a folder has, and its content through that format's reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recipebox.adopt.class_folders import class_folders, classification_refused, read_class_folders
from recipebox.adopt.coco import coco_files, read_coco
from recipebox.adopt.found import Found
from recipebox.adopt.survey import Survey
from recipebox.adopt.voc import read_voc, voc_files
from recipebox.adopt.yolo import read_yolo_in_place, read_yolo_loose
from recipebox.data.yolo_labels import count
from recipebox.errors import DataError

FORMATS = ("yolo", "coco", "voc")


@dataclass(frozen=True)
class Wanted:
    """What the user said about the format."""

    format: str | None = None
    whole_image_boxes: bool = False
    background: Sequence[str] = ()


def recognise(survey: Survey, wanted: Wanted) -> Found:
    """The content of a folder.

    Raises:
        DataError: no images, no labels, class folders, or labels that cannot be used; says what was looked for.
    """
    if not survey.images:
        raise DataError(_no_images(survey))
    if wanted.whole_image_boxes:
        folders = class_folders(survey)
        if not folders:
            raise DataError(
                f"{survey.root}: --whole-image-boxes takes each image's class from its folder, but the images do "
                "not lie in two or more folders with names of their own."
            )
        return _usable(read_class_folders(survey, folders, wanted.background), survey)
    if wanted.background:
        raise DataError("--background belongs to --whole-image-boxes: elsewhere an image without boxes is background.")
    return _usable(_annotated(survey, wanted), survey)


def _annotated(survey: Survey, wanted: Wanted) -> Found:
    seen: list[str] = []
    allowed = (wanted.format,) if wanted.format else FORMATS
    in_place = read_yolo_in_place(survey) if "yolo" in allowed else None
    if in_place is not None:
        return _with_others(in_place, survey, wanted, [".json", ".xml"])
    if "coco" in allowed:
        coco, others = coco_files(survey)
        seen += others
        if coco:
            return _with_others(read_coco(survey, coco), survey, wanted, [".xml", ".txt"], others)
    if "voc" in allowed:
        voc, others = voc_files(survey)
        if voc:
            return _with_others(read_voc(survey, voc, others), survey, wanted, [".txt"])
        seen += others
    if "yolo" in allowed:
        yolo, what = read_yolo_loose(survey)
        if yolo is not None:
            return yolo
        seen.append(what)
    folders = class_folders(survey)
    stems = {image.stem for image in survey.images}
    labelled = any(path.stem in stems for path in survey.with_suffix(".json", ".xml", ".txt"))
    if folders and not wanted.format and not labelled:
        raise DataError(classification_refused(survey, folders))
    raise DataError(_not_understood(survey, allowed, seen))


def _with_others(
    found: Found, survey: Survey, wanted: Wanted, suffixes: list[str], unread: Sequence[str] = ()
) -> Found:
    """Say what else lies there, so that nobody wonders which labels were taken."""
    found.notes += [f"not read: {line}" for line in list(unread)[:3]]
    stems = {image.stem for image in survey.images}
    others = [path for path in survey.with_suffix(*suffixes) if path.stem in stems]
    if others and not wanted.format:
        words = f"{count(len(others), 'file')} like {survey.inside(others[0])} not read: --format takes other labels"
        found.notes.append(words)
    return found


def _usable(found: Found, survey: Survey) -> Found:
    """Raises DataError where there is too little to train and to validate with."""
    with_boxes = sum(bool(item.boxes) for item in found.items)
    if with_boxes == 0:
        hint = f" First of what was left out: {found.left_out[0]}" if found.left_out else ""
        raise DataError(f"{survey.root}: {found.kind}, but none of {count(len(found.items), 'image')} has a box.{hint}")
    if with_boxes == 1:
        raise DataError(
            f"{survey.root}: {found.kind}, but only 1 image with a box. One to train with and one to validate with "
            "are the least, and some hundred are usual."
        )
    repeated = sorted({name for name in found.names if found.names.count(name) > 1})
    if repeated:
        raise DataError(f"{survey.root}: two classes are called {repeated[0]!r}. Rename one in the labels.")
    unreadable = survey.unreadable
    if unreadable:
        found.notes.append(f"{count(len(unreadable), 'file or folder', 'files or folders')} could not be looked at")
        found.left_out += unreadable
    return found


def _no_images(survey: Survey) -> str:
    kinds = Counter(path.suffix.lower() or "without suffix" for path in survey.others)
    there = count(len(survey.others), "other file")
    if kinds:
        there += ": " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(4))
    if survey.unreadable:
        more = len(survey.unreadable) - 1
        there += f"; could not be looked at: {survey.unreadable[0]}{f' and {more} more' if more else ''}"
    return (
        f"{survey.root}: no images below it ({there}). Looked for .jpg, .jpeg, .png, .bmp, .tif, .tiff and .webp; "
        "others have to be converted. Copy the images there with their labels, or give the folder that holds them."
    )


def _not_understood(survey: Survey, allowed: Sequence[str | None], seen: list[str]) -> str:
    looked = {
        "yolo": "YOLO: data.yaml with train and val, or .txt files named like images, with `class x y width height`",
        "coco": "COCO: a .json file with the lists images, annotations and categories",
        "voc": "Pascal VOC: .xml files with the root <annotation>, named like the images or naming them in <filename>",
    }
    lines = [
        f"{survey.root}: {count(len(survey.images), 'image')}, and no labels that can be read. Looked for:",
        *(f"  {looked[each]}" for each in FORMATS if each in allowed),
        "Seen:",
        *(f"  {line}" for line in seen[:8]),
        *([f"  … and {len(seen) - 8} more"] if len(seen) > 8 else []),
        "Label tools (CVAT, Label Studio, labelImg) export all three.",
    ]
    return "\n".join(lines)
