"""Videos: frames in, drawn frames out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from recipebox.errors import DataError, StorageError
from recipebox.predict.draw import Image

_RATE_WHERE_UNKNOWN = 25.0


class Frames:
    """The frames of a video, in order.

    Raises:
        DataError: the file cannot be opened as a video.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a broken file is reported once, by us
        self.path = path
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise DataError(f"{path}: not a video that can be decoded. Convert it: ffmpeg -i IN -c:v libx264 OUT.mp4")
        rate = float(self._video.get(cv2.CAP_PROP_FPS))
        self.rate = rate if np.isfinite(rate) and 0 < rate <= 1000 else _RATE_WHERE_UNKNOWN
        count = self._video.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(count) if np.isfinite(count) and 0 < count < 1e9 else None
        """How many frames the file says it has; None where it does not say."""

    def __iter__(self) -> Iterator[Image]:
        while True:
            there, frame = self._video.read()
            if not there or frame is None:
                return
            yield frame

    def close(self) -> None:
        self._video.release()


class DrawnVideo:
    """An MP4 file that takes frames of one size.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: Any = None
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: Image) -> None:
        """Add a frame; one of another size than the first is scaled to it, one of odd size loses its last line."""
        import cv2

        if self._writer is None:
            height, width = frame.shape[:2]
            self._size = (max(2, width - width % 2), max(2, height - height % 2))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, self._size)
            if not self._writer.isOpened():
                raise StorageError(f"{self.path.name}: the drawn video cannot be written. Is the disk full?")
        assert self._size is not None
        wide, tall = self._size
        if 0 <= frame.shape[1] - wide <= 1 and 0 <= frame.shape[0] - tall <= 1:
            frame = np.ascontiguousarray(frame[:tall, :wide])
        else:
            frame = np.asarray(cv2.resize(frame, self._size), dtype=np.uint8)
        self._writer.write(frame)
