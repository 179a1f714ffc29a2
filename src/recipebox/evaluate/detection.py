"""Accuracy of a detector on a split, seen through the pre-processing that ships.

The numbers are made by Ultralytics' own metric code with its validation settings, so they equal those of training's
own validation for the same weights and images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.detection_set import Split
from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import DataError
from recipebox.evaluate.detector import Detector, check_names
from recipebox.evaluate.inspection import Inspection, inspect
from recipebox.evaluate.postprocess import MAX_DETECTIONS, NMS_IOU, detections
from recipebox.evaluate.sizes import by_size
from recipebox.progress import track

VALIDATION_CONF = 0.001
IOU_LEVELS = np.linspace(0.5, 0.95, 10)
THRESHOLD_OF_A_BLIND_DETECTOR = 0.25
"""Where no threshold finds anything, F1 cannot choose one; this is what Ultralytics' predict would use."""

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Curves:
    """Ultralytics' results for the classes that have instances, in the order of `classes`."""

    classes: NDArray[np.int64]
    ap: NDArray[np.float64]  # (classes, 10): AP at IoU 0.50, 0.55 ... 0.95
    score: NDArray[np.float64]  # (1000,): the axis of the next three
    precision: NDArray[np.float64]  # (classes, 1000), at IoU 0.5
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    precision_at_recall: NDArray[np.float64]  # (classes, 1000) over recall 0..1


@dataclass(frozen=True)
class Measurement:
    """A detector on a split. `line` and `truth` are kept for an image each, in pixels of the canvas.

    `line`: (n, 6) detections with one label a box and scores above VALIDATION_CONF; `truth`: (m, 5) x1, y1, x2, y2,
    class; `ranked`: (n, 6) with several labels a box, what the curves are made from. `curves` is None when
    the split has no instances.
    """

    names: tuple[str, ...]
    instances: NDArray[np.int64]
    curves: Curves | None
    line: tuple[Boxes, ...]
    truth: tuple[Boxes, ...]
    ranked: tuple[Boxes, ...] = ()

    @property
    def images(self) -> int:
        return len(self.truth)

    @property
    def map50_95(self) -> float | None:
        """Mean AP over IoU 0.50 to 0.95 and over the classes with instances."""
        return None if self.curves is None else float(self.curves.ap.mean())

    def without(self, images: Collection[int]) -> Measurement:
        """The same on fewer images, counted from 0."""
        kept = [place for place in range(self.images) if place not in images]
        line, truth, ranked = ([part[place] for place in kept] for part in (self.line, self.truth, self.ranked))
        return _measurement(self.names, line, truth, ranked)

    def best_threshold(self) -> float | None:
        """The score with the largest mean F1, smoothed as Ultralytics does; None when nothing is ever found.

        Where many scores are equally good the middle of the first such stretch is taken (Ultralytics takes its lowest
        end, which for a detector without mistakes is 0), and never one below VALIDATION_CONF: nothing is known there.
        """
        from ultralytics.utils.metrics import smooth

        if self.curves is None or not self.curves.f1.any():
            return None
        f1 = smooth(self.curves.f1.mean(0), 0.1)
        first = last = int(f1.argmax())
        while last + 1 < len(f1) and f1[last + 1] >= f1[first] - 1e-9:
            last += 1
        return max(VALIDATION_CONF, float(self.curves.score[(first + last) // 2]))

    def _rows(self) -> dict[int, int]:
        """Class index -> row of the curves."""
        return {} if self.curves is None else {int(index): row for row, index in enumerate(self.curves.classes)}

    def class_ap(self, index: int) -> NDArray[np.float64] | None:
        """The ten APs of a class, or None when it has no instances."""
        row = self._rows().get(index)
        return None if self.curves is None or row is None else self.curves.ap[row]

    def summary(self, threshold: float) -> dict[str, Any]:
        """Images, instances, mAP50, mAP50-95, and precision and recall (means over classes) at a threshold.

        A detector that finds nothing has no precision: the key is absent. Where nothing that it finds is right it is 0;
        Ultralytics' curves would count classes without a detection as 1.
        """
        document: dict[str, Any] = {"images": self.images, "instances": int(self.instances.sum())}
        if self.curves is not None:
            at = _score_index(self.curves, threshold)
            document["mAP50"] = float(self.curves.ap[:, 0].mean())
            document["mAP50-95"] = float(self.curves.ap.mean())
            recall = document["recall"] = float(self.curves.recall[:, at].mean())
            if any((found[:, 4] > threshold).any() for found in self.line):
                document["precision"] = float(self.curves.precision[:, at].mean()) if recall else 0.0
        return document

    def inspection(self, *, threshold: float, iou: float) -> Inspection:
        """Escapes, confusions and overkill at a threshold."""
        return inspect(self.line, self.truth, nc=len(self.names), iou=iou, threshold=threshold)

    def per_class(self, *, threshold: float, iou: float) -> list[dict[str, Any]]:
        """One entry a class: APs, precision and recall at the threshold, escapes, confusions, overkill.

        What a class cannot have (AP without instances, precision without detections) is left out.
        """
        counts = self.inspection(threshold=threshold, iou=iou)
        rows = self._rows()
        entries = []
        for index, name in enumerate(self.names):
            instances = int(counts.instances[index])
            entry: dict[str, Any] = {"name": name, "instances": instances}
            row = rows.get(index)
            if self.curves is not None and row is not None:
                at = _score_index(self.curves, threshold)
                entry |= {"AP50": float(self.curves.ap[row, 0]), "AP50-95": float(self.curves.ap[row].mean())}
                if counts.detections[index]:
                    entry["precision"] = float(self.curves.precision[row, at])
                entry["recall"] = float(self.curves.recall[row, at])
                entry["escape_rate"] = float(counts.escapes[index] / instances)
            entry["escapes"] = int(counts.escapes[index])
            entry["confused"] = int(counts.confused[index])
            entry["overkill"] = int(counts.overkill[index])
            entries.append(entry)
        return entries

    def per_size(self) -> list[dict[str, Any]]:
        """mAP by the size of the true boxes; see `sizes.by_size`."""
        return by_size(self.ranked, self.truth, self.names, IOU_LEVELS)

    def confusion(self, *, threshold: float, iou: float) -> list[list[int]]:
        """Ultralytics' confusion matrix: rows predicted, columns true, background last.

        It matches one to one and by score alone, whatever the class, so its counts may differ a little from `escapes`
        and `confused`, which ask only whether something lies on a defect.
        """
        import torch
        from ultralytics.utils.metrics import ConfusionMatrix

        matrix = ConfusionMatrix(names=dict(enumerate(self.names)))
        for found, true in zip(self.line, self.truth, strict=True):
            boxes, target = torch.from_numpy(found), torch.from_numpy(true)
            matrix.process_batch(
                {"bboxes": boxes[:, :4], "conf": boxes[:, 4], "cls": boxes[:, 5]},
                {"bboxes": target[:, :4], "cls": target[:, 4]},
                conf=threshold,
                iou_thres=iou,
            )
        return [[int(cell) for cell in row] for row in matrix.matrix]

    def pr_curves(self) -> dict[str, Any]:
        """Precision at 101 recalls, IoU 0.5, for each class with instances."""
        recall = np.linspace(0, 1, 101)
        document: dict[str, Any] = {"recall": [round(float(value), 2) for value in recall], "precision": {}}
        if self.curves is not None:
            axis = np.linspace(0, 1, self.curves.precision_at_recall.shape[1])
            for row, index in enumerate(self.curves.classes):
                values = np.interp(recall, axis, self.curves.precision_at_recall[row])
                document["precision"][self.names[index]] = [float(value) for value in values]
        return document


def measure(
    detector: Detector,
    split: Split,
    *,
    names: tuple[str, ...],
    batch: int = 8,
    progress: str = "measuring",
) -> Measurement:
    """Run a detector over a split and measure it.

    Args:
        detector: see `Detector`; images are prepared for its input size by the letterbox that ships.
        split: images and true boxes.
        names: the data set's class names; they must be the detector's.
        batch: images a call.
        progress: what the progress bar says.

    Raises:
        DataError: the split is empty or an image cannot be read.
        WeightsError: the classes differ, or the output is not finite.
    """
    check_names(detector, names, "the data set")
    if not len(split):
        raise DataError("There is no image to measure on: the split is empty. Give the data set val and test images.")
    line: list[Boxes] = []
    truth: list[Boxes] = []
    ranked: list[Boxes] = []
    for inputs, boxes in _batches(split, detector.imgsz, batch, progress):
        raw = detector(inputs)
        # Two passes over one output: several labels a box is what mAP is defined on, one label is what a line uses.
        options: dict[str, Any] = {"conf": VALIDATION_CONF, "iou": NMS_IOU, "max_det": MAX_DETECTIONS}
        ranked += detections(raw, multi_label=True, **options)
        line += detections(raw, multi_label=False, **options)
        truth += boxes
    return _measurement(names, line, truth, ranked)


def _measurement(names: tuple[str, ...], line: list[Boxes], truth: list[Boxes], ranked: list[Boxes]) -> Measurement:
    true_classes = np.concatenate([boxes[:, 4] for boxes in truth]).astype(np.int64)
    instances = np.bincount(true_classes, minlength=len(names)).astype(np.int64)
    curves = _curves(ranked, truth, names) if instances.sum() else None
    return Measurement(names, instances, curves, tuple(line), tuple(truth), tuple(ranked))


def _batches(split: Split, imgsz: int, batch: int, progress: str) -> Iterator[tuple[NDArray[np.float32], list[Boxes]]]:
    """Inputs (b, 3, imgsz, imgsz) with the true boxes (m, 5) of each image on its canvas."""
    inputs: list[NDArray[np.float32]] = []
    boxes: list[Boxes] = []
    for number, (path, labels) in enumerate(track(split, progress, total=len(split)), start=1):
        prepared, true = prepare(path, labels, imgsz)
        inputs.append(prepared)
        boxes.append(true)
        if len(inputs) == batch or number == len(split):
            yield np.stack(inputs), boxes
            inputs, boxes = [], []


def prepare(path: Path, labels: Boxes, imgsz: int) -> tuple[NDArray[np.float32], Boxes]:
    """An image as the network sees it (3, imgsz, imgsz), and its true boxes (m, 5) x1, y1, x2, y2, class there.

    Args:
        path: the image file.
        labels: (m, 5) class, centre x, centre y, width, height as fractions of the image.
        imgsz: side of the canvas, pixels.
    """
    image = read_image(path)
    canvas, place = letterbox(image, imgsz)
    height, width = image.shape[:2]
    centre, size = labels[:, 1:3], labels[:, 3:5]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    corners = corners * np.array([width, height, width, height], np.float32)
    true = np.concatenate([place.to_canvas(corners), labels[:, :1]], axis=1).astype(np.float32)
    return to_input(canvas), true


def _curves(ranked: list[Boxes], truth: list[Boxes], names: tuple[str, ...]) -> Curves:
    from ultralytics.utils.metrics import ap_per_class

    correct = [_correct(found, true) for found, true in zip(ranked, truth, strict=True)]
    found = np.concatenate(ranked)
    results = ap_per_class(
        np.concatenate(correct),
        found[:, 4],
        found[:, 5],
        np.concatenate([true[:, 4] for true in truth]),
        names=dict(enumerate(names)),
    )
    _, _, _, _, _, ap, classes, precision, recall, f1, score, precision_at_recall = results
    return Curves(classes, ap, score, precision, recall, f1, precision_at_recall)


def _correct(found: Boxes, true: Boxes) -> NDArray[np.bool_]:
    """(n, 10): whether each detection is correct at each IoU level, matched as Ultralytics' validator matches."""
    if not len(found) or not len(true):
        return np.zeros((len(found), len(IOU_LEVELS)), dtype=bool)
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import box_iou

    # The method uses nothing of a validator but its IoU levels; building one would make folders.
    levels = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10))
    boxes, target = torch.from_numpy(found), torch.from_numpy(true)
    matched = BaseValidator.match_predictions(
        levels,
        boxes[:, 5],
        target[:, 4],
        box_iou(target[:, :4], boxes[:, :4]),
    )
    correct: NDArray[np.bool_] = matched.numpy()
    return correct


def _score_index(curves: Curves, threshold: float) -> int:
    return int(np.abs(curves.score - threshold).argmin())
