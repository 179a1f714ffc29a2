"""Backends on the CPU. There is no other memory, so copying in and out only hands arrays over."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recipebox.bench.backend import Name, Raw
from recipebox.evaluate.detector import Detector, TorchDetector
from recipebox.export.detector import OnnxDetector


class _OnCpu:
    """A detector, asked in three steps."""

    device = "cpu"
    batch = 1

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.names, self.imgsz = detector.names, detector.imgsz
        self.sha256, self.precision = detector.sha256, detector.precision
        self._inputs: NDArray[np.float32] | None = None
        self._raw: Raw | None = None

    def copy_in(self, inputs: NDArray[np.float32]) -> None:
        self._inputs = inputs

    def infer(self) -> None:
        if self._inputs is None:
            raise ValueError("nothing was copied in")
        self._raw = self._detector(self._inputs)

    def copy_out(self) -> Raw:
        if self._raw is None:
            raise ValueError("nothing was inferred")
        return self._raw


class OnnxCpu(_OnCpu):
    """An ONNX file in ONNX Runtime's CPU provider. Raises as `OnnxDetector`."""

    name: ClassVar[Name] = "onnxruntime-cpu"

    def __init__(self, path: Path, *, threads: int) -> None:
        detector = OnnxDetector(path, threads=threads)
        super().__init__(detector)
        self.batch = detector.batch or 1


class TorchCpu(_OnCpu):
    """A .pt file in PyTorch, float32. The number of threads is the whole process's. Raises as `TorchDetector`."""

    name: ClassVar[Name] = "pytorch-cpu"

    def __init__(self, path: Path, sha256: str, imgsz: int, *, threads: int) -> None:
        import torch

        super().__init__(TorchDetector(path, sha256=sha256, imgsz=imgsz, device="cpu"))
        torch.set_num_threads(threads)
