"""Images that are in a set twice: byte for byte, or nearly. Not quadratic: candidates share a part of their hash.

The perceptual hash is the signs of the 128 lowest frequencies of a 32x32 grey picture: it survives other compression,
size and brightness. Its eight parts of 16 bits are sorted; neighbours in a part's order are candidates, and the
pictures themselves decide. That takes n log n time, whatever the set looks like, also where all show one scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recipebox.data.findings.image_file import THUMB

BITS = 128
PARTS = 8
FAR = 14
"""Hash bits in which nearly the same images may differ."""
NEIGHBOURS = 6
"""How far apart in a part's order candidates may be."""
ALIKE = 0.985
"""Correlation of two small pictures that is nearly the same."""
FLAT = 3.0
"""Grey levels: pictures that vary less have nothing to compare."""


@dataclass(frozen=True)
class Pair:
    """Indices of two images; `exact` when byte for byte."""

    first: int
    second: int
    exact: bool
    alike: float = 1.0


def hashes(thumbs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 32, 32) grey -> (n, 16): 128 bits each."""
    cosines, chosen = _basis()
    spectrum = cosines @ thumbs.astype(np.float32) @ cosines.T
    signs: NDArray[np.bool_] = spectrum.reshape(len(thumbs), -1)[:, chosen] > 0
    packed: NDArray[np.uint8] = np.packbits(signs, axis=1)
    return packed


def shrink(thumbs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 32, 32) -> (n, 256): what is kept of each image until the end."""
    half = thumbs.reshape(len(thumbs), THUMB // 2, 2, THUMB // 2, 2).astype(np.uint16).sum(axis=(2, 4))
    pictures: NDArray[np.uint8] = (half // 4).astype(np.uint8).reshape(len(thumbs), -1)
    return pictures


def exact_pairs(sha256: NDArray[np.uint8]) -> list[Pair]:
    """Each image that was there before, with the first like it. (n, 32) hashes in."""
    keys = np.ascontiguousarray(sha256).view(np.dtype((np.void, sha256.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    before = first[inverse.ravel()]
    return [Pair(int(before[i]), int(i), True) for i in np.flatnonzero(before != np.arange(len(keys)))]


def near_pairs(codes: NDArray[np.uint8], pictures: NDArray[np.uint8], skip: NDArray[np.bool_]) -> list[Pair]:
    """Images that look nearly the same, each with one that it resembles: of a series, a chain and not every pair.

    Args:
        codes: (n, 16), `hashes`.
        pictures: (n, 256), `shrink`.
        skip: (n,), images that have been told already.
    """
    spread = [pictures[at : at + 512].std(axis=1) for at in range(0, len(pictures), 512)]
    flat = np.concatenate([*spread, np.zeros(0)]) < FLAT
    usable = np.flatnonzero(~skip & ~flat)
    groups: dict[int, int] = {}
    found = []
    for distance, first, second in sorted(set(_candidates(codes, usable))):
        a, b = _root(groups, first), _root(groups, second)
        if a == b:
            continue
        alike = _correlation(pictures[first], pictures[second])
        if alike >= ALIKE and distance <= FAR:
            groups[max(a, b)] = min(a, b)
            found.append(Pair(first, second, False, alike))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _candidates(codes: NDArray[np.uint8], usable: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """(hash distance, first, second) of images that are neighbours in the order of one of the parts."""
    parts = codes[usable].view(np.uint16)
    for part in range(PARTS):
        keys = np.roll(parts, -part, axis=1)
        order = np.lexsort(keys.T[::-1])
        ordered = keys[order]
        for step in range(1, NEIGHBOURS + 1):
            same = ordered[:-step, 0] == ordered[step:, 0]
            at = np.flatnonzero(same)
            apart = np.bitwise_count(ordered[at] ^ ordered[at + step]).sum(axis=1)
            for index, distance in zip(at[apart <= FAR], apart[apart <= FAR], strict=True):
                pair = sorted((int(usable[order[index]]), int(usable[order[index + step]])))
                yield int(distance), pair[0], pair[1]


def _correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / max(1e-9, float(np.sqrt((a @ a) * (b @ b)))))


def _root(groups: dict[int, int], index: int) -> int:
    while (above := groups.get(index, index)) != index:
        groups[index] = groups.get(above, above)
        index = above
    return index


@cache
def _basis() -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The lowest 16 cosines over THUMB samples, (16, 32); and which of the 16x16 products are the hash."""
    frequency, sample = np.arange(16)[:, None], np.arange(THUMB)[None, :]
    cosines = np.cos(np.pi * frequency * (2 * sample + 1) / (2 * THUMB)).astype(np.float32)
    along = np.add.outer(np.arange(16), np.arange(16)).ravel()
    return cosines, np.argsort(along, kind="stable")[1 : BITS + 1]
