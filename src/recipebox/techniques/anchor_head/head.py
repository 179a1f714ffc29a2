"""A YOLOv5-style head on a network of Ultralytics': what it computes, and how weights get into it.

It extends Ultralytics' own head and detector, so that validator, fusing, export and NMS work as they do for those; a
test holds each of the internals that this leans on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from ultralytics.nn.modules import Conv, Detect  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.torch_utils import initialize_weights  # noqa: E402

Sizes = Sequence[Sequence[tuple[float, float]]]

_LAST = re.compile(r"\.cv[23]\.\d+\.2\.(weight|bias)$")
"""The last layer of each branch and level."""
BOX = 5
"""Answers of an anchor beside its classes: four for the box, one for objectness."""


class AnchorDetect(Detect):  # type: ignore[misc]
    """Answers for each anchor of each cell: box, objectness and classes.

    The branches are as deep and wide as YOLOv8's, one for boxes and objectness, one for classes, so that beside the
    anchor-free head only the kind of answer differs. Raw answers of a level come anchor by anchor, row by row; levels
    follow each other from fine to coarse.

    Args:
        nc: classes.
        anchors: (width, height) in pixels, by level; as many at each.
        stride: of each level, pixels.
        ch: channels of the maps that the levels read.
    """

    shape: Any

    def __init__(self, nc: int, anchors: Sizes, stride: torch.Tensor, ch: Sequence[int]) -> None:
        nn.Module.__init__(self)
        self.nc, self.nl, self.na, self.reg_max = nc, len(ch), len(anchors[0]), 1
        self.no = self.na * (BOX + nc)
        self.stride = stride.clone().float()
        self.sizes = tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors)
        boxes, classes = max(16, ch[0] // 4, 64), max(ch[0], min(nc, 100))
        self.cv2: Any = nn.ModuleList(self._branch(c, boxes, self.na * BOX) for c in ch)
        self.cv3: Any = nn.ModuleList(self._branch(c, classes, self.na * nc) for c in ch)
        self.dfl = nn.Identity()

    @staticmethod
    def _branch(channels: int, hidden: int, answers: int) -> nn.Sequential:
        return nn.Sequential(Conv(channels, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, answers, 1))

    def forward_head(self, x: list[torch.Tensor], box_head: Any = None, cls_head: Any = None) -> dict[str, Any]:
        """Raw answers: `boxes` (B, 4, A), `obj` (B, 1, A), `scores` (B, nc, A), and `feats`, the maps they are of."""
        if box_head is None or cls_head is None:
            return {}
        boxes = torch.cat([self._by_anchor(box_head[i](x[i]), BOX) for i in range(self.nl)], -1)
        scores = torch.cat([self._by_anchor(cls_head[i](x[i]), self.nc) for i in range(self.nl)], -1)
        return {"boxes": boxes[:, :4], "obj": boxes[:, 4:], "scores": scores, "feats": x}

    def _by_anchor(self, answers: torch.Tensor, each: int) -> torch.Tensor:
        """(B, na * each, H, W) -> (B, each, na * H * W)."""
        count = answers.shape[0]
        by_anchor = answers.reshape(count, self.na, each, -1).permute(0, 2, 1, 3)
        return by_anchor.reshape(count, each, -1)

    def _inference(self, x: dict[str, Any]) -> torch.Tensor:
        """(B, 4 + nc, A): centre x, centre y, width, height (corners where `xyxy` is set) in pixels, and the scores,
        which are objectness times class."""
        shape = x["feats"][0].shape
        if self.dynamic or self.shape != shape:
            self.anchors, self.strides = self.places([tuple(map(int, f.shape[2:])) for f in x["feats"]], x["boxes"])
            self.shape = shape
        boxes = decoded(x["boxes"], self.anchors[None], self.strides[None])
        if self.xyxy:
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = torch.cat((centre - half, centre + half), 1)
        return torch.cat((boxes, x["obj"].sigmoid() * x["scores"].sigmoid()), 1)

    def places(self, shapes: Sequence[tuple[int, ...]], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of every answer: (4, A) column and row of its cell, width and height of its anchor in pixels; (1, A) stride.

        Args:
            shapes: rows and columns of each level's grid.
            like: gives device and number format.
        """
        columns, strides = [], []
        for (height, width), stride, sizes in zip(shapes, self.stride.tolist(), self.sizes, strict=True):
            row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            cells = torch.stack([column.flatten(), row.flatten()]).float().repeat(1, self.na)
            anchors = torch.tensor(sizes).T.repeat_interleave(height * width, dim=1)
            columns.append(torch.cat([cells, anchors]))
            strides.append(torch.full((1, cells.shape[1]), stride))
        return torch.cat(columns, 1).to(like), torch.cat(strides, 1).to(like)

    def bias_init(self) -> None:
        """Begin with few objects (8 in an image of 640 px) and no favourite class, as YOLOv5 does."""
        for boxes, classes, stride in zip(self.cv2, self.cv3, self.stride.tolist(), strict=True):
            boxes[-1].bias.data.view(self.na, BOX)[:, 4] += math.log(8 / (640 / stride) ** 2)
            classes[-1].bias.data += math.log(0.6 / (self.nc - 0.99999))


def decoded(raw: torch.Tensor, places: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Raw box answers as centre x, centre y, width, height in pixels.

    With s the sigmoid: a centre is (2 s - 0.5 + cell) * stride, a side (2 s)^2 times the anchor's (YOLOv5, release 2).

    Args:
        raw: (B, 4, A).
        places: (1, 4, A), see `AnchorDetect.places`.
        strides: (1, 1, A).
    """
    twice = raw.sigmoid() * 2
    centre = (twice[:, :2] - 0.5 + places[:, :2]) * strides
    return torch.cat((centre, twice[:, 2:] * twice[:, 2:] * places[:, 2:]), 1)


class AnchorModel(DetectionModel):  # type: ignore[misc]
    """Ultralytics' detector with an `AnchorDetect` for its head; made of one by `with_anchors`.

    `anchor_loss` holds what its criterion needs besides the trainer's arguments, so that a checkpoint is whole.
    """

    anchor_loss: dict[str, Any]

    def init_criterion(self) -> Any:
        from recipebox.techniques.anchor_head.loss import AnchorLoss

        return AnchorLoss(self)

    def load(self, weights: Any, verbose: bool = True) -> None:
        """Take over what fits of another detector's weights: by name and shape, classes by their names.

        The last layers of a head without anchors mean something else, and are left as they were drawn.
        """
        source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
        theirs, own, head = source.float().state_dict(), self.state_dict(), self.model[-1]
        other = source.model[-1]
        answers = [key for key in own if _LAST.search(key)]
        kept = {key: value for key, value in theirs.items() if key in own and own[key].shape == value.shape}
        for key in answers:
            kept.pop(key, None)
        if isinstance(other, AnchorDetect) and other.na == head.na and other.nl == head.nl:
            for key in answers:
                if ".cv2." in key and theirs[key].shape == own[key].shape:
                    kept[key] = theirs[key]
                elif ".cv3." in key and theirs[key].shape[1:] == own[key].shape[1:]:
                    kept[key] = self._by_name(own[key], theirs[key], source.names)
        self.load_state_dict(kept, strict=False)

    def _by_name(self, own: torch.Tensor, theirs: torch.Tensor, names: dict[int, str]) -> torch.Tensor:
        """Class answers (na * nc, ...) with those of the other's classes of the same name put in."""
        head, known = self.model[-1], {name: column for column, name in names.items()}
        taken = own.clone().view(head.na, head.nc, *own.shape[1:])
        others = theirs.view(head.na, len(names), *theirs.shape[1:])
        for column, name in self.names.items():
            if name in known:
                taken[:, column] = others[:, known[name]]
        return taken.view_as(own)


def with_anchors(model: Any, anchors: Sizes, loss: dict[str, Any]) -> None:
    """Give a drawn network of Ultralytics' a head with anchors in the place of its own.

    The object stays the same one, of another class: Ultralytics' trainer draws networks itself, as `DetectionModel`.

    Args:
        model: a DetectionModel, on the CPU, nothing loaded into it.
        anchors: (width, height) in pixels, by level.
        loss: `AnchorModel.anchor_loss`.
    """
    before = model.model[-1]
    channels = [branch[0].conv.in_channels for branch in before.cv2]
    head = AnchorDetect(int(before.nc), anchors, before.stride, channels)
    head.inplace = before.inplace
    head.i, head.f, head.type = before.i, before.f, f"{AnchorDetect.__module__}.{AnchorDetect.__name__}"
    head.np = sum(parameter.numel() for parameter in head.parameters())
    initialize_weights(head)
    head.bias_init()
    model.model[-1] = head
    model.__class__, model.anchor_loss = AnchorModel, loss
