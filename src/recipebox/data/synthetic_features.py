"""The features a board is made of: traces in bundles, pads, drilled holes, copper pours. Copper is 255 here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 640
"""Width and height of a board crop, pixels (about 48 pixels a millimetre in DeepPCB)."""

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

_HEADINGS = np.array([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]], dtype=np.float64)
_MARGIN = 60
"""How far outside the crop features are still drawn, so that they are cut by its border."""


@dataclass
class Canvas:
    """Copper drawn so far (255 = copper), and a scratch layer on which a feature is tried before it is kept."""

    copper: Pixels
    trial: Pixels
    rng: np.random.Generator

    def place(self, draw: Callable[[Pixels, int], None], clearance: int) -> bool:
        """Draw a feature unless it comes closer than `clearance` to what is there."""
        import cv2

        self.trial[:] = 0
        draw(self.trial, clearance)
        if cv2.countNonZero(cv2.bitwise_and(self.trial, self.copper)):
            return False
        draw(self.copper, 0)
        return True


def polyline(image: Pixels, points: Points, width: int) -> None:
    import cv2

    cv2.polylines(image, [np.rint(points).astype(np.int32)], False, 255, max(1, int(width)))


def offset(points: Points, distance: float) -> Points:
    """The polyline shifted sideways, corners mitred, so that parallel traces keep their pitch around bends."""
    steps = np.diff(points, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    joined = np.vstack([normals[:1], normals[:-1] + normals[1:], normals[-1:]])
    joined /= np.maximum((joined**2).sum(axis=1, keepdims=True) / 2, 0.35) ** 0.5 * 2**0.5
    inner = (normals * np.vstack([joined[1:-1], joined[-1:]])).sum(axis=1)
    inner = np.concatenate([[1.0], np.clip(inner, 0.5, 1.0)])
    shifted: Points = points + joined / inner[:, None] * distance
    return shifted


def route(rng: np.random.Generator, bends: int, reach: tuple[float, float], start: Points | None = None) -> Points:
    """A polyline that runs in multiples of 45 degrees and turns by 45 degrees at a time."""
    heading = int(rng.integers(4)) * 2 if rng.random() < 0.8 else int(rng.integers(8))
    point = rng.uniform(0, SIDE, 2) if start is None else start
    if start is None:
        point = point - _HEADINGS[heading] * (SIDE + _MARGIN)
        reach_first = rng.uniform(0.6, 1.4) * SIDE
    else:
        reach_first = rng.uniform(*reach)
    points = [point, point + _HEADINGS[heading] * reach_first]
    for _ in range(bends):
        # Turns back to an axis sooner than it goes on diagonally, as routers do.
        turn = int(rng.choice([-1, 1]))
        heading = (heading + turn) % 8
        points.append(points[-1] + _HEADINGS[heading] * rng.uniform(*reach))
    return np.array(points)


def bus(canvas: Canvas, lanes: int, width: int, gap: int, tries: int, bends: tuple[int, int] = (1, 5)) -> int:
    """Parallel traces. Returns how many bundles were placed."""
    rng, placed, pitch = canvas.rng, 0, width + gap
    for _ in range(tries):
        count = int(rng.integers(1, lanes + 1))
        path = route(rng, int(rng.integers(*bends)), (30 + pitch * count, 220 + pitch * count))
        traces = [offset(path, (lane - (count - 1) / 2) * pitch) for lane in range(count)]
        ends = rng.random() < 0.3

        def draw(image: Pixels, clearance: int, traces: list[Points] = traces, ends: bool = ends) -> None:
            for trace in traces:
                polyline(image, trace, width + 2 * clearance)
                if ends:
                    disc(image, trace[-1], width * 1.2 + 2 + clearance)

        placed += canvas.place(draw, gap)
    return placed


def disc(image: Pixels, centre: Points, radius: float, value: int = 255) -> None:
    import cv2

    x, y = np.rint(centre).astype(int)
    cv2.circle(image, (int(x), int(y)), max(1, round(radius)), value, -1)


def pad(image: Pixels, centre: Points, half: tuple[float, float], shape: str, grow: int) -> None:
    """A pad around `centre` (x, y), `half` its half width and height: round, square, rounded or an oval."""
    import cv2

    w, h = half[0] + grow, half[1] + grow
    if shape == "round":
        disc(image, centre, min(half) + grow)
        return
    low, high = (np.rint(np.add(centre, (sign * w, sign * h))).astype(int) for sign in (-1, 1))
    if shape == "square":
        cv2.rectangle(image, low.tolist(), high.tolist(), 255, -1)
        return
    radius = round(min(w, h) * (0.4 if shape == "rounded" else 1.0))
    cv2.rectangle(image, (int(low[0]), int(low[1]) + radius), (int(high[0]), int(high[1]) - radius), 255, -1)
    cv2.rectangle(image, (int(low[0]) + radius, int(low[1])), (int(high[0]) - radius, int(high[1])), 255, -1)
    for x in (low[0] + radius, high[0] - radius):
        for y in (low[1] + radius, high[1] - radius):
            cv2.circle(image, (int(x), int(y)), radius, 255, -1)


def _component(canvas: Canvas, centre: Points, size: float, trace: int, clearance: int, drilled: float) -> bool:
    """A pad, perhaps drilled, perhaps with a trace to a second pad: the pair is kept or left as a whole."""
    rng = canvas.rng
    shape = str(rng.choice(["round", "square", "rounded", "oval"], p=[0.45, 0.25, 0.2, 0.1]))
    half = (size * rng.uniform(0.8, 1.25), size * rng.uniform(0.8, 1.25))
    path = (
        route(rng, int(rng.integers(0, 3)), (size * 1.5 + 15, size * 2 + 110), centre) if rng.random() < 0.6 else None
    )
    second = size * rng.uniform(0.5, 1.0)
    hole = rng.uniform(0.3, 0.75) if rng.random() < drilled else 0.0

    def draw(image: Pixels, grow: int) -> None:
        pad(image, centre, half, shape, grow)
        if path is not None:
            polyline(image, path, trace + 2 * grow)
            disc(image, path[-1], second + grow)

    if not canvas.place(draw, clearance):
        return False
    if hole:
        shift = rng.normal(0, 0.06, 2) * min(half)
        disc(canvas.copper, centre + shift, min(half) * hole, 0)
        if path is not None and second > 9:
            disc(canvas.copper, path[-1], second * hole, 0)
    return True


def scatter(canvas: Canvas, count: int, size: tuple[float, float], trace: tuple[int, int], drilled: float) -> None:
    for _ in range(count):
        centre = canvas.rng.uniform(-20, SIDE + 20, 2)
        radius = float(np.exp(canvas.rng.uniform(*np.log(size))))
        _component(canvas, centre, radius, int(canvas.rng.integers(*trace)), int(canvas.rng.integers(6, 16)), drilled)


def grid(canvas: Canvas, size: float, pitch: tuple[float, float], cells: tuple[int, int], drilled: float) -> None:
    """Rows of like pads, as under a connector or a chip."""
    rng = canvas.rng
    corner = rng.uniform(-40, SIDE - 120, 2)
    shape = str(rng.choice(["round", "square", "oval", "rounded"]))
    half = (size, size * (rng.uniform(0.6, 2.2) if shape in ("square", "oval") else 1.0))
    hole = rng.uniform(0.35, 0.8) if rng.random() < drilled else 0.0
    shift = rng.normal(0, 0.1, 2) * size
    for row in range(cells[1]):
        for column in range(cells[0]):
            centre = np.add(corner, (column * pitch[0], row * (pitch[1] + 2 * (half[1] - size))))

            def draw(image: Pixels, grow: int, centre: Points = centre) -> None:
                pad(image, centre, half, shape, grow)

            if canvas.place(draw, 7) and hole:
                disc(canvas.copper, centre + shift, min(half) * hole, 0)


def pour(canvas: Canvas, clearance: int, area: Pixels) -> None:
    """Fill `area` with copper, but for the clearance around what is there."""
    import cv2

    bare = cv2.bitwise_not(canvas.copper)
    away = cv2.distanceTransform(bare, cv2.DIST_L2, 3)
    canvas.copper[(away > clearance) & (area > 0)] = 255


def region(rng: np.random.Generator) -> Pixels:
    """A mask of a large area with 45 degree corners or a round border; it may be the whole crop."""
    import cv2

    mask = np.zeros((SIDE, SIDE), np.uint8)
    kind = rng.random()
    if kind < 0.25:
        mask[:] = 255
    elif kind < 0.5:
        radius = int(rng.uniform(200, 700))
        centre = rng.uniform(-0.5, 1.5, 2) * SIDE
        cv2.circle(mask, np.rint(centre).astype(int).tolist(), radius, 255, -1)
    else:
        for _ in range(int(rng.integers(1, 4))):
            x1, y1 = rng.uniform(-80, SIDE - 60, 2)
            x2, y2 = x1 + rng.uniform(90, 480), y1 + rng.uniform(90, 480)
            c = rng.uniform(0, 60)
            corners = [(x1 + c, y1), (x2, y1), (x2, y2 - c), (x2 - c, y2), (x1, y2), (x1, y1 + c)]
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
    return mask


def slot(image: Pixels, rng: np.random.Generator, width: int) -> None:
    """A bare channel through copper, running in 45 degree bends. Wider than any open: a slot is no defect."""
    import cv2

    path = route(rng, int(rng.integers(1, 6)), (50, 220))
    cv2.polylines(image, [np.rint(path).astype(np.int32)], False, 0, width)
