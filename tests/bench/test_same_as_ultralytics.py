"""The pipeline that ships finds what Ultralytics' predict finds in the same ONNX file, on real images of any shape."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recipebox.bench.cpu_backends import OnnxCpu
from recipebox.bench.pipeline import HostPipeline, detect
from recipebox.data.letterbox import read_image
from recipebox.export.onnx import export_onnx
from recipebox.ultralytics_setup import import_ultralytics

YOLOV8N = "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"
BOX_PX, SCORE = 0.02, 1e-4
"""The same network on the same input; what is left is the order in which ONNX Runtime's threads add up."""

Image = NDArray[np.uint8]
Rows = NDArray[np.floating]


def given(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable, "")) / name
    if not os.environ.get(variable) or not path.is_file():
        pytest.skip(f"needs {name} in ${variable}")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YOLOv8n with COCO weights, 320 px."""
    path = tmp_path_factory.mktemp("yolov8n") / "yolov8n.onnx"
    export_onnx(given("RECIPEBOX_WEIGHTS", "yolov8n.pt"), path, 320, sha256=YOLOV8N)
    return path


def theirs(file: Path, images: Iterable[Image], conf: float, imgsz: int = 320) -> Iterable[Rows]:
    import_ultralytics()
    from ultralytics import YOLO

    model = YOLO(str(file), task="detect")
    for image in images:
        found = model.predict(image, imgsz=imgsz, conf=conf, rect=False, device="cpu", verbose=False)[0].boxes
        yield np.concatenate([found.xyxy.numpy(), found.conf.numpy()[:, None], found.cls.numpy()[:, None]], axis=1)


def compare(file: Path, images: list[Image], conf: float) -> int:
    """Assert that both find the same, best first, and return how many detections that were."""
    pipeline = HostPipeline(OnnxCpu(file, threads=1), conf=conf)
    compared = 0
    for image, expected in zip(images, theirs(file, images, conf), strict=True):
        ours = detect(pipeline, image)
        assert_same(ours, expected, conf)
        compared += len(ours)
    return compared


def assert_same(ours: Rows, theirs: Rows, conf: float) -> None:
    """Every row has its partner; one whose score is within SCORE of the threshold may be missing."""
    for one, other in ((ours, theirs), (theirs, ours)):
        for row in one:
            if row[4] < conf + SCORE:
                continue
            same = (np.abs(other[:, :4] - row[:4]).max(axis=1, initial=0.0) <= BOX_PX) & (other[:, 5] == row[5])
            assert (np.abs(other[same, 4] - row[4]) <= SCORE).any(), (row, other)
    assert abs(len(ours) - len(theirs)) <= (np.abs(np.concatenate([ours, theirs])[:, 4] - conf) < SCORE).sum()


def odd_shapes(image: Image) -> list[Image]:
    """Crops whose sides leave odd remainders: wide, high, tiny, one pixel thin, larger than the input."""
    height, width = image.shape[:2]
    sides = (
        (height, width),
        (333, 517),
        (517, 211),
        (height, 97),
        (61, width),
        (33, 35),
        (1, 64),
        (320, 320),
        (319, 320),
    )
    crops = [np.ascontiguousarray(image[: min(h, height), : min(w, width)]) for h, w in sides]
    return [*crops, np.ascontiguousarray(image.repeat(2, axis=0).repeat(2, axis=1)[:901, :1203])]


def test_photographs_and_odd_shapes(exported: Path, tmp_path: Path) -> None:
    with tarfile.open(given("RECIPEBOX_DATA", "coco8.tar")) as tar:
        tar.extractall(tmp_path, filter="data")
    photographs = [read_image(path) for path in sorted(tmp_path.glob("coco8/images/val/*.jpg"))]
    assert len(photographs) == 4
    assert compare(exported, photographs, conf=0.25) >= 10
    assert compare(exported, photographs, conf=0.01) >= 100
    shapes = [shape for photograph in photographs[:2] for shape in odd_shapes(photograph)]
    assert compare(exported, shapes, conf=0.05) >= 40


def test_nms_free_network(make: Any, tiny: Any, tmp_path: Path) -> None:
    sha256 = make.save_detector(tmp_path / "yolo26n.pt", tiny.data.test.images, arch="yolo26n")
    export_onnx(tmp_path / "yolo26n.pt", tmp_path / "yolo26n.onnx", 64, sha256=sha256)
    images = [read_image(path) for path in tiny.data.test.images]
    pipeline = HostPipeline(OnnxCpu(tmp_path / "yolo26n.onnx", threads=1), conf=0.1)
    found = 0
    for image, expected in zip(images, theirs(tmp_path / "yolo26n.onnx", images, 0.1, imgsz=64), strict=True):
        ours = detect(pipeline, image)
        assert_same(ours, expected, 0.1)
        found += len(ours)
    assert found


@pytest.mark.slow
def test_every_test_image_of_deeppcb(exported: Path) -> None:
    from recipebox.data.datasets import prepare

    given("RECIPEBOX_DATA", "deeppcb.tar")
    boards = [read_image(path) for path in prepare("deeppcb").test.images]
    assert len(boards) == 500
    # COCO weights see little on a board, so all they see counts; a trained detector: docs/results/speed.md.
    assert compare(exported, boards, conf=0.005) >= 500
