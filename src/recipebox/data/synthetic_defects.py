"""Drawing defects onto a clean board, and the boxes that go with them.

DeepPCB's defects were drawn by hand with a pen, most of them: a stroke of the other colour at a plausible place. Its
boxes are the stroke's bounding box and ten pixels on each side, to the pixel (measured on isolated `copper` and
`pin-hole` defects of its training list: the fifth and the 95th percentile of that margin are both ten). The same
habit is kept here, as a detector trained on these boards is to be measured on those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipebox.data.synthetic_features import SIDE, Pixels

NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
OPEN, SHORT, MOUSEBITE, SPUR, COPPER, PIN_HOLE = range(6)

MARGIN = 10
"""Between a defect's outermost pixels and its box, pixels."""
_CLASS_WEIGHTS = np.array([1283, 1028, 1379, 1142, 1010, 1031]) / 6873
_COUNTS = np.arange(3, 13)
_COUNT_WEIGHTS = np.array([21, 73, 143, 181, 203, 171, 123, 50, 10, 13]) / 988
"""Class balance and defects a board (3 to 12), as in DeepPCB's trainval list."""
_TRIES = 40

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Defect:
    """A drawn defect: its class and its box (x1, y1, x2, y2), pixels, the last two exclusive of nothing drawn."""

    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class _Terrain:
    """The clean board, looked at once: where copper is, how deep inside it or how far from it, and its edges."""

    copper: NDArray[np.bool_]
    depth: NDArray[np.float32]
    away: NDArray[np.float32]
    edge: NDArray[np.intp]
    soft: NDArray[np.uint8]

    @classmethod
    def of(cls, board: Pixels) -> _Terrain:
        import cv2

        copper = cv2.threshold(board, 127, 1, cv2.THRESH_BINARY_INV)[1]
        inner = cv2.subtract(copper, cv2.erode(copper, np.ones((3, 3), np.uint8)))
        inner[:8], inner[-8:], inner[:, :8], inner[:, -8:] = 0, 0, 0, 0
        # Distances on every second pixel: a quarter of the work, and `room` allows for the error.
        coarse = np.ascontiguousarray(copper[::2, ::2])
        depth = cv2.distanceTransform(coarse, cv2.DIST_L2, 3)
        away = cv2.distanceTransform(1 - coarse, cv2.DIST_L2, 3)
        soft = cv2.blur(copper * 255, (9, 9))
        return cls(copper.astype(np.bool_), depth, away, np.flatnonzero(inner), soft)

    def room(self, x: int, y: int, in_copper: bool) -> float:
        """Radius of the disc around a pixel that surely is all copper, or all bare."""
        coarse = self.depth if in_copper else self.away
        return 2 * float(coarse[y // 2, x // 2]) - 2

    def inward(self, x: int, y: int) -> Points | None:
        """Unit vector from an edge into the copper; None at a spot too ragged to say."""
        soft = self.soft
        slope = np.array([int(soft[y, x + 4]) - int(soft[y, x - 4]), int(soft[y + 4, x]) - int(soft[y - 4, x])], float)
        length = float(np.hypot(*slope))
        return slope / length if length > 60 else None

    def walk(self, start: Points, direction: Points, through_copper: bool, limit: int) -> int | None:
        """How many pixels lie ahead until the material changes; None beyond `limit` or the border."""
        steps = np.rint(start + direction * np.arange(1, limit + 1)[:, None]).astype(int)
        inside = ((steps >= 0) & (steps < SIDE)).all(axis=1)
        here = self.copper[steps[inside, 1], steps[inside, 0]]
        changed = np.flatnonzero(here != through_copper)
        return int(changed[0]) + 1 if changed.size and changed[0] < inside.sum() else None


def draw_defects(board: Pixels, rng: np.random.Generator) -> list[Defect]:
    """Draw 3 to 12 defects onto `board`, in place, and return them.

    Every changed pixel lies in exactly one box, every box has changed pixels, and no two boxes overlap. A board
    without room for a class gets another class in its place; one with hardly any room may get fewer than 3.

    Args:
        board: (640, 640) uint8, 0 = copper, 255 = bare.
        rng: the only source of chance.
    """
    terrain = _Terrain.of(board)
    wanted = int(rng.choice(_COUNTS, p=_COUNT_WEIGHTS))
    taken = np.zeros((SIDE, SIDE), np.bool_)
    defects: list[Defect] = []
    for _ in range(wanted * 3):
        if len(defects) == wanted:
            break
        defect = _draw_one(board, terrain, taken, int(rng.choice(6, p=_CLASS_WEIGHTS)), rng)
        if defect is not None:
            defects.append(defect)
    return defects


def _draw_one(
    board: Pixels, terrain: _Terrain, taken: NDArray[np.bool_], label: int, rng: np.random.Generator
) -> Defect | None:
    for _ in range(_TRIES):
        stroke = _stroke(terrain, label, rng)
        if stroke is None:
            continue
        mask, (x0, y0) = stroke
        ys, xs = np.nonzero(mask)
        if not xs.size:
            continue
        left, right = x0 + int(xs.min()), x0 + int(xs.max())
        top, bottom = y0 + int(ys.min()), y0 + int(ys.max())
        if left < 0 or top < 0 or right >= SIDE or bottom >= SIDE:
            continue
        box = (
            max(left - MARGIN, 0),
            max(top - MARGIN, 0),
            min(right + MARGIN, SIDE - 1),
            min(bottom + MARGIN, SIDE - 1),
        )
        area = (slice(box[1], box[3] + 1), slice(box[0], box[2] + 1))
        if taken[area].any():
            continue
        part = mask[top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1]
        patch = board[top : bottom + 1, left : right + 1]
        value = 0 if label in (SHORT, SPUR, COPPER) else 255
        if np.count_nonzero(part & (patch != value)) < (20 if label in (MOUSEBITE, SPUR) else 12):
            continue
        patch[part] = value
        taken[area] = True
        return Defect(label, box)
    return None


# --- where and what -------------------------------------------------------------------------------------------------

_Stroke = tuple[NDArray[np.bool_], tuple[int, int]]
"""A mask and where its upper left corner lies on the board (x, y)."""


def _stroke(terrain: _Terrain, label: int, rng: np.random.Generator) -> _Stroke | None:
    if label in (COPPER, PIN_HOLE):
        return _isolated(terrain, label, rng)
    if not terrain.edge.size:
        return None
    at = int(terrain.edge[rng.integers(terrain.edge.size)])
    edge = np.array([at % SIDE, at // SIDE], dtype=np.float64)
    inward = terrain.inward(at % SIDE, at // SIDE)
    if inward is None:
        return None
    if label in (OPEN, SHORT) and rng.random() < 0.4:
        # Strokes along an axis, as a hand with a mouse draws them.
        inward = np.eye(2)[np.abs(inward).argmax()] * np.sign(inward[np.abs(inward).argmax()])
    if label in (OPEN, SHORT):
        return _across(terrain, edge, inward if label == OPEN else -inward, label, rng)
    return _at_edge(terrain, edge, inward, label, rng)


def _isolated(terrain: _Terrain, label: int, rng: np.random.Generator) -> _Stroke | None:
    """A blob that touches nothing: copper on bare board, or a hole within copper."""
    long = float(np.clip(np.exp(rng.normal(np.log(17.5 if label == COPPER else 18), 0.42)), 6, 55))
    short = long / rng.choice([rng.uniform(1, 1.5), rng.uniform(1.2, 3)])
    clear = 3.0 if label == COPPER else 2.0
    room, x, y = 0.0, 0, 0
    for at_x, at_y in rng.integers(6, SIDE - 6, (6, 2)).tolist():
        here = terrain.room(at_x, at_y, label == PIN_HOLE)
        if here > room:
            room, x, y = here, at_x, at_y
        if room >= long / 2 + clear:
            break
    if room < long / 2 + clear:
        # What fits into a narrow trace or gap is smaller.
        long = (room - clear) * 2
        short = long / rng.uniform(1, 1.6)
        if long < 6:
            return None
    return _blob(np.array([x, y], dtype=np.float64), long, short, rng)


def _across(terrain: _Terrain, edge: Points, direction: Points, label: int, rng: np.random.Generator) -> _Stroke | None:
    """A stroke from one side of a trace to the other (open), or of a gap (short)."""
    far = 150 if rng.random() < 0.08 else 70
    width = terrain.walk(edge, direction, label == OPEN, far)
    if width is None or width < 3 or (label == SHORT and width < 5):
        return None
    # A trace, or a gap between two, goes on sideways. Where it does not, this is a pad's rim or a drilled hole.
    side = np.array([-direction[1], direction[0]])
    middle = edge + direction * (width / 2)
    ahead, behind = (terrain.walk(middle, way, label == OPEN, 60) or 60 for way in (side, -side))
    if max(ahead, behind) < max(1.2 * width, 14) or min(ahead, behind) < 6:
        return None
    over = rng.uniform(1.5, 6.0, 2)
    start, end = edge - direction * over[0], edge + direction * (width + over[1])
    steps = max(3, int(np.hypot(*(end - start)) / 6))
    line = np.linspace(0, 1, steps)[:, None]
    thickness = float(np.clip(rng.normal(6 if label == OPEN else 7, 2.2), 3, 13))
    bow = rng.normal(0, 0.09) * width if rng.random() < 0.5 else 0.0
    wobble = rng.normal(0, 0.5, (steps, 1)).cumsum(axis=0)
    path = start + (end - start) * line + side * (wobble + bow * 4 * line * (1 - line))
    scratched = rng.random() < (0.3 if label == OPEN else 0.12) and width > 8
    if not scratched:
        return _rasterised([path], rng.uniform(0.8, 1.2, steps) * thickness, rng)
    strands = int(rng.integers(2, 4))
    shifts = rng.normal(0, 4, (strands, 2))
    paths = [path + side * np.linspace(a, b, steps)[:, None] for a, b in shifts]
    return _rasterised(paths, np.full(steps, rng.uniform(2, 3.5)), rng, dotted=rng.random() < 0.5)


def _at_edge(terrain: _Terrain, edge: Points, inward: Points, label: int, rng: np.random.Generator) -> _Stroke | None:
    """A bite out of an edge (mousebite) or a bump on it (spur); neither gets through to the other side."""
    direction = inward if label == MOUSEBITE else -inward
    room = terrain.walk(edge, direction, label == MOUSEBITE, 60) or 60
    deepest = min(room * (0.65 if label == MOUSEBITE else 0.6), 30.0)
    if deepest < 3 or (label == SPUR and (terrain.walk(edge, inward, True, 8) or 8) < 4):
        return None
    reach = float(np.clip(np.exp(rng.normal(np.log(11), 0.4)), 3, deepest))
    wide = float(np.clip(np.exp(rng.normal(np.log(13), 0.38)), 5, 40))
    back = rng.uniform(1.0, 6.0)
    middle = edge + direction * (reach - back) / 2
    if label == SPUR and rng.random() < 0.45:
        # A thorn: a stroke that starts within the copper and leans over.
        lean = rng.normal(0, 0.5)
        along = direction * np.cos(lean) + np.array([-direction[1], direction[0]]) * np.sin(lean)
        steps = 5
        path = edge - direction * back + along * np.linspace(0, reach + back, steps)[:, None]
        taper = np.linspace(1.3, rng.uniform(0.5, 1.1), steps)
        return _rasterised([path], taper * rng.uniform(4, 9), rng)
    return _blob(middle, reach + back, wide, rng, axis=direction)


def _blob(
    centre: Points, long: float, short: float, rng: np.random.Generator, axis: Points | None = None
) -> _Stroke | None:
    """An irregular blob, `long` pixels along `axis` (any direction if None) and `short` across."""
    if axis is None:
        angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)], p=[0.3, 0.15, 0.55])
        axis = np.array([np.cos(angle), np.sin(angle)])
    corners = 14
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    # Two slow waves make a bean or a pear, the rest is the hand's tremor.
    waves = sum(rng.normal(0, 0.13 / k) * np.cos(k * turn + rng.uniform(0, 6.3)) for k in (2, 3))
    radius = np.clip(1 + waves + rng.normal(0, 0.06, corners), 0.5, 1.0 if rng.random() < 0.5 else 1.25)
    side = np.array([-axis[1], axis[0]])
    outline = (
        centre
        + (np.cos(turn) * radius * long / 2)[:, None] * axis
        + (np.sin(turn) * radius * short / 2)[:, None] * side
    )
    ragged = rng.random() < 0.25
    return _filled(outline, rng, holes=int(rng.integers(1, 4)) if ragged and min(long, short) > 9 else 0)


def _filled(outline: Points, rng: np.random.Generator, holes: int) -> _Stroke:
    import cv2

    corner, mask = _empty(outline, 2)
    cv2.fillPoly(mask, [np.rint(outline - corner).astype(np.int32)], 1)
    for _ in range(holes):
        x, y = rng.uniform(outline.min(axis=0), outline.max(axis=0)) - corner
        cv2.circle(mask, (int(x), int(y)), 1, 0, -1)
    return mask.astype(np.bool_), (int(corner[0]), int(corner[1]))


def _rasterised(paths: list[Points], widths: Points, rng: np.random.Generator, dotted: bool = False) -> _Stroke:
    """Pen strokes along `paths`, `widths[i]` pixels wide at their i-th point."""
    import cv2

    corner, mask = _empty(np.vstack(paths), int(widths.max()) + 2)
    for path in paths:
        points = np.rint(path - corner).astype(int)
        for index in range(len(points) - 1):
            if dotted and rng.random() < 0.3:
                continue
            cv2.line(mask, points[index].tolist(), points[index + 1].tolist(), 1, max(1, round(widths[index])))
    return mask.astype(np.bool_), (int(corner[0]), int(corner[1]))


def _empty(points: Points, pad: int) -> tuple[NDArray[np.int64], Pixels]:
    corner = np.floor(points.min(axis=0)).astype(np.int64) - pad
    size = np.ceil(points.max(axis=0)).astype(np.int64) + pad + 1 - corner
    return corner, np.zeros((int(size[1]), int(size[0])), np.uint8)
