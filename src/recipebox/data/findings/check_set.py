"""A data set by name or folder, checked whole.

check_set("deeppcb" | folder | data.yaml, imgsz=640, labels_only=False) -> SetReport
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipebox.data.detection_set import SplitName
from recipebox.data.findings.finding import RULES, SEVERITIES, Finding
from recipebox.data.findings.label_scan import ArrayLabels, FileLabels
from recipebox.data.findings.scan import Samples, Statistics, scan
from recipebox.data.findings.whole_set import (
    classes_missing,
    labels_without_image,
    no_labels,
    shared_labels,
    splits_without_content,
)
from recipebox.data.yolo_labels import label_file
from recipebox.errors import DataError

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
WITHOUT_FOLDER = ("deeppcb", "pcb-synthetic")
"""Sets known by name that are no folder in YOLO layout."""


@dataclass(frozen=True)
class OpenedSet:
    """A set's images and labels by split, and what its description already gives away."""

    name: str
    root: Path
    where: str
    names: tuple[str, ...]
    samples: tuple[Samples, ...]
    is_folder: bool = True
    absent: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetReport:
    """What a check says. `findings` are sorted: errors first, then by rule, file and line."""

    name: str
    root: Path
    names: tuple[str, ...]
    imgsz: int
    labels_only: bool
    findings: tuple[Finding, ...]
    statistics: dict[str, Statistics]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    samples: tuple[Samples, ...] = field(default=(), repr=False)
    is_folder: bool = True

    def counts(self) -> dict[str, int]:
        """Findings by severity."""
        return {level: sum(finding.severity == level for finding in self.findings) for level in SEVERITIES}

    @property
    def exit_code(self) -> int:
        return 3 if self.counts()["error"] else 0

    def document(self) -> dict[str, Any]:
        """For --json."""
        splits = {
            split: {
                "images": one.images,
                "without_label": one.without_label,
                "boxes": {name: int(count) for name, count in zip(self.names, one.boxes, strict=True)},
            }
            for split, one in self.statistics.items()
        }
        return {
            "schema": 1,
            "dataset": self.name,
            "root": str(self.root),
            "names": list(self.names),
            "imgsz": self.imgsz,
            "labels_only": self.labels_only,
            "passed": not self.exit_code,
            "counts": self.counts(),
            "splits": splits,
            "findings": [finding.document() for finding in self.findings],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def check_set(name_or_folder: str, *, imgsz: int = 640, labels_only: bool = False) -> SetReport:
    """Look at everything in a set.

    Args:
        name_or_folder: a known name, a folder in YOLO layout, its YAML file, or the name of one in $RECIPEBOX_DATA.
        imgsz: side of the network's input, pixels.
        labels_only: do not open an image.

    Raises:
        DataError: there is nothing that could be checked.
    """
    started = time.perf_counter()
    opened = open_set(name_or_folder)
    found = scan(opened.samples, opened.names, imgsz=imgsz, labels_only=labels_only)
    findings = [*opened.findings, *found.findings]
    empty = list(no_labels(opened.where, found.statistics))
    if empty:  # said once, not once an image
        findings = [finding for finding in findings if finding.rule != "image-without-label"]
    findings += empty
    findings += splits_without_content(opened.where, found.statistics, opened.absent)
    findings += classes_missing(opened.where, opened.names, found.statistics)
    findings += shared_labels(opened.samples)
    findings += labels_without_image(opened.samples)
    order = {rule: number for number, rule in enumerate(RULES)}
    levels = {level: number for number, level in enumerate(SEVERITIES)}
    findings.sort(key=lambda one: (levels[one.severity], order[one.rule], one.file, one.line or 2**62))
    return SetReport(
        opened.name,
        opened.root,
        opened.names,
        imgsz,
        labels_only,
        tuple(findings),
        found.statistics,
        opened.notes,
        time.perf_counter() - started,
        opened.samples,
        opened.is_folder,
    )


def open_set(name_or_folder: str) -> OpenedSet:
    """The images and labels of a set, none of them opened, unless it is one that is unpacked or drawn first.

    Raises:
        DataError: no such set, or nothing that describes one.
    """
    from recipebox.data.datasets import NAMES, folder_of, prepare

    if name_or_folder in WITHOUT_FOLDER:
        prepared = prepare(name_or_folder)
        samples = []
        for split in SPLITS:
            part = prepared.split(split)
            images = [str(path) for path in part.images]
            files = [_deeppcb_labels(path) for path in images] if name_or_folder == "deeppcb" else images
            samples.append(Samples(split, images, ArrayLabels(images, files, part.boxes)))
        root = Path(os.path.commonpath([os.path.dirname(image) for part in samples for image in part.images]))
        return OpenedSet(
            prepared.name, root, name_or_folder, prepared.names, tuple(samples), False, notes=prepared.notes
        )
    names = None
    if name_or_folder in NAMES:
        from recipebox.data import coco8

        prepared = prepare(name_or_folder)
        folder, names = prepared.train.images[0].parents[2], coco8.NAMES
    else:
        folder = folder_of(name_or_folder)
    return _open_folder(folder, names)


def _open_folder(folder: Path, names: Sequence[str] | None) -> OpenedSet:
    from recipebox.data.yolo_description import Faults
    from recipebox.data.yolo_folder import read_layout

    faults: Faults = []
    layout, listed = read_layout(folder, faults, names=names)
    findings = [Finding(fault.rule, str(file), fault.message, line) for fault, file, line in faults]
    where = str(layout.yaml_file or layout.root)
    if not any(listed.values()):
        wrong = "".join(f"\n    {finding.place}: {finding.message}" for finding in findings)
        raise DataError(
            f"{where}: no images. `train:` and `val:` in data.yaml name folders of images or lists of them, relative "
            f"to data.yaml; without data.yaml they lie in images/train and images/val.{wrong}"
        )
    samples = []
    for split, images in listed.items():
        if images:
            samples.append(Samples(split, images, FileLabels(images, label_file, len(layout.names))))
    told_already = {finding.message for finding in findings if finding.rule == "split-missing"}
    absent = [split for split, paths in listed.items() if not paths and not (split == "train" and told_already)]
    return OpenedSet(
        layout.name,
        layout.root,
        where,
        layout.names,
        tuple(samples),
        absent=tuple(absent),
        findings=tuple(findings),
        notes=tuple(layout.notes),
    )


def _deeppcb_labels(image: str) -> str:
    """group/ID_test.jpg -> group_not/ID.txt, as DeepPCB lays them out."""
    path = Path(image)
    folder = path.parent.parent / f"{path.parent.name}_not"
    return str(folder / path.name.replace("_test.jpg", ".txt"))
