"""Detect with the model in this folder. Needs Python 3.8 or newer, numpy, Pillow and onnxruntime, and nothing else.

    python detect.py image.jpg folder ...       one JSON document on stdout: what was found on each image

Or from Python:

    detector = Detector(".")
    for box in detector(image): ...              # image: numpy (height, width, 3) uint8 RGB, or a path

Pre-processing, non-maximum suppression and thresholds are those that the detector was evaluated with (bundle.json).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any, Iterator  # noqa: UP035  # collections.abc has it from 3.9 on

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Detector:
    """The model of a bundle, checked by its hash.

    Raises OSError or ValueError when the folder is not a whole bundle, or onnxruntime is too old for it.
    """

    def __init__(self, folder: str = ".") -> None:
        self.about = read_about(os.path.join(folder, "bundle.json"))
        with open(os.path.join(folder, "model.onnx"), "rb") as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != self.about["sha256"]:
            raise ValueError("model.onnx is not the file that was measured (SHA-256). Copy the bundle again.")
        self.names = self.about["names"]
        self.thresholds = np.array([self.about["thresholds"][name] for name in self.names], np.float32)
        # Not simply all that there are: TensorRT's would build an engine for minutes.
        wanted = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # onnxruntime's errors have no base class of their own
            version = onnxruntime.__version__
            mend = "`pip install -U -r requirements.txt` brings one that can"
            raise ValueError(f"onnxruntime {version} cannot load model.onnx ({short(error)}). {mend}.") from None
        entry = self.session.get_inputs()[0]
        self.input, self.imgsz = entry.name, int(entry.shape[2])
        self.batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1

    def __call__(self, image: Any) -> list[dict[str, Any]]:
        """Boxes of one image, best first: dicts with class, score and x1, y1, x2, y2 in pixels of the image.

        Raises OSError or ValueError when the image cannot be read or is no (height, width, 3) uint8.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ValueError(f"an image is (height, width, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        canvas, scales, left, top = letterbox(pixels, self.imgsz, self.about["padding"])
        prepared = np.ascontiguousarray(canvas.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
        fed = np.zeros((self.batch, *prepared.shape), np.float32)
        fed[0] = prepared
        raw = self.session.run(None, {self.input: fed})[0][0]
        if not np.isfinite(raw).all():
            raise ValueError("the model's output holds NaN or infinity")
        final = raw.shape[1] == 6 and raw.shape[0] != 4 + len(self.names)
        rows = raw[raw[:, 4] > self.thresholds.min()] if final else self.suppressed(raw)
        rows = rows[rows[:, 4] > self.thresholds[rows[:, 5].astype(int)]]
        height, width = pixels.shape[:2]
        boxes = (rows[:, :4] - np.array([left, top, left, top], np.float32)) / np.array(scales * 2, np.float32)
        boxes = boxes.clip(0, np.array([width, height, width, height], np.float32))
        return [
            dict(
                [("class", self.names[int(row[5])]), ("score", float(row[4]))],
                **dict(zip(("x1", "y1", "x2", "y2"), (float(value) for value in box))),  # noqa: B905
            )
            for row, box in zip(rows, boxes)  # noqa: B905
        ]

    def suppressed(self, raw: Any) -> Any:
        """(4 + classes, anchors) -> (n, 6): corners, score, class; best first, one class a box, class by class."""
        best = raw[4:].argmax(axis=0)
        score = raw[4:].max(axis=0)
        some = np.flatnonzero(score > self.thresholds.min())
        some = some[np.argsort(-score[some], kind="stable")]
        centre, reach = raw[:2, some].T, raw[2:4, some].T / 2
        boxes = np.concatenate([centre - reach, centre + reach], axis=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        alive = np.ones(len(some), bool)
        kept = []
        for index in range(len(some)):
            if not alive[index]:
                continue
            kept.append(index)
            low = np.maximum(boxes[index, :2], boxes[:, :2])
            high = np.minimum(boxes[index, 2:], boxes[:, 2:])
            shared = (high - low).clip(0).prod(axis=1)
            overlap = shared / np.maximum(areas[index] + areas - shared, np.float32(1e-9))
            alive &= ~((overlap > self.about["nms_iou"]) & (best[some] == best[some[index]]))
        kept = kept[: self.about["max_detections"]]
        rows = np.concatenate([boxes, score[some][:, None], best[some][:, None].astype(np.float32)], axis=1)
        return rows[kept].astype(np.float32)


def read_about(path: str) -> dict[str, Any]:
    """bundle.json; a ValueError where it is not as it was written."""
    with open(path, encoding="utf-8") as file:
        try:
            about = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"bundle.json is not valid JSON ({error}). Copy the bundle again.") from None
    if not isinstance(about, dict) or about.get("schema") != 1:
        raise ValueError("bundle.json is not of a bundle that this script knows. Copy the bundle again.")
    thresholds, names = about.get("thresholds"), about.get("names")
    if not isinstance(names, list) or not names or not isinstance(thresholds, dict):
        raise ValueError("bundle.json lacks names or thresholds. Copy the bundle again.")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("bundle.json lacks names or thresholds. Copy the bundle again.")
    for name in names:
        if not is_share(thresholds.get(name)):
            value = thresholds.get(name)
            raise ValueError(f"bundle.json: the threshold of {name} is {value}; it is a number from 0 to 1.")
    fits = {
        "sha256": isinstance(about.get("sha256"), str),
        "padding": is_count(about.get("padding")) and about["padding"] <= 255,
        "nms_iou": is_share(about.get("nms_iou")),
        "max_detections": is_count(about.get("max_detections")),
    }
    wrong = [key for key in fits if not fits[key]]
    if wrong:
        raise ValueError(f"bundle.json lacks {', '.join(wrong)}, or holds something else there. Copy the bundle again.")
    return about


def is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_image(path: str) -> Any:
    """(height, width, 3) uint8 RGB, turned as its EXIF says; grey, palette, alpha and 16 bit become three channels."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                grey = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a spoiled image raises whatever its decoder stumbles over
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror) from None
        raise ValueError(f"cannot be read as an image: {short(error)}") from None


def short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def letterbox(image: Any, imgsz: int, padding: int) -> tuple[Any, tuple[float, float], int, int]:
    """The image scaled into a square, and where it lies there: canvas, scales of x and y, left, top."""
    height, width = image.shape[:2]
    scale = min(imgsz / height, imgsz / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = round((imgsz - size[0]) / 2 - 0.1), round((imgsz - size[1]) / 2 - 0.1)
    canvas = np.full((imgsz, imgsz, 3), padding, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = resized(image, size)
    return canvas, (size[0] / width, size[1] / height), left, top


def resized(image: Any, size: tuple[int, int]) -> Any:
    """Bilinear in whole numbers, as OpenCV's INTER_LINEAR does it: weights of 11 bits, half the size by the mean."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    if (width, height) == (2 * size[0], 2 * size[1]):
        whole = image.astype(np.uint16)
        total = whole[0::2, 0::2] + whole[0::2, 1::2] + whole[1::2, 0::2] + whole[1::2, 1::2]
        return ((total + 2) >> 2).astype(np.uint8)
    first, second, far = steps(width, size[0])
    columns = image.astype(np.int32)
    columns = columns[:, first] * (2048 - far)[None, :, None] + columns[:, second] * far[None, :, None]
    first, second, far = steps(height, size[1])
    near = ((2048 - far)[:, None, None] * (columns[first] >> 4)) >> 16
    return ((near + ((far[:, None, None] * (columns[second] >> 4)) >> 16) + 2) >> 2).clip(0, 255).astype(np.uint8)


def steps(source: int, target: int) -> tuple[Any, Any, Any]:
    """For each pixel of a side the two it lies between, and the weight of the second, of 2048."""
    place = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    part = place - first.astype(np.float32)
    part[first < 0] = 0
    part[first >= source - 1] = 0
    first = first.clip(0, source - 1)
    return first, np.minimum(first + 1, source - 1), np.rint(part * np.float32(2048)).astype(np.int32)


def images_in(names: list[str]) -> Iterator[str]:
    """The files that are named, and the images of folders; a folder without any is given itself."""
    for name in names:
        inside = sorted(os.listdir(name)) if os.path.isdir(name) else []
        images = [os.path.join(name, entry) for entry in inside if entry.lower().endswith(SUFFIXES)]
        yield from images or [name]


def main() -> int:
    """Returns the exit code: 2 where an image cannot be read, or none was named."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 0 if len(sys.argv) > 1 else 2
    try:
        detector = Detector(os.path.dirname(os.path.abspath(__file__)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    document, failed = {}, False
    for path in images_in(sys.argv[1:]):
        try:
            if os.path.isdir(path):
                raise ValueError(f"a folder without images ({', '.join(SUFFIXES)})")
            document[path] = detector(path)
        except (OSError, ValueError) as error:
            print(f"error: {path}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            failed = True
    json.dump(document, sys.stdout, indent=1)
    print()
    return 2 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
