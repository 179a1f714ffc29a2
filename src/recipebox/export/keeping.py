"""The shortest list of convolutions to keep out of INT8 that is measured to lose little enough; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LONGEST_TO_SHORTEN = 8
"""Lists up to so long are also tried without each of their members."""

Keep = tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """A whole file that was measured: what it keeps, and the mAP50-95 it lost."""

    keep: Keep
    drop: float


@dataclass(frozen=True)
class Search:
    """Every file that was measured, in order, and the best one; None where nothing helped."""

    tried: tuple[Checked, ...]
    best: Checked | None


def shortest_keep(
    ranked: Sequence[str],
    plain: Checked,
    check: Callable[[Keep], Checked],
    *,
    allowed: float,
    always: Keep = (),
) -> Search:
    """Search the beginnings of a ranking: twice as long until one passes, then halving between the last two.

    What each convolution costs alone says little of what several cost together, so whatever is returned was measured
    as a whole; and a short list is tried without each of its members, since the ranking may be wrong about one. At
    most half of the convolutions are kept: with more, FP16 is the better file. About 2 log2(n) + 8 files are measured.

    Args:
        ranked: convolutions, the costliest first.
        plain: the file that keeps `always` only.
        check: exports and measures a file.
        allowed: `export.max_map_drop`.
        always: what is kept in any case.
    """
    tried = [plain]

    def passes(names: Sequence[str]) -> bool:
        tried.append(check((*always, *names)))
        return tried[-1].drop <= allowed

    if plain.drop <= allowed:
        return Search(tuple(tried), plain)
    enough = too_few = 0
    for enough in _lengths(len(ranked) // 2):
        if passes(ranked[:enough]):
            break
        too_few = enough
    else:
        return Search(tuple(tried), None)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if passes(ranked[:middle]):
            enough = middle
        else:
            too_few = middle
    kept = _without_the_idle(list(ranked[:enough]), passes)
    wanted = (*always, *kept)
    return Search(tuple(tried), next(one for one in tried if one.keep == wanted))


def _lengths(most: int) -> Iterator[int]:
    """1, 2, 4 ... and `most` at last."""
    length = 1
    while length < most:
        yield length
        length *= 2
    if most:
        yield most


def _without_the_idle(kept: list[str], passes: Callable[[Sequence[str]], bool]) -> list[str]:
    """Leave out, one after the other, what is not needed; the last one is known to be."""
    if len(kept) > LONGEST_TO_SHORTEN:
        return kept
    for name in reversed(kept[:-1]):
        rest = [one for one in kept if one != name]
        if rest and passes(rest):
            kept = rest
    return kept
