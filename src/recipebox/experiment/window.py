"""What part of a run a trace looks at, and what it sees there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """What part of a run to trace.

    Attributes:
        epoch: the first one, from 0.
        batches: batches to train on; 0 only looks at views.
        epoch_batches: batches after which an epoch is cut short; None lets it run to its end.
        epoch_ends: ends of epochs to live through, whatever `batches` says.
        views: training views to look at, where `batches` is 0.
        epochs: at most so many epochs of views.
        first_of: epochs of whose views the first batch alone is looked at, in the place of `epochs` from `epoch` on.
        seek: classes; views end with the batch that holds an object of one of them.
    """

    epoch: int
    batches: int = 0
    epoch_batches: int | None = None
    epoch_ends: int = 0
    views: int = 0
    epochs: int = 1
    first_of: tuple[int, ...] = ()
    seek: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """One image of a batch. `labels` and `pixels` are digests; `classes` are those of its objects."""

    file: str
    side: int
    pixels: bytes
    labels: bytes
    classes: frozenset[int] = frozenset()
