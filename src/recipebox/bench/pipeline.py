"""The pipeline that ships, as named steps that can be timed apart, and with its steps overlapping.

`HostPipeline` does everything but the network in numpy and OpenCV; `device_pipeline.DevicePipeline` does it on the GPU.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from recipebox.bench.backend import Backend, Raw
from recipebox.data.letterbox import Placement, Preparer
from recipebox.evaluate.postprocess import detections

Step = Literal["preprocess", "copy_in", "inference", "copy_out", "postprocess"]
STEPS: tuple[Step, ...] = ("preprocess", "copy_in", "inference", "copy_out", "postprocess")
Image = NDArray[np.uint8]
Rows = NDArray[np.float32]
Source = Callable[[], Image]
"""Gives an image when it is wanted: one that is in memory, or one that is read and decoded then."""

AHEAD = 2
"""Images that an overlapping step may be ahead of the next one."""

T = TypeVar("T")
U = TypeVar("U")


class Done(NamedTuple):
    """An image that came out of the pipeline: (n, 6) x1, y1, x2, y2 in its pixels, score, class; and when (seconds)."""

    found: Rows
    at: float


class Pipeline(Protocol):
    """From a decoded image to detections in its pixels."""

    @property
    def backend(self) -> Backend: ...

    @property
    def steps(self) -> tuple[tuple[Step, Callable[[Any], None]], ...]:
        """The steps in their order, each working on what `frame` gave; each is complete when it returns."""

    def frame(self, image: Image) -> Any:
        """What the steps hand on for one image; holds `found` in the end."""

    def stream(self, sources: Iterable[Source]) -> Iterator[Done]:
        """Every image's detections in their order, the steps of neighbouring images overlapping."""


@dataclass
class Frame:
    """One image on its way through the steps."""

    image: Image
    inputs: NDArray[np.float32]
    place: Placement | None = None
    raw: Raw | None = None
    found: Rows | None = None


class HostPipeline:
    """Letterbox, input and NMS on the CPU around any backend.

    Args:
        backend: runs the network.
        conf: score threshold of the detections, the one the run would ship with.
    """

    def __init__(self, backend: Backend, *, conf: float) -> None:
        self.backend, self.conf = backend, conf
        self._prepare = Preparer(backend.imgsz)
        shape = (1, 3, backend.imgsz, backend.imgsz)
        # As many as can be between pre-processing and the end of inference while the steps overlap.
        self._buffers = [np.empty(shape, np.float32) for _ in range(AHEAD + 3)]
        self._next = 0

    @property
    def steps(self) -> tuple[tuple[Step, Callable[[Frame], None]], ...]:
        return (
            ("preprocess", self._preprocess),
            ("copy_in", lambda frame: self.backend.copy_in(frame.inputs)),
            ("inference", lambda frame: self.backend.infer()),
            ("copy_out", self._copy_out),
            ("postprocess", self._postprocess),
        )

    def frame(self, image: Image) -> Frame:
        self._next = (self._next + 1) % len(self._buffers)
        return Frame(image, self._buffers[self._next])

    def stream(self, sources: Iterable[Source]) -> Iterator[Done]:
        """Decoding, pre-processing and post-processing each in a thread of their own, the network in the caller's."""
        # Closed here and now, so that an error leaves no thread behind that waits for the next image.
        with (
            closing(ahead(lambda source: source(), sources)) as images,
            closing(ahead(self._prepared, images)) as prepared,
            closing(ahead(self._finished, map(self._inferred, prepared))) as finished,
        ):
            yield from finished

    def _prepared(self, image: Image) -> Frame:
        frame = self.frame(image)
        self._preprocess(frame)
        return frame

    def _inferred(self, frame: Frame) -> Frame:
        self.backend.copy_in(frame.inputs)
        self.backend.infer()
        self._copy_out(frame)
        return frame

    def _finished(self, frame: Frame) -> Done:
        self._postprocess(frame)
        if frame.found is None:
            raise ValueError("the frame was not post-processed")
        return Done(frame.found, time.perf_counter())

    def _preprocess(self, frame: Frame) -> None:
        frame.inputs, frame.place = self._prepare(frame.image, frame.inputs)

    def _copy_out(self, frame: Frame) -> None:
        frame.raw = self.backend.copy_out()

    def _postprocess(self, frame: Frame) -> None:
        if frame.raw is None or frame.place is None:
            raise ValueError("the frame skipped a step")
        found = detections(frame.raw, conf=self.conf)[0]
        frame.found = frame.place.to_image(found, (frame.image.shape[0], frame.image.shape[1]))


def ahead(function: Callable[[T], U], items: Iterable[T], depth: int = AHEAD) -> Generator[U]:
    """`function(item)` of every item in order, computed up to `depth` items ahead in a thread of its own.

    Items are taken in the caller's thread. An error of `function` is raised where its item would have come.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[Future[U]] = deque()
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def detect(pipeline: Pipeline, image: Image) -> Rows:
    """The detections of one image, step after step: (n, 6) in its pixels."""
    frame = pipeline.frame(image)
    for _, step in pipeline.steps:
        step(frame)
    found: Rows = frame.found
    return found
