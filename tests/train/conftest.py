"""A toy set of coloured rectangles and the arguments of a training that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recipebox.data.detection_set import DetectionSet, Split

COLOURS = [(255, 40, 40), (40, 255, 40), (40, 40, 255)]


def draw_split(folder: Path, count: int, seed: int, size: int = 96) -> Split:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, boxes = [], []
    for number in range(count):
        image = np.full((size, size, 3), int(rng.integers(0, 80)), np.uint8)
        rows = []
        for _ in range(int(rng.integers(1, 4))):
            label = int(rng.integers(0, 3))
            width, height = (int(v) for v in rng.integers(12, 30, 2))
            left, top = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
            cv2.rectangle(image, (left, top), (left + width, top + height), COLOURS[label], -1)
            rows.append([label, (left + width / 2) / size, (top + height / 2) / size, width / size, height / size])
        path = folder / f"{number:03}.png"
        cv2.imwrite(str(path), image)
        images.append(path)
        boxes.append(np.array(rows, np.float32))
    return Split(tuple(images), tuple(boxes))


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    root = tmp_path_factory.mktemp("toy")
    train, val, test = (draw_split(root / name, n, n) for name, n in (("train", 22), ("val", 8), ("test", 6)))
    return DetectionSet("toy", ("red", "green", "blue"), train, val, test, "0" * 64)


@pytest.fixture(scope="session")
def plain_arguments() -> dict[str, Any]:
    """What every small training on the toy set has; extend a copy of it."""
    return {
        "model": "yolov8n.yaml",
        "pretrained": False,
        "task": "detect",
        "mode": "train",
        "data": "toy",
        "device": "cpu",
        "plots": False,
        "verbose": False,
        "exist_ok": True,
        "optimizer": "AdamW",
        "lr0": 0.002,
        "seed": 3,
        "workers": 0,
    }


@pytest.fixture
def arguments(plain_arguments: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of six batches, accumulation over five, mosaic and mixup until the last epoch."""
    return plain_arguments | {
        "epochs": 3,
        "imgsz": 64,
        "batch": 4,
        "nbs": 20,
        "warmup_epochs": 1,
        "close_mosaic": 1,
        "mixup": 0.2,
    }
