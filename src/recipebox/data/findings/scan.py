"""The scan: every image and label of a set goes past once, in chunks; what stays is small and of fixed size an image.

scan(samples, names, imgsz=640) -> Scanned
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recipebox.data.findings.box_rules import LARGE, drawn_twice, input_sizes, too_large, too_small
from recipebox.data.findings.finding import Finding
from recipebox.data.findings.image_file import THUMB, ImageFacts, examine
from recipebox.data.findings.label_scan import MOST_FAULTS, Labels, LabelSource
from recipebox.data.findings.pairs import BITS, Pair, exact_pairs, hashes, near_pairs, shrink
from recipebox.data.quiet_decoders import decoders_quiet

CHUNK = 256
SIZE_STEPS = 88
"""Bins of a box's size in input pixels, eight an octave, from 4 px to the largest input."""
MOST_OBJECTS = 100
"""The last bin of objects in an image is this many or more."""


@dataclass(frozen=True)
class Samples:
    """The images of one split, and where their labels are."""

    split: str
    images: Sequence[str]
    labels: LabelSource


@dataclass
class Statistics:
    """What the plots show of one split."""

    images: int = 0
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SIZE_STEPS, np.int64))
    objects: NDArray[np.int64] = field(default_factory=lambda: np.zeros(MOST_OBJECTS + 1, np.int64))
    without_label: int = 0


@dataclass
class Scanned:
    """Everything that was found, and what the plots need, by split."""

    findings: list[Finding] = field(default_factory=list)
    statistics: dict[str, Statistics] = field(default_factory=dict)


class _Kept:
    """What stays of the images until pairs are looked for: 305 bytes an image."""

    def __init__(self, count: int) -> None:
        self.sha256 = np.zeros((count, 32), np.uint8)
        self.codes = np.zeros((count, BITS // 8), np.uint8)
        self.pictures = np.zeros((count, (THUMB // 2) ** 2), np.uint8)
        self.good = np.zeros(count, bool)

    def put(self, start: int, facts: Sequence[ImageFacts]) -> None:
        """Keep the facts of the images from the number `start` on; chunks do not touch each other's."""
        blank = np.zeros((THUMB, THUMB), np.uint8)
        thumbs = np.stack([blank if one.thumb is None else one.thumb for one in facts])
        at = slice(start, start + len(facts))
        joined = b"".join(one.sha256.ljust(32, b"\0") for one in facts)
        self.sha256[at] = np.frombuffer(joined, np.uint8).reshape(-1, 32)
        self.codes[at], self.pictures[at] = hashes(thumbs), shrink(thumbs)
        self.good[at] = [one.thumb is not None for one in facts]


@dataclass
class _Chunk:
    findings: list[Finding]
    labels: Labels
    pixels: NDArray[np.float64]
    count: int


def scan(samples: Sequence[Samples], names: Sequence[str], *, imgsz: int, labels_only: bool = False) -> Scanned:
    """Apply the rules for files, lines, boxes and pairs to every sample.

    Args:
        imgsz: side of the network's input, pixels: boxes are judged at this size.
        labels_only: do not open an image; images then count as square.
    """
    from recipebox.progress import Progress

    done = Scanned(statistics={part.split: Statistics(boxes=np.zeros(len(names), np.int64)) for part in samples})
    total = sum(len(part.images) for part in samples)
    kept = None if labels_only else _Kept(total)
    told = "checking labels" if labels_only else "checking images and labels"
    with decoders_quiet(), Progress(told, total) as bar:
        for split, chunk in _chunks(samples, imgsz, kept):
            done.findings += chunk.findings
            _count(done.statistics[split], chunk)
            bar.update(chunk.count)
    if kept is not None:
        done.findings += _pair_findings(samples, kept)
    return done


def _chunks(samples: Sequence[Samples], imgsz: int, kept: _Kept | None) -> Iterator[tuple[str, _Chunk]]:
    """Chunks in order. Threads: decoding lets go of the interpreter lock; only a few chunks are ever under way."""
    before = np.cumsum([0, *(len(part.images) for part in samples)]).tolist()
    parts = zip(samples, before, strict=False)
    work = ((part, start, first) for part, first in parts for start in range(0, len(part.images), CHUNK))
    if kept is None:
        for part, start, _ in work:
            yield part.split, _one_chunk(part, start, imgsz)
        return
    import cv2

    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the chunks are what runs side by side
    workers = min(8, len(os.sched_getaffinity(0)))
    under_way: deque[tuple[str, Future[_Chunk]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for part, start, first in work:
            under_way.append((part.split, pool.submit(_one_chunk, part, start, imgsz, kept, first + start)))
            if len(under_way) > workers:
                split, future = under_way.popleft()
                yield split, future.result()
        while under_way:
            split, future = under_way.popleft()
            yield split, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads_before)


def _one_chunk(part: Samples, start: int, imgsz: int, kept: _Kept | None = None, number: int = 0) -> _Chunk:
    paths = part.images[start : start + CHUNK]
    findings: list[Finding] = []
    sizes = np.zeros((len(paths), 2), np.int64)
    if kept is not None:
        facts = [examine(path) for path in paths]
        for path, one in zip(paths, facts, strict=True):
            findings += [Finding(f.rule, path, f.message, split=part.split, image=path) for f in one.faults]
        sizes = np.array([(one.width, one.height) for one in facts], np.int64).reshape(-1, 2)
        kept.put(number, facts)
    labels = part.labels.read(part.split, start, start + len(paths))
    pixels = input_sizes(labels.rows, sizes[labels.image], imgsz)
    findings += labels.findings
    findings += _box_findings(part, start, labels, pixels, imgsz)
    return _Chunk(findings, labels, pixels, len(paths))


def _box_findings(
    part: Samples, start: int, labels: Labels, pixels: NDArray[np.float64], imgsz: int
) -> Iterator[Finding]:
    """The rules for boxes, each told with its line; of one image and rule not more than anybody reads."""
    rows = labels.rows
    often: Counter[tuple[str, int]] = Counter()

    def loud(rule: str, found: list[int]) -> Iterator[int]:
        for at in found:
            key = (rule, int(labels.image[at]))
            often[key] += 1
            if often[key] <= MOST_FAULTS:
                yield at

    def told(rule: str, at: int, message: str, also: int | None = None) -> Finding:
        index = start + int(labels.image[at])
        boxes = tuple(tuple(float(v) for v in rows[i, 1:]) for i in (at, also) if i is not None)
        file, image = part.labels.file(index), part.images[index]
        return Finding(rule, file, message, int(labels.line[at]), part.split, image, boxes=boxes)

    for at in loud("box-large", np.flatnonzero(too_large(rows)).tolist()):
        yield told("box-large", at, f"the box fills the image ({LARGE:.0%} or more of width and height)")
    for at in loud("box-small", np.flatnonzero(too_small(pixels)).tolist()):
        width, height = pixels[at]
        yield told("box-small", at, f"the box is {width:.1f} x {height:.1f} px at imgsz {imgsz}")
    earlier_of = dict(drawn_twice(rows, labels.image).tolist())
    for later in loud("box-duplicate", sorted(earlier_of)):
        earlier = earlier_of[later]
        same = "the same box as" if (rows[later] == rows[earlier]).all() else "nearly the same box as"
        yield told("box-duplicate", later, f"{same} line {labels.line[earlier]}", earlier)
    for (rule, position), number in often.items():
        if number > MOST_FAULTS:
            index = start + position
            words = f"{number - MOST_FAULTS} more boxes like the {MOST_FAULTS} before"
            yield Finding(rule, part.labels.file(index), words, split=part.split, image=part.images[index])


def _count(statistics: Statistics, chunk: _Chunk) -> None:
    rows = chunk.labels.rows
    statistics.images += chunk.count
    statistics.without_label += chunk.labels.missing
    statistics.boxes += np.bincount(rows[:, 0].astype(np.int64), minlength=len(statistics.boxes))
    side = np.sqrt(np.maximum(chunk.pixels.prod(axis=1), 1e-9))
    steps = np.clip(np.floor(8 * np.log2(side / 4)), 0, SIZE_STEPS - 1).astype(np.int64)
    statistics.sizes += np.bincount(steps, minlength=SIZE_STEPS)
    objects = np.bincount(chunk.labels.image, minlength=chunk.count)
    statistics.objects += np.bincount(np.minimum(objects, MOST_OBJECTS), minlength=MOST_OBJECTS + 1)


def _pair_findings(samples: Sequence[Samples], kept: _Kept) -> list[Finding]:
    """Images that are there twice. An image that two splits name is one file, and told as such."""
    good = np.flatnonzero(kept.good)
    exact = [Pair(int(good[p.first]), int(good[p.second]), True) for p in exact_pairs(kept.sha256[good])]
    skip = ~kept.good
    skip[[pair.second for pair in exact]] = True
    near = near_pairs(kept.codes, kept.pictures, skip)
    starts = np.cumsum([0, *(len(part.images) for part in samples)])
    findings = []
    for pair in [*exact, *near]:
        (first_split, first), (second_split, second) = (
            _named(samples, starts, index) for index in (pair.first, pair.second)
        )
        crosses = first_split != second_split
        if pair.exact:
            rule = "leak-duplicate" if crosses else "image-duplicate"
            told = "byte for byte" if first != second else "the same file"
        else:
            rule, told = ("leak-near" if crosses else "image-near"), f"{pair.alike:.1%} alike"
        message = f"also in {first_split}: {first} ({told})" if crosses else f"also as {first} ({told})"
        findings.append(
            Finding(rule, second, message, split=second_split, image=second, other=first, other_split=first_split)
        )
    return findings


def _named(samples: Sequence[Samples], starts: NDArray[np.int64], index: int) -> tuple[str, str]:
    """(split, path) of an image by its number in the whole set."""
    part = int(np.searchsorted(starts, index, side="right")) - 1
    return samples[part].split, samples[part].images[index - int(starts[part])]
