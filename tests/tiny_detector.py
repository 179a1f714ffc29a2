"""A small random detector with something to lose, for the tests of evaluate, export and bench.

Nothing is trained: the last layers of a fresh network are scaled so that its scores vary from place to place and class
to class, and the test set's true boxes are what it then detects best. Its mAP is high, and any change in what it
computes lowers it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.data.letterbox import letterbox, read_image
from recipebox.evaluate.detection import prepare
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import detections
from recipebox.evaluate.run import evaluate
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json
from recipebox.train.network import network_file
from recipebox.ultralytics_setup import import_ultralytics

NAMES = ("open", "short", "pin hole's")
IMGSZ = 64


def draw_images(folder: Path, count: int, seed: int) -> tuple[Path, ...]:
    """Rectangles on grey, of several shapes, so that the letterbox has something to do."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        height, width = (64, 64) if number % 2 else (60, 90)
        image = np.full((height, width, 3), int(rng.integers(40, 200)), np.uint8)
        for _ in range(8):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            colour = [int(value) for value in rng.integers(0, 255, 3)]
            cv2.rectangle(image, (x, y), (x + int(rng.integers(4, 30)), y + int(rng.integers(4, 30))), colour, -1)
        paths.append(folder / f"{number:03}.png")
        cv2.imwrite(str(paths[-1]), image)
    return tuple(paths)


def prepared(images: tuple[Path, ...]) -> NDArray[np.float32]:
    """(n, 3, IMGSZ, IMGSZ). Only what the detector was scaled for keeps it from amplifying rounding."""
    return np.stack([prepare(image, np.zeros((0, 5), np.float32), IMGSZ)[0] for image in images])


def save_detector(
    path: Path, images: tuple[Path, ...], arch: str = "yolov8n", spoil: Callable[[Any], None] | None = None
) -> str:
    """Write a checkpoint as training writes them (EMA in half precision); returns its SHA-256.

    `spoil` may change the network before it is written.
    """
    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(network_file(arch), nc=len(NAMES), verbose=False).eval()
    model.names = dict(enumerate(NAMES))
    _sharpen(model, torch.from_numpy(prepared(images)))
    if spoil is not None:
        spoil(model)
    torch.save({"epoch": -1, "model": None, "ema": copy.deepcopy(model).half(), "train_args": {}}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sharpen(model: Any, inputs: torch.Tensor) -> None:
    # In a fresh network signals die out with depth: let every batch norm take its statistics from the images.
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    head = model.model[-1]
    branches = [(head.cv2, head.cv3)]
    if getattr(head, "one2one_cv2", None) is not None:
        branches.append((head.one2one_cv2, head.one2one_cv3))
    for boxes, scores in branches:
        for level in scores:
            _spread(level[-1], model, inputs)
        for level in boxes:
            bins = torch.arange(head.reg_max, dtype=torch.float32)
            wanted = -((bins - 1.5) ** 2) if head.reg_max > 1 else torch.full((1,), 1.5)
            level[-1].bias.data = wanted.repeat(4)
            level[-1].weight.data *= 0.2


def _spread(layer: torch.nn.Conv2d, model: Any, inputs: torch.Tensor) -> None:
    """Scale a score layer to logits of mean -3 and deviation 1.5 for each class."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda module, arguments, output: seen.append(output))
    with torch.no_grad():
        model(inputs)
    hook.remove()
    mean, deviation = seen[0].mean(dim=(0, 2, 3)), seen[0].std(dim=(0, 2, 3)).clamp(min=1e-6)
    assert layer.bias is not None
    layer.weight.data *= (1.5 / deviation)[:, None, None, None]
    layer.bias.data = (layer.bias.data - mean) * 1.5 / deviation - 3


def set_that_fits(detector: TorchDetector, images: tuple[Path, ...]) -> DetectionSet:
    """A data set whose three splits are the same `split_that_fits`."""
    split = split_that_fits(detector, images)
    return DetectionSet("tiny", NAMES, split, split, split, "0" * 64)


def split_that_fits(detector: TorchDetector, images: tuple[Path, ...], above: float | None = None) -> Split:
    """Images whose true boxes are the detector's three best on each, the last two have none.

    With `above` they are all that score more, cut where the image ends, as a label file holds them.
    """
    boxes = []
    for number, path in enumerate(images):
        inputs, _ = prepare(path, np.zeros((0, 5), np.float32), IMGSZ)
        best = detections(detector(inputs[None]), conf=above or 0.001)[0]
        best = best if above else best[: 3 if number < len(images) - 2 else 0]
        image = read_image(path)
        place = letterbox(image, IMGSZ)[1]
        height, width = image.shape[:2]
        scales = np.array([place.scale_x * width, place.scale_y * height] * 2)
        corners = (best[:, :4] - np.array([place.left, place.top] * 2)) / scales
        corners = corners.clip(0, 1) if above else corners
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        boxes.append(np.concatenate([best[:, 5:], centre, size], axis=1).astype(np.float32))
    return Split(images, tuple(boxes))


def tiny_settings(**changes: dict[str, Any]) -> Settings:
    """Settings of a run at IMGSZ; `changes` replaces sections."""
    sections: dict[str, Any] = {
        "data": {"dataset": "tiny"},
        "model": {"weights": "scratch", "arch": "yolov8n"},
        "train": {"epochs": 1, "imgsz": IMGSZ, "batch": 2, "optimizer": "auto"},
        "bench": {"images": 12},
    }
    return Settings.model_validate(sections | changes)


def trained_run(root: Path, weights: Path, sha256: str) -> RunDir:
    """A run folder as it is after training."""
    run = RunDir.create("tiny", root)
    (run.root / "plan.yaml").write_text("name: tiny\n", encoding="utf-8")
    run.best.write_bytes(weights.read_bytes())
    write_json(run.result("train"), {"schema": 1, "weights": {"best": {"file": "weights/best.pt", "sha256": sha256}}})
    return run


@dataclass(frozen=True)
class Tiny:
    """The weights, their hash and a data set that they fit."""

    weights: Path
    sha256: str
    data: DetectionSet


@functools.cache
def build_tiny(base: Path) -> Tiny:
    """Made once for all folders of tests, under the session's base folder."""
    root = base / "tiny-detector"
    with one_thread():
        images = draw_images(root / "images", 8, seed=1)
        sha256 = save_detector(root / "best.pt", images)
        detector = TorchDetector(root / "best.pt", sha256=sha256, imgsz=IMGSZ, device="cpu")
        return Tiny(root / "best.pt", sha256, set_that_fits(detector, images))


@functools.cache
def build_evaluated_run(base: Path) -> RunDir:
    """A run of the tiny detector after the evaluate stage; copy it before changing it."""
    tiny = build_tiny(base)
    run = trained_run(base / "tiny-runs", tiny.weights, tiny.sha256)
    with one_thread():
        evaluate(run, tiny_settings(), tiny.data, device="cpu")
    return run


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a network this small more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
