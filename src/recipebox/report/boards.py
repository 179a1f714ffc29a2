"""Detections on test boards: what was found, what escaped, and what was cried wolf over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import DataError, RecipeboxError
from recipebox.evaluate.inspection import box_iou
from recipebox.report.markdown import one_line
from recipebox.report.pictures import BLUE, GREEN, ORANGE, VERMILLION, VIOLET, WIDTH, canvas, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recipebox.data.detection_set import DetectionSet

Detect = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 BGR image (H, W, 3) -> float array (n, 6): x1, y1, x2, y2 in pixels of that image, score, class."""

LOOKED_AT = 48
SHOWN = 4


@dataclass(frozen=True)
class Judgement:
    """What became of each true defect and each detection on one board.

    `outcome[i]` of true defect i is "found", "confused" or "escape"; `seen_as[i]` is the class of the detection that
    overlaps it most, -1 for an escape. `overkill[j]` says whether detection j overlaps no true defect.
    """

    outcome: tuple[str, ...]
    seen_as: tuple[int, ...]
    overkill: tuple[bool, ...]

    def count(self, outcome: str) -> int:
        return self.outcome.count(outcome)


@dataclass(frozen=True)
class Board:
    """One test image with its true boxes (n, 5: class, x1, y1, x2, y2 in pixels) and detections (m, 6)."""

    path: Path
    true: NDArray[np.float32]
    detections: NDArray[np.float32]
    judgement: Judgement
    why: str

    @property
    def errors(self) -> tuple[int, int, int]:
        judged = self.judgement
        return judged.count("escape"), sum(judged.overkill), judged.count("confused")


def judge(true: NDArray[np.float32], detections: NDArray[np.float32], iou: float) -> Judgement:
    """Compare true boxes (n, 5: class, x1, y1, x2, y2) with detections (m, 6: x1, y1, x2, y2, score, class).

    The definitions of docs/run-files.md: an escape is overlapped by `iou` by no detection of any class, a confused
    defect only by detections of other classes, and overkill is a detection that overlaps no true defect.
    """
    shared = box_iou(true[:, 1:5], detections[:, :4])
    touching = shared >= iou
    outcome: list[str] = []
    seen_as: list[int] = []
    for index, own_class in enumerate(true[:, 0].astype(int)):
        hits = np.flatnonzero(touching[index])
        if not hits.size:
            outcome.append("escape")
            seen_as.append(-1)
            continue
        classes = detections[hits, 5].astype(int)
        outcome.append("found" if own_class in classes else "confused")
        seen_as.append(own_class if own_class in classes else int(classes[np.argmax(shared[index, hits])]))
    return Judgement(tuple(outcome), tuple(seen_as), tuple(not hit for hit in np.any(touching, axis=0).tolist()))


def look_at_boards(
    detection_set: DetectionSet, detect: Detect, *, threshold: float, iou: float
) -> tuple[list[Board], int, list[str]]:
    """Run the detector over evenly spaced test boards.

    Returns:
        The boards to show (half of them those with the most errors, half evenly spaced ones), how many were looked
        at, and problems in words (images that cannot be read).
    """
    from recipebox.data.letterbox import read_image
    from recipebox.progress import track

    split = detection_set.test
    spaced = np.linspace(0, len(split) - 1, min(LOOKED_AT, len(split)))
    chosen: list[int] = np.unique(spaced.astype(int)).tolist()
    boards: list[Board] = []
    problems: list[str] = []
    for index in track(chosen, "detections on test boards"):
        path = split.images[index]
        try:
            image = read_image(path)
        except DataError as error:
            problems.append(f"{path.name}: {error}".replace(str(path), path.name))
            continue
        true = _in_pixels(split.boxes[index], image.shape[1], image.shape[0])
        found = _checked(detect(image))
        found = found[found[:, 4] > threshold]
        boards.append(Board(path, true, found, judge(true, found, iou), "typical"))
    return _choose(boards), len(boards), problems


def _in_pixels(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(n, 5) class, centre and size in fractions -> class, x1, y1, x2, y2 in pixels."""
    scale = np.array([width, height], dtype=np.float32)
    centre, half = boxes[:, 1:3] * scale, boxes[:, 3:5] * scale / 2
    return np.concatenate([boxes[:, :1], centre - half, centre + half], axis=1).astype(np.float32)


def _checked(found: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.asarray(found, dtype=np.float32).reshape(-1, 6) if np.size(found) else np.zeros((0, 6), np.float32)
    if not np.isfinite(found).all():
        raise RecipeboxError("the detector answered with NaN or infinity")
    return found


def _choose(boards: Sequence[Board]) -> list[Board]:
    """The board with the most escapes, the one with the most overkill, and evenly spaced ones among the rest."""
    worst: list[Board] = []
    for kind in range(2):
        left = [board for board in boards if board.errors[kind] and board.path not in {b.path for b in worst}]
        if left:
            worst.append(replace(max(left, key=lambda board: (board.errors[kind], board.errors)), why="hardest"))
    rest = [board for board in boards if board.path not in {b.path for b in worst}]
    wanted = min(SHOWN - len(worst), len(rest))
    return worst + [rest[(2 * k + 1) * len(rest) // (2 * wanted)] for k in range(wanted)]


def board_picture(boards: Sequence[Board], names: Sequence[str]) -> bytes:
    """The boards two in a row, true boxes and detections marked, one legend for all above them."""
    from matplotlib.patches import Patch

    from recipebox.data.letterbox import read_image

    rows = (len(boards) + 1) // 2
    with canvas(rows * (WIDTH / 2 + 0.25) + 0.75) as figure:
        for number, board in enumerate(boards):
            axes = figure.add_subplot(rows, 2, number + 1)
            image = read_image(board.path)
            axes.imshow(image[:, :, ::-1], interpolation="antialiased")
            axes.grid(False)
            axes.set_axis_off()
            axes.set_anchor("NW")  # beside a tall board there is room for its title and labels
            axes.set_title(_board_title(board), fontsize=9.5)
            _mark(axes, board, names, max(image.shape[:2]))
        figure.legend(
            handles=[
                Patch(facecolor="none", edgecolor=GREEN, linewidth=2.4, label="true defect, found"),
                Patch(facecolor="none", edgecolor=BLUE, linewidth=1.6, linestyle="--", label="detection"),
                Patch(facecolor="none", edgecolor=ORANGE, linewidth=3, label="confused: another name"),
                Patch(facecolor=VERMILLION, edgecolor=VERMILLION, alpha=0.9, label="ESCAPE: not found"),
                Patch(facecolor=VIOLET, edgecolor=VIOLET, alpha=0.9, label="OVERKILL: no defect there"),
            ],
            loc="outside upper center",
            ncols=3,
            fontsize=10,
        )
        return png(figure)


def _board_title(board: Board) -> str:
    escapes, overkill, confused = board.errors
    found = board.judgement.count("found")
    return (
        f"{one_line(board.path.stem, 24)} ({board.why}): {len(board.true)} defects\n"
        f"{found} found, {confused} confused, {escapes} escapes, {overkill} overkill"
    )


def _mark(axes: Axes, board: Board, names: Sequence[str], width: int) -> None:
    """Draw all boxes; labels of errors are placed first and always, those of good detections where there is room.

    Args:
        width: of the panel, in pixels of the image: the longer side of the image, whichever it is.
    """
    errors: list[tuple[NDArray[np.float32], str, str]] = []
    for box, outcome, seen_as in zip(board.true, board.judgement.outcome, board.judgement.seen_as, strict=True):
        own = _name(names, int(box[0]))
        colour = {"escape": VERMILLION, "confused": ORANGE, "found": GREEN}[outcome]
        _draw_box(axes, box[1:5], colour, 2.4 if outcome == "found" else 3.0, "-")
        if outcome == "escape":
            errors.append((box[1:5], f"ESCAPE {own}", VERMILLION))
        elif outcome == "confused":
            errors.append((box[1:5], f"{own} seen as {_name(names, seen_as)}", ORANGE))
    good: list[tuple[NDArray[np.float32], str, str]] = []
    for found, overkill in zip(board.detections, board.judgement.overkill, strict=True):
        text = f"{_name(names, int(found[5]))} {found[4]:.2f}"
        _draw_box(axes, found[:4], VIOLET if overkill else BLUE, 3.0 if overkill else 1.5, "--")
        if overkill:
            errors.append((found[:4], f"OVERKILL {text}", VIOLET))
        else:
            good.append((found[:4], text, ""))
    _write_labels(axes, errors + good, width)


def _draw_box(axes: Axes, box: NDArray[np.float32], colour: str, line: float, style: str) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(value) for value in box)
    if line > 2:  # not around the thin box of a right detection: it would hide the true box beneath
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=line + 1.8))
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=line, linestyle=style))


def _write_labels(axes: Axes, labels: Sequence[tuple[NDArray[np.float32], str, str]], width: int) -> None:
    """Put each (box, text, fill colour) above, below or beside its box, where it covers the least of the others.

    A label without fill colour belongs to a detection that is right and is left out rather than laid over another.
    """
    letter, height = 0.0155 * width, 0.037 * width  # of a label's letter, as a share of the panel
    taken: list[NDArray[np.float32]] = []
    for box, text, fill in labels:
        x1, y1, x2, y2 = (float(value) for value in box)
        long = letter * len(text) * (1.12 if fill else 1.0)
        left = min(max(x1, 0.0), max(0.0, width - long))
        corners = ((left, y1 - height - 4), (left, y2 + 4), (x2 + 6, y1), (x1 - long - 6, y1))
        places = np.array([(x, y, x + long, y + height) for x, y in corners], np.float32)
        outside = (places[:, 0] < 0) | (places[:, 1] < 0) | (places[:, 2] > width)
        covered = box_iou(places, np.array(taken, np.float32).reshape(-1, 4)).sum(axis=1) + outside
        best = int(np.argmin(covered))
        if covered[best] > 0.02 and not fill:
            continue
        taken.append(places[best])
        axes.text(
            places[best, 0],
            places[best, 1],
            text,
            va="top",
            fontsize=7.5,
            color="white" if fill else BLUE,
            fontweight="bold" if fill else "normal",
            bbox={"boxstyle": "square,pad=0.15", "facecolor": fill or "white", "edgecolor": "none"},
            clip_on=False,
            zorder=6 if fill else 5,
        )


def _name(names: Sequence[str], index: int) -> str:
    return one_line(names[index], 18) if 0 <= index < len(names) else f"class {index}"
