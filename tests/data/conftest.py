"""A user's folders of their own for every test, small data sets, and a disk that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder (empty); RECIPEBOX_* of the machine do not count."""
    root = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    for name in ("RECIPEBOX_DATA", "RECIPEBOX_WEIGHTS", "RECIPEBOX_RUNS"):
        monkeypatch.delenv(name, raising=False)
    return root / "recipebox"


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of real data sets, with a cache of its own; skips where there is none."""
    given = os.environ.get("RECIPEBOX_DATA")
    if not given:
        pytest.skip("RECIPEBOX_DATA is not set: no real data here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(given)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a real tmpfs of so many KiB; skips where that is not permitted."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        if os.geteuid() != 0:
            pytest.skip("mounting a small disk needs root")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only(small_disk: Callable[[int], Path]) -> Path:
    """A folder on a file system that is mounted read-only (root may write anywhere else)."""
    place = small_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    return place


def write_image(path: Path, seed: int = 0, side: int = 32) -> Path:
    """A decodable image file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


@pytest.fixture
def yolo_folder(tmp_path: Path, cache: Path) -> Path:
    """A folder in YOLO layout: 6 train, 2 val and 2 test images, two classes, one box an image."""
    root = tmp_path / "boards"
    seed = 0
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        for index in range(count):
            write_image(root / f"images/{split}/{split}_{index}.png", seed := seed + 1)
            label = root / f"labels/{split}/{split}_{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{index % 2} 0.5 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text("names: [scratch, dent]\ntrain: images/train\nval: images/val\ntest: images/test\n")
    return root
