"""What a border around the image does to a detector: is grey (or any other border) a cue for the size of boxes?

    python tests/benchmarks/border_reading.py DATASET IMGSZ a.pt b.pt ... [--split val] [--images 100] [--quick]

Conditions, all with objects at one and the same scale:

    none            images as deployed, at IMGSZ (they must be square: others have a border already)
    <kind>-<n>      n px of border all round, network input IMGSZ + 2 n; kind: grey, black or reflect
    wide-<kind>     only the middle three quarters of the rows are shown, as of a 4:3 image letterboxed to a square;
    tall-<kind>     the same of the columns. Kind `image` shows the rest of the image there: the control of the others,
                    with the same labels

Objects and detections whose centre lies in the border are left out everywhere, and boxes are cut to what is shown, as
deployment cuts them. For each weights file and condition: mAP50, mAP50-95; `over75`, the share of true boxes that a
detection of their class with a score of --score or more meets with an IoU of .75; `inward_px`, how far the edges of
the boxes that are met (IoU .5) lie inside the true ones on average, in pixels of the input. --quick leaves out all but
none, 32 px and wide. Prints a line each and one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recipebox.data.archive import file_sha256
from recipebox.data.datasets import prepare
from recipebox.data.detection_set import Split
from recipebox.data.letterbox import PADDING, letterbox, read_image
from recipebox.evaluate.detection import Measurement, measure
from recipebox.evaluate.detector import TorchDetector
from recipebox.progress import set_quiet

KINDS = ("grey", "black", "reflect")
WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Condition:
    """What is shown around the image.

    Attributes:
        name: as printed.
        side: of the network's input, pixels.
        rows, columns: where in it the image is shown, (first, last exclusive).
        kind: of the border, or `image` for what is really there.
    """

    name: str
    side: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    kind: str

    def show(self, canvas: NDArray[np.uint8], imgsz: int) -> NDArray[np.uint8]:
        """The square (imgsz, imgsz, 3) image with this border, (side, side, 3)."""
        (top, bottom), (left, right) = self.rows, self.columns
        pad = (self.side - imgsz) // 2
        if self.kind == "image":
            return canvas
        shown = canvas[top - pad : bottom - pad, left - pad : right - pad]
        sides = (top, self.side - bottom, left, self.side - right)
        if self.kind == "reflect":
            return cv2.copyMakeBorder(shown, *sides, cv2.BORDER_REFLECT)  # type: ignore[return-value]
        level = PADDING if self.kind == "grey" else 0
        return cv2.copyMakeBorder(shown, *sides, cv2.BORDER_CONSTANT, value=(level, level, level))  # type: ignore[return-value]

    def labels(self, boxes: NDArray[np.float32], imgsz: int) -> NDArray[np.float32]:
        """Labels (n, 5) as fractions of the image -> those shown, as fractions of the input, cut to what is shown."""
        pixels = boxes[:, 1:] * imgsz
        pixels[:, :2] += (self.side - imgsz) / 2
        corners, inside = self.cut(pixels)
        size = corners[:, 2:] - corners[:, :2]
        centre_size = np.concatenate([corners[:, :2] + size / 2, size], axis=1) / self.side
        return np.concatenate([boxes[:, :1], centre_size], axis=1)[inside].astype(np.float32)

    def cut(self, centre_size: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(n, 4) centre and size, pixels -> corners cut to what is shown, (n, 4), and whose centre lies there, (n,)."""
        centre, half = centre_size[:, :2], centre_size[:, 2:] / 2
        first, last = np.array([self.columns[0], self.rows[0]]), np.array([self.columns[1], self.rows[1]])
        inside = ((centre >= first) & (centre < last)).all(1)
        return np.concatenate([(centre - half).clip(first, last), (centre + half).clip(first, last)], axis=1), inside


class Shown:
    """A detector whose boxes are cut to what a condition shows; what it finds in the border gets a score of 0."""

    def __init__(self, detector: TorchDetector, condition: Condition) -> None:
        self.detector, self.condition = detector, condition
        self.names, self.imgsz, self.sha256, self.precision = detector.names, detector.imgsz, detector.sha256, "fp32"

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        raw = self.detector(images).copy()
        for one in raw:
            if one.shape[1] == 6:  # free of NMS: (n, 6) corners, score, class
                size = one[:, 2:4] - one[:, :2]
                corners, inside = self.condition.cut(np.concatenate([one[:, :2] + size / 2, size], axis=1))
                one[:, :4], one[~inside, 4] = corners, 0
            else:  # (4 + nc, anchors)
                corners, inside = self.condition.cut(one[:4].T)
                size = corners[:, 2:] - corners[:, :2]
                one[:2], one[2:4] = (corners[:, :2] + size / 2).T, size.T
                one[4:, ~inside] = 0
        return raw


def conditions(imgsz: int, quick: bool) -> Iterator[Condition]:
    whole, eighth = (0, imgsz), imgsz // 8
    yield Condition("none", imgsz, whole, whole, "image")
    for width in (32,) if quick else WIDTHS:
        shown = (width, width + imgsz)
        for kind in KINDS:
            yield Condition(f"{kind}-{width}", imgsz + 2 * width, shown, shown, kind)
    band = (eighth, imgsz - eighth)
    for kind in ("image", *KINDS):
        yield Condition(f"wide-{kind}", imgsz, band, whole, kind)
        if not quick:
            yield Condition(f"tall-{kind}", imgsz, whole, band, kind)


def shown_split(split: Split, condition: Condition, imgsz: int, folder: Path) -> Split:
    """The split as the condition shows it, written losslessly to a folder."""
    folder.mkdir()
    paths, boxes = [], []
    for number, (path, labels) in enumerate(split):
        image = read_image(path)
        if image.shape[0] != image.shape[1]:
            raise SystemExit(f"{path}: {image.shape[1]} x {image.shape[0]} is not square; it has a border already.")
        paths.append(folder / f"{number:05}.png")
        shown = condition.show(letterbox(image, imgsz)[0], imgsz)
        cv2.imwrite(str(paths[-1]), shown, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        boxes.append(condition.labels(labels.copy(), imgsz))
    return Split(tuple(paths), tuple(boxes))


def reading(measured: Measurement, score: float) -> dict[str, float]:
    """mAP, share of true boxes met with IoU .75, and how far the met ones' edges lie inside the true ones."""
    summary, over, inward = measured.summary(score), [], []
    for found, true in zip(measured.line, measured.truth, strict=True):
        sure = found[found[:, 4] >= score]
        for box in true:
            same = sure[sure[:, 5] == box[4], :4]
            iou = _iou(box[:4], same)
            over.append(bool((iou >= 0.75).any()))
            if (iou >= 0.5).any():
                best = same[iou.argmax()]
                inward.append(((best[:2] - box[:2]).sum() + (box[2:4] - best[2:]).sum()) / 4)
    return {
        "mAP50": float(summary.get("mAP50", 0.0)),
        "mAP50-95": float(summary.get("mAP50-95", 0.0)),
        "over75": float(np.mean(over)) if over else 0.0,
        "inward_px": float(np.mean(inward)) if inward else 0.0,
    }


def _iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[Any]:
    size = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(0)
    areas = [(each[..., 2:4] - each[..., :2]).prod(-1) for each in (box, others)]
    return size.prod(1) / (areas[0] + areas[1] - size.prod(1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("imgsz", type=int)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--images", type=int, help="so many of the split, evenly spread; default: all")
    parser.add_argument("--score", type=float, default=0.25)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    set_quiet(True)
    data = prepare(options.dataset)
    split = data.split(options.split)
    chosen = np.linspace(0, len(split) - 1, min(options.images or len(split), len(split))).round().astype(int)
    split = Split(tuple(split.images[i] for i in chosen), tuple(split.boxes[i] for i in chosen))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for condition in conditions(options.imgsz, options.quick):
            shown = shown_split(split, condition, options.imgsz, Path(folder) / condition.name)
            for path in options.weights:
                detector = TorchDetector(path, sha256=file_sha256(path), imgsz=condition.side)
                measured = measure(Shown(detector, condition), shown, names=data.names)
                row = {"weights": str(path), "condition": condition.name, **reading(measured, options.score)}
                rows.append(row)
                print(" ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()), flush=True)
    print(json.dumps({"benchmark": "border_reading", "dataset": options.dataset, "split": options.split,
                      "images": len(split), "imgsz": options.imgsz, "score": options.score, "rows": rows}))  # fmt: skip


if __name__ == "__main__":
    main()
