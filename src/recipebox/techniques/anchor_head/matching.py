"""Which anchors of which cells are to find which boxes: YOLOv5's rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Matches:
    """Pairs of a box and an anchor of a cell at one level, (n,) each.

    Attributes:
        box: place of the box.
        anchor: place of the anchor among those of a cell.
        row, column: of the cell.
    """

    box: torch.Tensor
    anchor: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor

    def __len__(self) -> int:
        return len(self.box)

    def places(self, shape: tuple[int, int]) -> torch.Tensor:
        """Where each stands among a level's answers, which come anchor by anchor, row by row, (n,)."""
        height, width = shape
        return (self.anchor * height + self.row) * width + self.column


def matched(
    boxes: torch.Tensor, anchors: torch.Tensor, stride: float, shape: tuple[int, int], threshold: float
) -> Matches:
    """Match boxes with the anchors of a level.

    An anchor matches a box when neither side is `threshold` times the other's or more. It is then expected in the cell
    that holds the box's centre, and in the two neighbours (beside, above or below) that the centre is nearest to, as
    far as the grid reaches. Source: YOLOv5's loss (`build_targets`, documented in Ultralytics' architecture notes).

    Args:
        boxes: (n, 4) centre x, centre y, width, height, pixels.
        anchors: (a, 2) width and height, pixels.
        stride: of the level, pixels.
        shape: rows and columns of its grid.
        threshold: above 1.
    """
    height, width = shape
    ratio = boxes[:, None, 2:] / anchors[None]
    fits = torch.maximum(ratio, 1 / ratio).amax(2) < threshold
    box, anchor = fits.nonzero(as_tuple=True)
    centre = boxes[box, :2] / stride
    cell = centre.floor()
    nearer = torch.where(centre - cell < 0.5, -1.0, 1.0)
    own, beside, above = cell, cell.clone(), cell.clone()
    beside[:, 0] += nearer[:, 0]
    above[:, 1] += nearer[:, 1]
    grid = torch.tensor([width, height], device=boxes.device, dtype=boxes.dtype)
    # A centre on the far edge of the image belongs to the last cell.
    own = torch.minimum(own, grid - 1).clamp(min=0)
    cells = torch.cat([own, beside, above])
    inside = ((cells >= 0) & (cells < grid)).all(1)
    columns, rows = cells[inside].long().unbind(1)
    return Matches(box.repeat(3)[inside], anchor.repeat(3)[inside], rows, columns)
