"""The pipeline with letterbox and NMS on the GPU, beside the network: what crosses the bus is an image and its boxes.

Written without a GPU at hand: nothing here has run on one. The tests run it with memory of the CPU in a GPU's place,
where a stream is nothing and every step is done when it returns. Its letterbox rounds a little otherwise than OpenCV's:
a pixel differs by at most one level of 255.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipebox.bench.cuda_backends import DeviceBackend, new_stream
from recipebox.bench.pipeline import Done, Image, Rows, Source, Step, ahead
from recipebox.data.letterbox import PADDING, Placement, placement
from recipebox.errors import WeightsError
from recipebox.evaluate.postprocess import CLASS_STEP, MAX_DETECTIONS, NMS_IOU

if TYPE_CHECKING:
    import torch

SLOTS = 2
"""Images on the device at once while the steps overlap: one in the network, one on its way in or out."""


@dataclass
class Slot:
    """Memory for one image on its way; `staging` is pinned, and grows with the images."""

    inputs: torch.Tensor
    outputs: torch.Tensor
    staging: torch.Tensor
    uploaded: Any = None
    inferred: Any = None


@dataclass
class DeviceFrame:
    """One image on its way through the steps."""

    image: Image
    slot: Slot
    pixels: torch.Tensor | None = None
    place: Placement | None = None
    rows: torch.Tensor | None = None
    found: Rows | None = None


class DevicePipeline:
    """Letterbox, network and NMS on the device of a backend.

    Args:
        backend: runs the network.
        conf: score threshold of the detections, the one the run would ship with.
    """

    def __init__(self, backend: DeviceBackend, *, conf: float) -> None:
        import torch

        self.backend, self.conf = backend, conf
        self._pinned = backend.stream is not None
        self._slots = [
            Slot(backend.new_inputs(), backend.new_outputs(), torch.empty(0, dtype=torch.uint8)) for _ in range(SLOTS)
        ]
        self._next = 0
        self._upload_stream, self._post_stream = new_stream(backend.device), new_stream(backend.device)

    @property
    def steps(self) -> tuple[tuple[Step, Callable[[DeviceFrame], None]], ...]:
        return (
            ("copy_in", self._waited(self._copy_in)),
            ("preprocess", self._waited(self._preprocess)),
            ("inference", self._waited(self._infer)),
            ("postprocess", self._waited(self._postprocess)),
            ("copy_out", self._waited(self._copy_out)),
        )

    def frame(self, image: Image) -> DeviceFrame:
        self._next = (self._next + 1) % SLOTS
        return DeviceFrame(image, self._slots[self._next])

    def stream(self, sources: Iterable[Source]) -> Iterator[Done]:
        """While an image is in the network, the next one is fetched and prepared, and the one before read out."""
        before: DeviceFrame | None = None
        with closing(ahead(lambda source: source(), sources)) as images:
            for image in images:
                frame = self.frame(image)
                self._queue(frame)
                if before is not None:
                    yield self._finish(before)
                before = frame
            if before is not None:
                yield self._finish(before)

    def _queue(self, frame: DeviceFrame) -> None:
        """Fetch, prepare and infer, on streams that wait for each other on the device and not here."""
        slot = frame.slot
        if slot.uploaded is not None:
            slot.uploaded.synchronize()  # the staging memory may still be read
        with _on(self._upload_stream):
            _after(self._upload_stream, slot.inferred)  # the slot's input may still be in the network
            self._copy_in(frame)
            self._preprocess(frame)
            slot.uploaded = _mark(self._upload_stream)
        with _on(self.backend.stream):
            _after(self.backend.stream, slot.uploaded)
            self._infer(frame)
            slot.inferred = _mark(self.backend.stream)

    def _finish(self, frame: DeviceFrame) -> Done:
        """Boxes of a frame whose inference was queued; waits for it, while the next one's work goes on."""
        with _on(self._post_stream):
            _after(self._post_stream, frame.slot.inferred)
            self._postprocess(frame)
            self._copy_out(frame)
        if frame.found is None:
            raise ValueError("the frame was not read out")
        return Done(frame.found, time.perf_counter())

    def _waited(self, step: Callable[[DeviceFrame], None]) -> Callable[[DeviceFrame], None]:
        """The step on the network's stream, complete when it returns."""

        def complete(frame: DeviceFrame) -> None:
            with _on(self.backend.stream):
                step(frame)
            if self.backend.stream is not None:
                self.backend.stream.synchronize()

        return complete

    def _copy_in(self, frame: DeviceFrame) -> None:
        import torch

        pixels = torch.from_numpy(frame.image)
        if frame.slot.staging.numel() < pixels.numel():
            frame.slot.staging = torch.empty(pixels.numel(), dtype=torch.uint8, pin_memory=self._pinned)
        staged = frame.slot.staging[: pixels.numel()].view(pixels.shape)
        staged.copy_(pixels)
        frame.pixels = staged.to(self.backend.device, non_blocking=True)

    def _preprocess(self, frame: DeviceFrame) -> None:
        if frame.pixels is None:
            raise ValueError("the image was not copied in")
        frame.place = letterbox_into(frame.slot.inputs, frame.pixels)

    def _infer(self, frame: DeviceFrame) -> None:
        self.backend.enqueue(frame.slot.inputs, frame.slot.outputs, self.backend.stream)

    def _postprocess(self, frame: DeviceFrame) -> None:
        frame.rows = device_detections(frame.slot.outputs, conf=self.conf)

    def _copy_out(self, frame: DeviceFrame) -> None:
        import numpy as np

        if frame.rows is None or frame.place is None:
            raise ValueError("the frame skipped a step")
        rows = frame.rows.cpu().numpy()
        if not np.isfinite(rows[-1, 0]):
            raise WeightsError(
                "The detector's output holds NaN or infinity: its weights or its export are spoiled. "
                "Train again with a lower train.lr0, or export again."
            )
        frame.found = frame.place.to_image(rows[:-1], (frame.image.shape[0], frame.image.shape[1]))


def letterbox_into(inputs: torch.Tensor, pixels: torch.Tensor) -> Placement:
    """Scale an image into a grey square, on its device.

    Args:
        inputs: float32 (1, 3, S, S), filled with RGB in 0..1.
        pixels: uint8 (height, width, 3), BGR.

    Returns:
        Where the image lies, as `data.letterbox.letterbox` would place it.
    """
    import torch

    height, width = pixels.shape[:2]
    place, (placed_width, placed_height) = placement((height, width), inputs.shape[-1])
    with torch.inference_mode():
        planes = pixels.permute(2, 0, 1).flip(0).unsqueeze(0).float()
        if (height, width) != (placed_height, placed_width):
            planes = torch.nn.functional.interpolate(
                planes, size=(placed_height, placed_width), mode="bilinear", align_corners=False
            ).round_()
        inputs.fill_(PADDING / 255)
        hole = inputs[:, :, place.top : place.top + placed_height, place.left : place.left + placed_width]
        hole.copy_(planes.div_(255))
    return place


def device_detections(
    raw: torch.Tensor, *, conf: float, iou: float = NMS_IOU, max_det: int = MAX_DETECTIONS
) -> torch.Tensor:
    """What `evaluate.postprocess.detections` finds with one label a box, on the device of `raw`.

    Args:
        raw: (1, 4 + nc, anchors), or (1, n, 6) from an NMS-free network.

    Returns:
        (n + 1, 6): x1, y1, x2, y2 in pixels of the canvas, score, class, best first; the last row is the sum of `raw`,
        finite only where all of it is, so that asking costs no wait of its own.
    """
    import torch
    import torchvision

    with torch.inference_mode():
        image = raw[0]
        total = image.sum().expand(1, 6)
        if raw.shape[-1] == 6:
            return torch.cat([image[image[:, 4] > conf][:max_det], total])
        scores, labels = image[4:].max(dim=0)
        likely = torch.nonzero(scores > conf).squeeze(1)
        centre, half = image[:2, likely].T, image[2:4, likely].T / 2
        boxes = torch.cat([centre - half, centre + half], dim=1)
        scores, labels = scores[likely], labels[likely].float()
        kept = torchvision.ops.nms(boxes + labels[:, None] * CLASS_STEP, scores, iou)[:max_det]
        rows = torch.cat([boxes, scores[:, None], labels[:, None]], dim=1)[kept]
        return torch.cat([rows, total])


def _on(stream: torch.cuda.Stream | None) -> Any:
    import torch

    return torch.cuda.stream(stream)


def _after(stream: torch.cuda.Stream | None, event: Any) -> None:
    """What is queued on the stream from now on waits for the event, on the device."""
    if stream is not None and event is not None:
        stream.wait_event(event)


def _mark(stream: torch.cuda.Stream | None) -> Any:
    """An event behind what is queued on the stream; None on the CPU."""
    return None if stream is None else stream.record_event()
