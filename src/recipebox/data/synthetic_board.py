"""Drawing a defect-free board crop: what an etched layer looks like after binarization, copper black on white.

The layouts follow what DeepPCB's eleven boards show: buses of thin parallel traces with 45 degree bends, pads joined
by traces, wide strips, copper pours with clearance, thick traces with drilled pads, and rows of fingers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recipebox.data.synthetic_features import (
    SIDE,
    Canvas,
    Pixels,
    bus,
    disc,
    grid,
    pad,
    polyline,
    pour,
    region,
    scatter,
    slot,
)


def draw_board(rng: np.random.Generator) -> Pixels:
    """A defect-free board crop.

    Args:
        rng: the only source of chance.

    Returns:
        (640, 640) uint8, 0 = copper, 255 = bare.
    """
    import cv2

    canvas = Canvas(np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8), rng)
    style = rng.choice(len(_STYLES), p=_STYLE_WEIGHTS)
    _STYLES[style](canvas)
    copper = np.rot90(canvas.copper, int(rng.integers(4)))
    if rng.random() < 0.5:
        copper = copper[:, ::-1]
    board: Pixels = cv2.bitwise_not(_binarized(np.ascontiguousarray(copper), rng))
    return board


def _binarized(copper: Pixels, rng: np.random.Generator) -> Pixels:
    """Camera and threshold: edges waver by a pixel or two, and some boards are etched thinner or fatter."""
    import cv2

    cell = int(rng.choice([2, 3, 5]))
    size = SIDE // cell + 1
    grain = rng.integers(0, 256, (size, size), dtype=np.uint8)
    noise = cv2.resize(grain, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(copper, (5, 5), rng.uniform(1.0, 1.8))
    strength = rng.uniform(0.15, 0.6)
    mixed = cv2.addWeighted(soft, 1.0, noise, strength, -128 * strength)
    cut: Pixels = cv2.threshold(mixed, rng.uniform(105, 150), 255, cv2.THRESH_BINARY)[1]
    return cut


def _style_bus(canvas: Canvas) -> None:
    rng = canvas.rng
    width = int(np.exp(rng.uniform(np.log(5), np.log(24))))
    if rng.random() < 0.5:
        grid(canvas, rng.uniform(8, 20), (rng.uniform(45, 90), rng.uniform(45, 90)), (8, 2), 0.5)
    gap = int(rng.integers(8, 18))
    bus(canvas, int(rng.integers(4, 11)), width, gap, 22)
    bus(canvas, 3, width, gap, 16)
    scatter(canvas, 35, (6, 28), (5, 12), 0.3)
    if rng.random() < 0.4:
        pour(canvas, int(rng.integers(10, 26)), region(rng))


def _style_pads(canvas: Canvas) -> None:
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(6, 20)
        pitch = tuple(rng.uniform(2.6, 5, 2) * size + 8)
        grid(canvas, size, pitch, (int(rng.integers(2, 12)), int(rng.integers(1, 8))), 0.35)
    bus(canvas, 4, int(rng.integers(4, 10)), int(rng.integers(9, 18)), 8)
    scatter(canvas, 70, (6, 26), (5, 14), 0.3)
    if rng.random() < 0.4:
        pour(canvas, int(rng.integers(10, 26)), region(rng))


def _style_thick(canvas: Canvas) -> None:
    rng = canvas.rng
    scatter(canvas, int(rng.integers(16, 40)), (18, 60), (14, 50), 0.7)
    bus(canvas, 2, int(rng.integers(14, 50)), int(rng.integers(16, 40)), 6, (0, 3))
    bus(canvas, 5, int(rng.integers(5, 12)), 12, 6)
    scatter(canvas, 20, (6, 18), (5, 14), 0.4)
    if rng.random() < 0.4:
        pour(canvas, int(rng.integers(14, 34)), region(rng))


def _style_strips(canvas: Canvas) -> None:
    """Wide parallel strips over the whole crop, some broken off, some with a slot."""
    import cv2

    rng, x = canvas.rng, float(canvas.rng.uniform(-60, 20))
    wide = rng.uniform(30, 95)
    while x < SIDE:
        width = rng.uniform(0.45, 1.4) * wide
        top = -10 if rng.random() < 0.75 else rng.uniform(50, 500)
        bottom = SIDE + 10 if rng.random() < 0.75 else max(top + 60, rng.uniform(150, 620))
        cv2.rectangle(canvas.copper, (round(x), round(top)), (round(x + width), round(bottom)), 255, -1)
        if width > 50 and rng.random() < 0.3:
            disc(canvas.copper, np.array([x + width / 2, rng.uniform(top + 20, bottom - 20)]), rng.uniform(5, 9), 0)
        x += width + rng.uniform(18, 75)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            slot(canvas.copper, rng, int(rng.integers(16, 40)))


def _style_pour(canvas: Canvas) -> None:
    rng = canvas.rng
    kind = rng.random()
    if kind < 0.6:
        bus(canvas, int(rng.integers(1, 6)), int(rng.integers(5, 24)), int(rng.integers(12, 24)), 6)
        scatter(canvas, int(rng.integers(4, 30)), (7, 40), (6, 20), 0.5)
    poured = region(rng)
    for _ in range(int(rng.integers(0, 5))):
        slot(poured, rng, int(rng.integers(8, 24)))
    pour(canvas, int(rng.integers(10, 30)), poured)
    for _ in range(int(rng.integers(0, 4))):
        radius = rng.uniform(6, 70)
        centre = rng.uniform(0, SIDE, 2)
        disc(canvas.copper, centre, radius, 0)
        if radius > 40:
            disc(canvas.copper, centre, radius - rng.uniform(14, 22))


def _style_meander(canvas: Canvas) -> None:
    """Dense thin tracks in copper, as on 77000 and 92000: nearly as much bare as copper."""
    canvas.copper[:] = 255
    rng, x = canvas.rng, 0.0
    gap = int(rng.integers(8, 18))
    while x < SIDE:
        points = [np.array([x, -10.0])]
        y = -10.0
        while y < SIDE:
            y += rng.uniform(60, 240)
            shift = rng.uniform(-60, 60) if rng.random() < 0.6 else 0.0
            points += [np.array([points[-1][0], y]), np.array([points[-1][0] + shift, y])]
        if rng.random() < 0.7:
            import cv2

            cv2.polylines(canvas.copper, [np.rint(points).astype(np.int32)], False, 0, gap)
        else:
            for lane in range(int(rng.integers(2, 5))):
                canvas.copper[:, max(0, round(x + lane * 2 * gap)) : max(0, round(x + lane * 2 * gap + gap))] = 0
        x += rng.uniform(60, 170)


def _style_fingers(canvas: Canvas) -> None:
    """Rows of narrow contacts with a trace from each, and room in between."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        count, pitch = int(rng.integers(4, 16)), rng.uniform(20, 42)
        corner = rng.uniform((-60, 20), (300, 520))
        length, half = rng.uniform(25, 75), pitch * rng.uniform(0.18, 0.33)
        lead = rng.uniform(20, 200)
        bend = float(rng.choice([-1.0, 0.0, 1.0])) * rng.uniform(30, 200)
        thin = max(3, round(half * rng.uniform(0.6, 1.2)))

        def draw(image: Pixels, grow: int) -> None:
            for finger in range(count):  # noqa: B023 - drawn before the loop goes on
                top = np.add(corner, (finger * pitch, 0.0))  # noqa: B023
                pad(image, np.add(top, (0, length / 2)), (half, length / 2), "rounded", grow)  # noqa: B023
                path = top - np.array([(0, 0), (0, lead), (bend, lead + abs(bend)), (bend, 900)])  # noqa: B023
                polyline(image, path, thin + 2 * grow)  # noqa: B023

        canvas.place(draw, 10)
    scatter(canvas, 25, (5, 26), (5, 12), 0.3)
    bus(canvas, 4, int(rng.integers(4, 10)), 12, 8)


_STYLES: tuple[Callable[[Canvas], None], ...] = (
    _style_bus,
    _style_pads,
    _style_thick,
    _style_strips,
    _style_pour,
    _style_meander,
    _style_fingers,
)
_STYLE_WEIGHTS = (0.2, 0.15, 0.16, 0.12, 0.21, 0.09, 0.07)
