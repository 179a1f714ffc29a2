"""A finding, and the list of all rules with their severity and what mends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Rule:
    """One kind of finding. Errors are what training refuses; a warning may be meant; a note is for knowing."""

    severity: Severity
    title: str
    mend: str


RULES: dict[str, Rule] = {
    "image-unreadable": Rule("error", "images that cannot be read", "copy the set again, or take the image out"),
    "image-truncated": Rule("error", "images that are cut short or damaged", "copy the set again"),
    "image-too-large": Rule("error", "images too large to decode", "cut or scale it down"),
    "label-unreadable": Rule("error", "label files that cannot be read", "write it again as text"),
    "field-count": Rule("error", "label lines with a wrong number of fields", "write `class x y width height`"),
    "not-a-number": Rule("error", "label lines with something that is no number", "write numbers only"),
    "not-finite": Rule("error", "NaN or infinity in a label", "draw the box again"),
    "class-range": Rule("error", "class ids that have no name", "correct the id, or `names` and `nc` in data.yaml"),
    "box-outside": Rule("error", "boxes outside the image", "write fractions of the image, 0 to 1, not pixels"),
    "box-degenerate": Rule("error", "boxes without area", "remove the line, or draw the box again"),
    "too-many-boxes": Rule("error", "label files of more than one image", "one file an image"),
    "nc-names": Rule("error", "names and nc that disagree", "make `nc` the number of `names`, or leave it out"),
    "names-unclear": Rule("error", "class names that are unclear", "give each class one name of its own, in quotes"),
    "key-repeated": Rule("error", "keys that stand twice in data.yaml", "keep one of them"),
    "split-missing": Rule("error", "splits that point nowhere", "correct the path in data.yaml"),
    "split-empty": Rule("error", "splits without images", "put images there, or correct the lists"),
    "split-without-boxes": Rule("error", "splits without a single box", "are the labels where they should be?"),
    "no-labels": Rule("error", "a set without labels", "put the labels of images/a/b.jpg into labels/a/b.txt"),
    "leak-duplicate": Rule("warning", "the same image in two splits", "keep it in one split: --fix keeps it in test"),
    "leak-near": Rule("warning", "nearly the same image in two splits", "move series of one scene into one split"),
    "image-duplicate": Rule("warning", "the same image twice in a split", "keep one: --fix does"),
    "image-near": Rule("note", "nearly the same images in a split", "nothing, where a series is meant"),
    "image-black": Rule("warning", "all-black images", "take it out, or mend the camera"),
    "image-white": Rule("warning", "all-white images", "take it out, or mend the exposure"),
    "image-uniform": Rule("warning", "images of a single colour", "take it out"),
    "image-rotated": Rule("warning", "images turned by EXIF", "see whether the boxes fit; --fix writes it upright"),
    "image-without-label": Rule("warning", "images without a label file", "an empty file says: no objects here"),
    "label-without-image": Rule("warning", "label files without an image", "restore the image, or remove the labels"),
    "label-shared": Rule("warning", "images sharing a label file", "give them names that differ before the suffix"),
    "box-sticks-out": Rule("warning", "boxes reaching beyond the image", "training cuts them off; --fix does, too"),
    "box-duplicate": Rule("warning", "boxes drawn twice", "remove one: --fix does for equal lines"),
    "box-large": Rule("warning", "boxes that fill the whole image", "see whether the object really does"),
    "box-small": Rule("warning", "boxes too small for the network at this imgsz", "raise imgsz, or cut into tiles"),
    "class-missing": Rule("warning", "classes missing from a split", "move images that hold them into it"),
    "split-absent": Rule("note", "splits that are not there", "name one in data.yaml; neighbours into the same split"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, where, and in words.

    `image` is the picture it is about, `boxes` the boxes in it that are (centre x, y, width, height, fractions of the
    image), `other` the second file of a pair, in `other_split`.
    """

    rule: str
    file: str
    message: str
    line: int | None = None
    split: str | None = None
    image: str | None = None
    other: str | None = None
    other_split: str | None = None
    boxes: tuple[tuple[float, ...], ...] = ()

    @property
    def severity(self) -> Severity:
        return RULES[self.rule].severity

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def document(self) -> dict[str, Any]:
        """For --json; what is not known is absent."""
        shown = {
            "rule": self.rule,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "split": self.split,
            "message": self.message,
            "other": self.other,
            "other_split": self.other_split,
        }
        return {key: value for key, value in shown.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a rule says about one file or line, before anybody knows where it stands."""

    rule: str
    message: str
