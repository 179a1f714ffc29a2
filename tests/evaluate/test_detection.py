"""mAP against an independent reference and against Ultralytics' validator; the cases that divide by zero."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.errors import DataError, WeightsError
from recipebox.evaluate.detection import Measurement, measure
from recipebox.evaluate.run import evaluate_detector

SIDE = 128
NAMES = ("a", "b", "c")
ANCHORS = 400
Array = NDArray[np.float32]


class Scripted:
    """Answers with prepared raw output, image after image, from the start again for every split."""

    sha256, imgsz, precision = "f" * 64, SIDE, "fp32"

    def __init__(self, raw: Sequence[Array], names: tuple[str, ...] = NAMES) -> None:
        self.raw, self.names, self.next = raw, names, 0

    def __call__(self, images: Array) -> Array:
        taken = [self.raw[(self.next + number) % len(self.raw)] for number in range(len(images))]
        self.next += len(images)
        return np.stack(taken)


def raw_output(rows: Sequence[tuple[Sequence[float], int, float]], nc: int = 3) -> Array:
    """(4 + nc, ANCHORS) from (centre x, centre y, width, height), class, score."""
    raw = np.zeros((4 + nc, ANCHORS), np.float32)
    raw[2:4] = 1.0
    for column, (box, label, score) in enumerate(rows):
        raw[:4, column] = box
        raw[4 + label, column] = score
    return raw


def make_split(folder: Path, truth: Sequence[Sequence[tuple[Sequence[float], int]]]) -> Split:
    """Square images of SIDE, so that canvas and image are the same."""
    images, boxes = [], []
    for number, rows in enumerate(truth):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 90, np.uint8))
        images.append(path)
        labels = [[label, *(value / SIDE for value in box)] for box, label in rows]
        boxes.append(np.array(labels, np.float32).reshape(-1, 5))
    return Split(tuple(images), tuple(boxes))


TRUTH: list[list[tuple[list[float], int]]] = [
    [([30, 30, 20, 20], 0), ([80, 80, 30, 20], 1)],
    [([64, 64, 40, 40], 2)],
    [],
    [([20, 100, 16, 16], 0), ([100, 20, 16, 24], 2)],
]


def perfect(shift: int = 0) -> list[Array]:
    return [raw_output([(box, (label + shift) % 3, 0.9) for box, label in rows]) for rows in TRUTH]


def everywhere() -> list[Array]:
    grid = [([x, y, 16, 16], n, 0.5) for n in range(3) for x in range(8, SIDE, 16) for y in range(8, SIDE, 16)]
    return [raw_output(grid) for _ in TRUTH]


def document(folder: Path, raw: Sequence[Array], truth: Any = TRUTH, val: Any = TRUTH) -> dict[str, Any]:
    (folder / "val").mkdir()
    (folder / "test").mkdir()
    val_split, test_split = make_split(folder / "val", val), make_split(folder / "test", truth)
    data = DetectionSet("hand", NAMES, val_split, val_split, test_split, "0" * 64)
    result = evaluate_detector(Scripted(raw), data, iou=0.5)
    json.dumps(result, allow_nan=False)
    return result


def test_a_perfect_detector(tmp_path: Path) -> None:
    result = document(tmp_path, perfect())
    assert result["test"]["mAP50-95"] == pytest.approx(0.995, abs=1e-3)  # Ultralytics' interpolation ends at 0.995
    assert result["test"]["precision"] == result["test"]["recall"] == 1.0
    assert 0 < result["threshold"] < 0.9
    assert [entry["escapes"] for entry in result["per_class"]] == [0, 0, 0]
    assert result["boards"] == {"defective": 3, "escaped": 0, "good": 1, "overkilled": 0}
    assert result["confusion"]["matrix"] == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert len(result["pr_curves"]["recall"]) == len(result["pr_curves"]["precision"]["a"]) == 101


def test_a_detector_of_which_nothing_is_right(tmp_path: Path) -> None:
    """One class is found, where nothing is; the curves of the two that are not found say that they are all right."""
    faint = [([8, 8, 16, 16], label, 0.1) for label in (1, 2)]
    raw = [raw_output([([8, 8, 16, 16], 0, 0.9), *faint]) for _ in TRUTH]
    measured = measure(Scripted(raw), make_split(tmp_path, TRUTH), names=NAMES)
    assert measured.curves is not None
    assert measured.curves.precision[1:, 250:].min() == 1.0
    summary = measured.summary(0.25)
    assert (summary["precision"], summary["recall"]) == (0.0, 0.0)
    assert measured.inspection(threshold=0.25, iou=0.5).overkill.tolist() == [4, 0, 0]
    assert "precision" not in measured.summary(0.95), "nothing is found"


def test_a_blind_detector(tmp_path: Path) -> None:
    result = document(tmp_path, [raw_output([]) for _ in TRUTH])
    assert result["test"]["mAP50"] == result["test"]["mAP50-95"] == 0.0
    assert (result["threshold"], result["threshold_from"]) == (0.25, "default")
    assert [entry["escape_rate"] for entry in result["per_class"]] == [1.0, 1.0, 1.0]
    assert all("precision" not in entry for entry in result["per_class"])
    assert result["boards"]["escaped"] == 3
    assert result["confusion"]["matrix"][3] == [2, 1, 2, 0]


def test_a_detector_that_names_every_defect_wrongly(tmp_path: Path) -> None:
    result = document(tmp_path, perfect(shift=1))
    assert result["test"]["mAP50"] == 0.0
    assert [entry["escapes"] for entry in result["per_class"]] == [0, 0, 0]
    assert [entry["confused"] for entry in result["per_class"]] == [2, 1, 2]
    assert result["confusion"]["matrix"] == [[0, 0, 2, 0], [2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_detector_that_fires_everywhere(tmp_path: Path) -> None:
    result = document(tmp_path, everywhere())
    assert result["boards"]["overkilled"] == result["boards"]["good"] == 1
    assert min(entry["overkill"] for entry in result["per_class"]) > 200
    assert result["test"]["mAP50"] < 0.1


def test_a_test_split_without_defects_has_no_map_and_divides_by_nothing(tmp_path: Path) -> None:
    result = document(tmp_path, everywhere(), truth=[[], []])
    assert "mAP50" not in result["test"] and result["test"]["instances"] == 0
    assert all("AP50" not in entry and "escape_rate" not in entry for entry in result["per_class"])
    assert result["boards"] == {"defective": 0, "escaped": 0, "good": 2, "overkilled": 2}
    assert result["pr_curves"]["precision"] == {}


def test_a_class_without_instances_has_no_ap_but_its_overkill_is_counted(tmp_path: Path) -> None:
    rows = [[([30.0, 30.0, 20.0, 20.0], 0)]]
    raw = [raw_output([([30, 30, 20, 20], 0, 0.9), ([90, 90, 20, 20], 2, 0.8)])]
    result = document(tmp_path, raw, truth=rows, val=rows)
    a, b, c = result["per_class"]
    assert a["AP50"] == pytest.approx(0.995) and "AP50" not in b and "AP50" not in c
    assert (b["overkill"], c["overkill"], c["instances"]) == (0, 1, 0)
    assert set(result["pr_curves"]["precision"]) == {"a"}


def test_one_class(tmp_path: Path) -> None:
    split = make_split(tmp_path, [[([30.0, 30.0, 20.0, 20.0], 0)], []])
    raw = [raw_output([([30, 30, 20, 20], 0, 0.7)], nc=1), raw_output([], nc=1)]
    measured = measure(Scripted(raw, ("only",)), split, names=("only",))
    assert measured.map50_95 == pytest.approx(0.995)
    threshold = measured.best_threshold()
    assert threshold is not None and threshold < 0.7


def test_bad_splits_and_outputs_are_named(tmp_path: Path) -> None:
    split = make_split(tmp_path, TRUTH)
    with pytest.raises(DataError, match="split is empty"):
        measure(Scripted(perfect()), Split((), ()), names=NAMES)
    spoiled = perfect()
    spoiled[1][5, 7] = np.nan
    with pytest.raises(WeightsError, match="NaN"):
        measure(Scripted(spoiled), split, names=NAMES)
    with pytest.raises(WeightsError, match="class 1 is 'b', in the data set it is 'x'"):
        measure(Scripted(perfect()), split, names=("a", "x", "c"))
    no_boxes = Split(split.images, tuple(np.zeros((0, 5), np.float32) for _ in split.images))
    with pytest.raises(DataError, match="no score threshold"):
        evaluate_detector(Scripted(perfect()), DetectionSet("d", NAMES, split, no_boxes, split, "0" * 64), iou=0.5)


def noisy(seed: int) -> tuple[list[list[tuple[list[float], int]]], list[Array]]:
    """Random truth, and detections that miss, jitter, rename and invent."""
    rng = np.random.default_rng(seed)
    truth, raw = [], []
    for _ in range(12):
        rows = [
            ([float(v) for v in (*rng.uniform(20, 108, 2), *rng.uniform(12, 40, 2))], int(rng.integers(0, 3)))
            for _ in range(int(rng.integers(0, 5)))
        ]
        found: list[tuple[list[float], int, float]] = []
        for box, label in rows:
            for _ in range(int(rng.integers(0, 3))):
                moved = [float(v) for v in np.array(box) + rng.normal(0, 2.0, 4)]
                renamed = label if rng.random() < 0.8 else int(rng.integers(0, 3))
                found.append((moved, renamed, float(rng.uniform(0.01, 1))))
        for _ in range(int(rng.integers(0, 4))):
            invented = [float(v) for v in (*rng.uniform(20, 108, 2), *rng.uniform(12, 40, 2))]
            found.append((invented, int(rng.integers(0, 3)), float(rng.uniform(0.01, 0.7))))
        truth.append(rows)
        raw.append(raw_output(found))
    return truth, raw


@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_a_written_out_reference(tmp_path: Path, seed: int) -> None:
    truth, raw = noisy(seed)
    measured = measure(Scripted(raw), make_split(tmp_path, truth), names=NAMES, batch=5)
    found = ranked_detections(raw)
    for label in range(3):
        ap = measured.class_ap(label)
        assert ap is not None
        for level, iou in enumerate(np.linspace(0.5, 0.95, 10)):
            assert ap[level] == pytest.approx(reference_ap(found, truth, label, float(iou)), abs=1e-6)


def ranked_detections(raw: Sequence[Array]) -> list[list[tuple[list[float], int, float]]]:
    """Greedy NMS at IoU 0.7 within a class, written out; several labels a box."""
    images = []
    for output in raw:
        candidates = [
            ([float(v) for v in output[:4, column]], label, float(output[4 + label, column]))
            for column in range(ANCHORS)
            for label in range(3)
            if output[4 + label, column] > 0.001
        ]
        kept: list[tuple[list[float], int, float]] = []
        for candidate in sorted(candidates, key=lambda row: -row[2]):
            rivals = (other for other in kept if other[1] == candidate[1])
            if all(centre_iou(candidate[0], other[0]) <= 0.7 for other in rivals):
                kept.append(candidate)
        images.append(kept)
    return images


def centre_iou(a: Sequence[float], b: Sequence[float]) -> float:
    wide = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    high = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def reference_ap(found: Any, truth: Any, label: int, iou: float) -> float:
    """Greedy matching by score, the precision envelope, and 101 points of it joined by straight lines."""
    ranked = []
    for detections, rows in zip(found, truth, strict=True):
        free = [box for box, other in rows if other == label]
        for box, _, score in sorted((d for d in detections if d[1] == label), key=lambda row: -row[2]):
            best = max(free, key=lambda defect: centre_iou(defect, box), default=None)
            hit = best is not None and centre_iou(best, box) >= iou
            if hit:
                free.remove(best)
            ranked.append((score, hit))
    ranked.sort(key=lambda row: -row[0])
    positives = sum(other == label for rows in truth for _, other in rows)
    recall, precision, hits = [0.0], [1.0], 0
    for number, (_, hit) in enumerate(ranked, start=1):
        hits += hit
        recall.append(hits / positives)
        precision.append(hits / number)
    recall += [recall[-1], 1.0]
    precision += [0.0, 0.0]
    envelope = [max(precision[index:]) for index in range(len(precision))]
    points = []
    for point in np.linspace(0, 1, 101):
        left = max(index for index, value in enumerate(recall) if value <= point)
        if left == len(recall) - 1 or recall[left] == point:
            points.append(envelope[left])
            continue
        share = (point - recall[left]) / (recall[left + 1] - recall[left])
        points.append(envelope[left] + share * (envelope[left + 1] - envelope[left]))
    return sum((points[index] + points[index + 1]) / 2 for index in range(100)) / 100


def test_numbers_equal_ultralytics_own_validator(tmp_path: Path) -> None:
    """The validator that training uses, fed the same raw output and boxes."""
    from ultralytics.models.yolo.detect import DetectionValidator

    truth, raw = noisy(7)
    split = make_split(tmp_path, truth)
    measured = measure(Scripted(raw), split, names=NAMES, batch=5)
    arguments = {"conf": 0.001, "iou": 0.7, "max_det": 300, "plots": False, "imgsz": SIDE, "task": "detect"}
    validator = DetectionValidator(save_dir=tmp_path, args=arguments)
    validator.device, validator.end2end, validator.nc = torch.device("cpu"), False, 3
    validator.seen, validator.is_custom_json, validator.build_gdict = 0, False, False
    validator.metrics.names = dict(enumerate(NAMES))
    for path, output, boxes in zip(split.images, raw, split.boxes, strict=True):
        batch = {
            "batch_idx": torch.zeros(len(boxes)),
            "cls": torch.from_numpy(boxes[:, :1]),
            "bboxes": torch.from_numpy(boxes[:, 1:]),
            "ori_shape": [(SIDE, SIDE)],
            "ratio_pad": [((1.0, 1.0), (0, 0))],
            "img": torch.zeros(1, 3, SIDE, SIDE),
            "im_file": [str(path)],
        }
        validator.update_metrics(validator.postprocess(torch.from_numpy(output[None])), batch)
    stats = validator.get_stats()
    threshold = measured.best_threshold()
    assert threshold is not None
    mine = measured.summary(threshold)
    for key in ("precision", "recall", "mAP50", "mAP50-95"):
        assert mine[key] == pytest.approx(stats[f"metrics/{key}(B)"], abs=1e-12)
    assert 0.1 < mine["mAP50"] < 0.9


def test_the_confusion_matrix_counts_every_defect_once(tmp_path: Path) -> None:
    truth, raw = noisy(3)
    measured: Measurement = measure(Scripted(raw), make_split(tmp_path, truth), names=NAMES)
    matrix = np.array(measured.confusion(threshold=0.3, iou=0.5))
    assert matrix[:, :3].sum(axis=0).tolist() == measured.instances.tolist()
    assert matrix[:3].sum() == measured.inspection(threshold=0.3, iou=0.5).detections.sum()
