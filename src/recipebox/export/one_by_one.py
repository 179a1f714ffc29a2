"""What INT8 costs in one convolution alone: graphs with one part quantised, beside the float32 network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.detection_set import Split
from recipebox.evaluate.detection import prepare
from recipebox.evaluate.postprocess import detections
from recipebox.export.agreement import agreement
from recipebox.export.detector import open_session
from recipebox.export.graph import convolutions
from recipebox.export.parity import COMPARED_SCORE
from recipebox.export.quantize import one_quantized
from recipebox.progress import Progress, duration, say

if TYPE_CHECKING:
    import onnx

RANKED_IMAGES = 32
"""Images that every convolution by itself is measured on."""

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Cost:
    """What quantising one part alone costs: 1 - agreement with the float32 network, mean over images.

    `noise` is the standard error of that mean.
    """

    name: str
    cost: float
    noise: float

    @classmethod
    def of(cls, name: str, agreements: list[float]) -> Cost:
        lost = 1.0 - np.array(agreements)
        noise = float(lost.std(ddof=1) / np.sqrt(len(lost))) if len(lost) > 1 else 0.0
        return cls(name, float(lost.mean()), noise)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "cost": self.cost, "noise": self.noise}


class Scan:
    """Graphs with one part quantised, each compared with the float32 network on the same images."""

    def __init__(self, model: onnx.ModelProto, split: Split, imgsz: int) -> None:
        self.model = model
        places = np.unique(np.linspace(0, len(split) - 1, min(RANKED_IMAGES, len(split))).round().astype(int))
        self.inputs = [prepare(split.images[place], split.boxes[place], imgsz)[0] for place in places]
        started = time.monotonic()
        self.expected = self._found(model)
        self.seconds = time.monotonic() - started

    def announce(self, *, calibrating: int, files: int, checked: int) -> None:
        """Say how long it will take, from what the float32 network took for an image.

        Args:
            calibrating: calibration images.
            files: whole files that will probably be measured, on `checked` images each.
        """
        count, images = sum(1 for _ in convolutions(self.model)), len(self.inputs)
        passes = 2 * calibrating + (count + 1) * images + files * checked
        say(
            f"{count} convolutions on {images} images each, and some {files} whole files on {checked}: about "
            f"{duration(passes * self.seconds / images)} here. Ctrl-C stops it and changes nothing."
        )

    def layers(self, every: onnx.ModelProto) -> Iterator[Cost]:
        """Each convolution alone, from the graph where all are quantised."""
        names = [node.name for node in convolutions(self.model)]
        with Progress("quantising one by one", len(names)) as bar:
            for name in names:
                yield self.of(name, one_quantized(self.model, every, name))
                bar.update()

    def of(self, name: str, model: onnx.ModelProto) -> Cost:
        found = self._found(model)
        return Cost.of(name, [agreement(a, b) for a, b in zip(self.expected, found, strict=True)])

    def _found(self, model: onnx.ModelProto) -> list[Rows]:
        session = open_session(Path("a graph with one part quantised"), model.SerializeToString())
        entry = session.get_inputs()[0]
        count = entry.shape[0] if isinstance(entry.shape[0], int) else 1
        found: list[Rows] = []
        for start in range(0, len(self.inputs), count):
            batch = np.stack(self.inputs[start : start + count])
            full = np.concatenate([batch, np.zeros((count - len(batch), *batch.shape[1:]), np.float32)])
            raw = session.run(None, {entry.name: full})[0][: len(batch)]
            found += detections(raw, conf=COMPARED_SCORE)
        return found
