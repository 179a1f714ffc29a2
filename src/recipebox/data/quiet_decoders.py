"""libpng, libjpeg and libtiff write to the process's stderr by themselves, once an image; we tell what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def decoders_quiet() -> Iterator[None]:
    """What C libraries print is dropped in here; Python's own stderr (progress, warnings) goes where it did."""
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: there is nothing to be kept quiet
        yield
        return
    before = sys.stderr
    spoken = None
    try:
        if before is not None and _writes_to_stderr(before):
            before.flush()
            spoken = os.fdopen(os.dup(kept), "w", encoding=before.encoding, errors="backslashreplace", buffering=1)
            sys.stderr = spoken
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        sys.stderr = before
        if spoken is not None:
            spoken.close()
        os.dup2(kept, 2)
        os.close(kept)


def _writes_to_stderr(stream: object) -> bool:
    """Whether it ends in file descriptor 2; a test's or a notebook's stand-in does not."""
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return False
