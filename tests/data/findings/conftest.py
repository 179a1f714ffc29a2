"""A clean set in YOLO layout, to plant faults in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from recipebox.data.findings.check_set import SetReport, check_set

SIDE = (96, 128)


def picture(seed: int, side: tuple[int, int] = SIDE) -> np.ndarray:
    """Soft random blobs with a little noise, (height, width, 3): like no other seed's."""
    source = np.random.default_rng(seed)
    blobs = cv2.resize(source.integers(0, 256, (8, 8, 3), dtype=np.uint8), side[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(blobs.astype(int) + source.integers(-5, 6, blobs.shape), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())
    return path


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """Six train, three val and three test images, two classes in each, two boxes an image. The name has a blank."""
    root = tmp_path / "my boards"
    seed = 0
    for split, count in {"train": 6, "val": 3, "test": 3}.items():
        for index in range(count):
            suffix = ".jpg" if index % 2 else ".png"
            save(root / f"images/{split}/{split}_{index}{suffix}", picture(seed := seed + 1))
            label = root / f"labels/{split}/{split}_{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.3 0.4 0.2 0.25\n1 0.7 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text(
        "names: [scratch, dent]\nnc: 2\ntrain: images/train\nval: images/val\ntest: images/test\n"
    )
    return root


@pytest.fixture
def check(boards: Path) -> Callable[..., SetReport]:
    return lambda **settings: check_set(str(boards), **settings)
