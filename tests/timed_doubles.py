"""Backends whose answers and times are known, for the tests of the bench."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Slow:
    """Takes its time and finds one box of 16 px in the middle of a canvas of 64 px."""

    name: Any = "onnxruntime-cpu"
    batch = 1
    device, names, imgsz, sha256, precision = "cpu", ("a",), 64, "0" * 64, "fp32"

    def __init__(self, seconds: float = 0.0, *, error: Exception | None = None, after: int = 0) -> None:
        self.seconds, self.error, self.after = seconds, error, after
        self.seen: list[NDArray[np.float32]] = []

    def copy_in(self, inputs: NDArray[np.float32]) -> None:
        self.seen.append(inputs.copy())

    def infer(self) -> None:
        if self.error is not None and len(self.seen) > self.after:
            raise self.error
        time.sleep(self.seconds)

    def copy_out(self) -> NDArray[np.float32]:
        raw = np.zeros((1, 5, 84), np.float32)
        raw[0, :, 0] = [32, 32, 16, 16, 0.9]
        return raw
