"""A machine that has what a test says, and recipes written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipebox.recipe.machine import Machine

BOARD = ("open", "short", "mousebite", "spur", "copper", "pin-hole")


@dataclass(frozen=True)
class Facts:
    names: tuple[str, ...] | None
    counts: Mapping[str, int] | None
    download_bytes: int | None
    available: bool
    meant: str | None = None


@dataclass(frozen=True)
class Shelf:
    """What the machine has: data sets and weights on disk, and what the network would give."""

    data: frozenset[str] = frozenset({"deeppcb"})
    weights: frozenset[str] = frozenset({"yolov8n.pt", "yolov8s.pt", "yolov8x.pt", "yolo11n.pt", "yolo26n.pt"})
    classes: tuple[str, ...] | None = ("car",)

    def known(self, name: str, images: int | None) -> Facts:
        if name == "pcb-synthetic":
            train = images or 1000
            return Facts(BOARD, {"train": train, "val": train // 4, "test": train // 4}, None, True)
        if name == "deeppcb":
            here = name in self.data
            train = min(700, images or 700)
            return Facts(BOARD, {"train": train, "val": 300, "test": 500}, None if here else 110_000_000, here)
        if name == "cars":
            return Facts(self.classes, {"train": 90, "val": 10, "test": 10}, None, True)
        return Facts(None, None, None, False, "deeppcb" if name == "deepcb" else None)

    def weights_available(self, name: str, sha256: str | None) -> bool:
        return name in self.weights

    def weights_bytes(self, name: str) -> int | None:
        return 6_500_000 if name.startswith(("yolov8", "yolo11", "yolo26")) else None


@pytest.fixture
def machine() -> Callable[..., Machine]:
    """make(device="cpu", shelf=Shelf(...), free_disk=...)"""

    def make(device: str = "cpu", shelf: Shelf | None = None, free_disk: int = 10**12) -> Machine:
        shelf = shelf or Shelf()
        name = None if device == "cpu" else "NVIDIA Test"
        return Machine(device, name, 2, free_disk, shelf.known, shelf.weights_available, shelf.weights_bytes)

    return make


@pytest.fixture
def shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write("name", "yaml text") -> path"""

    def save(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return save


GOOD = """\
data: {dataset: deeppcb}
model: {weights: yolov8n.pt}
train:
  epochs: 12
  imgsz: 320
  batch: 16
  nbs: 16
  optimizer: AdamW
  lr0: 1e-3
  close_mosaic: 3
techniques:
  ema: {tau: 100}
"""


@pytest.fixture
def good() -> str:
    return GOOD
