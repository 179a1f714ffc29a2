"""Pascal VOC: an XML file for each image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from recipebox.adopt.found import MAX_SIDE, Box, Found, Item, pixel_box
from recipebox.adopt.image_size import image_size
from recipebox.adopt.survey import Survey, split_of, split_word
from recipebox.adopt.xml_nodes import MAX_BYTES, Node, parse_xml
from recipebox.errors import DataError
from recipebox.progress import track


@dataclass
class VocFile:
    """An annotation: its objects are (class name, corners in pixels as written, line)."""

    path: Path
    filename: str | None
    size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, float, float, float], int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def voc_files(survey: Survey) -> tuple[list[VocFile], list[str]]:
    """The XML files that are VOC's; and what the others are."""
    files, seen = [], []
    for path in track(survey.with_suffix(".xml"), "reading XML"):
        try:
            with path.open("rb") as file:
                root = parse_xml(file.read(MAX_BYTES + 1))
        except OSError as error:
            seen.append(f"{survey.inside(path)}: cannot be read ({error.strerror})")
        except ValueError as error:
            seen.append(f"{survey.inside(path)}: {error}")
        else:
            if root.tag == "annotation":
                files.append(_file(path, root))
            else:
                cvat = ": CVAT's own format, export it as COCO, VOC or YOLO" if root.tag == "annotations" else ""
                seen.append(f"{survey.inside(path)}: XML, but its root is <{root.tag[:40]}>, not <annotation>{cvat}")
    return files, seen


def _file(path: Path, root: Node) -> VocFile:
    width, height = _number(root.get("size", "width")), _number(root.get("size", "height"))
    size = (int(width), int(height)) if width is not None and height is not None and min(width, height) >= 1 else None
    read = VocFile(path, root.get("filename"), size)
    for node in root.all("object"):
        name = node.get("name")
        corners = [_number(node.get("bndbox", key)) for key in ("xmin", "ymin", "xmax", "ymax")]
        where = f"{path.name}:{node.line}"
        if name is None:
            read.wrong.append(f"{where}: an object without a name")
        elif None in corners:
            rotated = " (a rotated box: export upright ones)" if next(node.all("robndbox"), None) else ""
            read.wrong.append(f"{where}: {name[:60]}: no xmin, ymin, xmax and ymax that are numbers{rotated}")
        else:
            read.objects.append((name, (corners[0], corners[1], corners[2], corners[3]), node.line))  # type: ignore[arg-type]
    return read


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < MAX_SIDE else None


def read_voc(survey: Survey, files: list[VocFile], seen: list[str]) -> Found:
    """Every image that has an annotation.

    Args:
        seen: XML files that could not be read.

    Raises:
        DataError: not one image of the annotations is there.
    """
    said: Counter[str] = Counter()
    left_out = list(seen)
    if seen:
        said["XML files left out, with their images: they cannot be read"] = len(seen)
    names = sorted({name for file in files for name, _, _ in file.objects})
    from_one = _counts_from_one(files)
    lists = _split_lists(survey)
    items: dict[Path, Item] = {}
    for file in files:
        side = split_of(survey.inside(file.path))
        named = (file.path.stem, file.filename or "")
        image = next((found for each in named if (found := survey.image(each, file.path, split=side))), None)
        if image is None or image in items:
            why = "its image is not there, or there more than once" if image is None else "its image has another XML"
            said[f"annotations left out: {why}"] += 1
            left_out.append(f"{file.path.name}: {why}")
            continue
        boxes = _boxes(file, image, names, from_one, said, left_out)
        split = lists.get(file.path.stem) or split_of(survey.inside(image)) or split_of(survey.inside(file.path))
        items[image] = Item(image, boxes, split)
    if not items:
        raise DataError(
            f"{survey.root}: {len(files)} Pascal VOC files, but not one of their images is there. An image is "
            "looked for by the XML file's own name, then by its <filename>, anywhere below the folder."
        )
    origin = "1: no box begins at 0, and one begins at 1" if from_one else "0"
    notes = [f"pixels are counted from {origin}", *(f"{number} {words}" for words, number in said.items() if number)]
    return Found(f"Pascal VOC XML ({len(files)} files)", tuple(names), list(items.values()), notes, left_out)


def _boxes(
    file: VocFile, image: Path, names: list[str], from_one: bool, said: Counter[str], left_out: list[str]
) -> list[Box]:
    shown = image_size(image)
    if file.size is None:
        said["XML files without a size: it was read from the image"] += shown is not None
    elif shown is not None and shown != file.size:
        said["images of another size than their XML says: boxes are scaled"] += 1
    size = file.size or shown
    said["objects left out: they have no box that can be read"] += len(file.wrong)
    left_out += file.wrong
    boxes: list[Box] = []
    for name, (x1, y1, x2, y2), line in file.objects:
        # From 1, a box ends with its last pixel, so only its beginning moves.
        shift = 1 if from_one else 0
        fitted = pixel_box((x1 - shift, y1 - shift, x2, y2), size) if size is not None else None
        if fitted is None:
            why = "has no part inside the image" if size is not None else "neither XML nor image says its image's size"
            said[f"boxes left out: {why}"] += 1
            left_out.append(f"{file.path.name}:{line}: {name[:60]}: {why}")
            continue
        said["boxes cut off at the edge of their image"] += fitted[1]
        boxes.append((names.index(name), *fitted[0]))
    return boxes


def _counts_from_one(files: list[VocFile]) -> bool:
    starts = [min(corners[:2]) for file in files for _, corners, _ in file.objects]
    return bool(starts) and min(starts) == 1


def _split_lists(survey: Survey) -> dict[str, str]:
    """Stem of an image -> split, from ImageSets/Main/train.txt and the like; `trainval` says nothing."""
    found: dict[str, str] = {}
    for path in survey.with_suffix(".txt"):
        split = split_word(path.stem)
        if split is not None and "ImageSets" in path.parts:
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            found.update({line.split()[0]: split for line in lines if line.split()})
    return found
