"""Pictures of a checked data set: what was found drawn into the images, and how classes, sizes and numbers spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox.report.markdown import one_line
from recipebox.report.pictures import BLUE, ORANGE, VERMILLION, canvas, panels, png

if TYPE_CHECKING:
    from recipebox.data.findings.check_set import SetReport
    from recipebox.data.findings.finding import Finding

Image = NDArray[np.uint8]

CELL, COLUMNS, GAP = 400, 3, 14
"""Pixels: the side that a drawn image fits into, images in a row, and what is between them."""
_LOUD, _QUIET, _PAPER, _INK = (0, 64, 220), (178, 114, 0), 255, (40, 32, 27)
_COLOURS = (BLUE, ORANGE, VERMILLION)
_MOST_CLASSES = 30


def sheet(report: SetReport, findings: Sequence[Finding]) -> bytes | None:
    """The images of findings, numbered from 1: all their boxes thin, those meant thick; pairs side by side.

    None where none of them can be shown.
    """
    import cv2

    from recipebox.data.quiet_decoders import decoders_quiet

    where = {image: None for one in findings for image in (one.image, one.other) if image}
    places = {path: (part, i) for part in report.samples for i, path in enumerate(part.images) if path in where}
    cells = []
    for number, finding in enumerate(findings, start=1):
        shown = []
        for path in (finding.image, finding.other):
            with decoders_quiet():
                picture = _read(path) if path else None
            if path is None or picture is None:
                continue
            part, index = places.get(path, (None, 0))
            rows: Any = () if part is None else part.labels.read(part.split, index, index + 1).rows[:, 1:]
            shown.append(_drawn(picture, rows, finding.boxes if path == finding.image else ()))
        if shown:
            cells.append(_cell(shown, str(number)))
    if not cells:
        return None
    columns = max(1, min(COLUMNS if cells[0].shape[1] <= CELL else 2, len(cells)))
    width = max(cell.shape[1] for cell in cells)
    lines = []
    for at in range(0, len(cells), columns):
        line = cells[at : at + columns]
        height = max(cell.shape[0] for cell in line)
        padded = [_on_paper(cell, height + GAP, width + GAP) for cell in line]
        padded += [np.full((height + GAP, width + GAP, 3), _PAPER, np.uint8)] * (columns - len(line))
        lines.append(np.hstack(padded))
    encoded: Image = cv2.imencode(".png", np.vstack(lines), [cv2.IMWRITE_PNG_COMPRESSION, 6])[1]
    return encoded.tobytes()


def balance(report: SetReport) -> bytes:
    """Boxes of each class, one bar a split; of very many classes, those with the most boxes."""
    counts = np.stack([one.boxes for one in report.statistics.values()])
    boxes = counts.sum(axis=0)
    chosen = np.argsort(-boxes, kind="stable")[: min(_MOST_CLASSES, max(1, int((boxes > 0).sum())))]
    with canvas(1.2 + 0.34 * len(chosen)) as figure:
        axes = figure.add_subplot()
        bar = 0.8 / len(counts)
        for number, (split, colour) in enumerate(zip(report.statistics, _COLOURS, strict=False)):
            at = np.arange(len(chosen)) + (number - (len(counts) - 1) / 2) * bar
            axes.barh(at, counts[number][chosen], height=bar * 0.9, color=colour, label=split)
        axes.set_yticks(np.arange(len(chosen)), [one_line(report.names[index], 24) for index in chosen])
        axes.set_ylim(len(chosen) - 0.4, -0.6)
        empty = int((boxes == 0).sum())
        rest = f", the {_MOST_CLASSES} most frequent" if len(boxes) - empty > _MOST_CLASSES else ""
        rest += f" ({empty} of {len(boxes)} have none)" if empty and len(chosen) < len(boxes) else ""
        axes.set_title(f"Boxes of each class{rest}")
        axes.set_xlabel("boxes")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return png(figure)


def spread(report: SetReport) -> bytes:
    """Sizes of boxes at the network's input, and objects in an image; shares, so that splits compare."""
    from recipebox.data.findings.box_rules import FINEST_STRIDE

    used = np.flatnonzero(sum(one.sizes for one in report.statistics.values()))
    first, end = (int(used[0]), int(used[-1]) + 2) if len(used) else (0, 1)
    with panels(2) as (figure, add):
        sizes, objects = add(), add()
        for (split, one), colour in zip(report.statistics.items(), _COLOURS, strict=False):
            steps = np.arange(max(0, first - 1), min(end, len(one.sizes)))
            _steps(sizes, 4 * 2 ** (steps / 8), one.sizes[steps], colour, split, "post")
            last = max(12, int(np.flatnonzero(one.objects).max(initial=0)) + 2)
            _steps(objects, np.arange(last), one.objects[:last], colour, split, "mid")
        sizes.axvline(FINEST_STRIDE, color="#000000", linestyle=":", linewidth=1.2)
        sizes.set_xscale("log", base=2)
        sizes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        sizes.set_title("Size of boxes")
        sizes.set_xlabel(f"square root of the area, px at imgsz {report.imgsz}")
        objects.locator_params(axis="x", integer=True)
        objects.set_title("Objects in an image")
        objects.set_xlabel("boxes in an image")
        for axes in (sizes, objects):
            axes.set_ylabel("share of the split, %")
            axes.set_ylim(bottom=0)
            axes.legend()
        return png(figure)


def _steps(axes: Any, at: NDArray[Any], counts: NDArray[np.int64], colour: str, label: str, where: str) -> None:
    axes.step(at, 100 * counts / max(1, int(counts.sum())), where=where, color=colour, label=label)


def _read(path: str) -> Image | None:
    """What can be seen of an image, small; of a truncated one that is its upper part."""
    import cv2

    from recipebox.data.findings.finding import Fault
    from recipebox.data.findings.image_file import header_size, read_plain, too_large

    content = read_plain(path)
    if isinstance(content, Fault) or not content:
        return None
    size = header_size(content)
    if size is not None and too_large(size):
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if picture is None:
        return None
    scale = CELL / max(picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
    resized: Image = cv2.resize(picture, (width, height), interpolation=how)
    return resized


def _drawn(picture: Image, rows: Any, loud: Sequence[Sequence[float]]) -> Image:
    import cv2

    height, width = picture.shape[:2]
    for boxes, colour, thickness in ((rows, _QUIET, 2), (loud, _LOUD, 3)):
        for x, y, w, h in boxes:
            edges = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1, 2) * (width, height, width, height)
            left, top, right, bottom = (int(value) for value in np.round(edges))
            # A box that lies outside, or is a dot, is still to be seen.
            left, right = max(1, min(left, width - 8)), min(width - 2, max(right, 6))
            top, bottom = max(1, min(top, height - 8)), min(height - 2, max(bottom, 6))
            cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    return picture


def _cell(shown: list[Image], number: str) -> Image:
    """One finding's pictures beside each other, under its number."""
    import cv2

    height = max(picture.shape[0] for picture in shown)
    row = np.hstack([_on_paper(picture, height, picture.shape[1] + (6 if len(shown) > 1 else 0)) for picture in shown])
    strip = np.full((24, row.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(strip, number, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.62, _INK, 2, cv2.LINE_AA)
    return np.vstack([strip, row])


def _on_paper(picture: Image, height: int, width: int) -> Image:
    paper = np.full((height, width, 3), _PAPER, np.uint8)
    paper[: picture.shape[0], : picture.shape[1]] = picture
    return paper
