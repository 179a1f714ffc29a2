"""The criterion of a head with anchors: box, objectness and class loss, after YOLOv5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from ultralytics.utils.metrics import bbox_iou

from recipebox.techniques.anchor_head.head import decoded
from recipebox.techniques.anchor_head.matching import Matches, matched

BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
"""YOLOv5's factors of the levels' objectness, fine to coarse."""

_LEAST_SIDE = 1e-3
"""Pixels."""


class AnchorLoss:
    """Callable as Ultralytics calls a criterion: (predictions, batch) -> (three losses times images, items per image).

    Gains are scaled as YOLOv5's training does: all by 3 / levels, objectness by (imgsz / 640)^2, classes by nc / 80.
    `bce` and `class_weights` are where the levers on the class loss act, as in Ultralytics' own criterion; both see
    (1, n, nc), the matched anchors of a level.

    Attributes:
        positives: of the last call, matched anchors of each level, (levels,).
        found: of the last call, the objects that any anchor matches, and all objects.
        overlap: of the last call, the mean overlap (CIoU) of the matched anchors' boxes with their objects.
    """

    loss_names = ("box_loss", "obj_loss", "cls_loss")

    def __init__(self, model: Any) -> None:
        head, settings = model.model[-1], model.anchor_loss
        self.head, self.hyp, self.device = head, model.args, next(model.parameters()).device
        self.nc, self.stride, self.threshold = head.nc, head.stride, float(settings["threshold"])
        weight = settings["pos_weight"]
        self.bce: Any = nn.BCEWithLogitsLoss(
            pos_weight=torch.tensor([float(weight["cls"])], device=self.device), reduction="none"
        )
        self.bce_obj = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([float(weight["obj"])], device=self.device))
        class_weights = getattr(model, "class_weights", None)
        self.class_weights = None if class_weights is None else class_weights.to(self.device).view(1, 1, -1)
        self.balance = tuple(settings["balance"] or BALANCE.get(head.nl, (1.0,) * head.nl))
        share = 3 / head.nl
        imgsz = float(getattr(self.hyp, "imgsz", 640) if not isinstance(self.hyp, dict) else self.hyp.get("imgsz", 640))
        self.gains = torch.tensor(
            [
                settings["box"] * share,
                settings["obj"] * share * (imgsz / 640) ** 2,
                settings["cls"] * share * self.nc / 80,
            ],
            device=self.device,
        )
        self._places: dict[tuple[tuple[int, int], ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self.positives = torch.zeros(head.nl)
        self.found = (torch.zeros(()), 0)
        self.overlap = torch.zeros(())

    def __call__(self, preds: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        answers = preds[1] if isinstance(preds, tuple) else preds
        losses = self._losses(answers, batch) * self.gains
        items = dict(zip(self.loss_names, losses.detach(), strict=True))
        return losses * answers["scores"].shape[0], items

    def _losses(self, answers: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        """Box, objectness and class loss before their gains, (3,)."""
        shapes = [(int(maps.shape[2]), int(maps.shape[3])) for maps in answers["feats"]]
        height, width = (side * float(self.stride[0]) for side in shapes[0])
        scale = torch.tensor([width, height, width, height], device=self.device)
        boxes = batch["bboxes"].to(self.device).float() * scale
        image = batch["batch_idx"].to(self.device).long().flatten()
        label = batch["cls"].to(self.device).long().flatten()
        if (known := tuple(shapes)) not in self._places:
            self._places = {known: self.head.places(shapes, boxes)}
        places, strides = self._places[known]
        zero = answers["scores"].sum() * 0 + answers["boxes"].sum() * 0  # both branches stay in the graph
        total, begin = torch.stack([zero, zero, zero]).float(), 0
        seen, overlaps = torch.zeros(len(boxes), dtype=torch.bool, device=self.device), []
        positives = []
        for level, (shape, sizes) in enumerate(zip(shapes, self.head.sizes, strict=True)):
            end = begin + len(sizes) * shape[0] * shape[1]
            here = {key: answers[key][:, :, begin:end] for key in ("boxes", "obj", "scores")}
            matches = matched(
                boxes, torch.tensor(sizes, device=self.device), float(self.stride[level]), shape, self.threshold
            )
            where = (places[:, begin:end], strides[:, begin:end], shape)
            terms, overlap = self._level(here, where, matches, boxes, image, label)
            weights = torch.tensor([1.0, self.balance[level], 1.0], device=self.device)
            total = total + terms * weights
            seen[matches.box] = True
            positives.append(len(matches))
            overlaps.append(overlap)
            begin = end
        self.positives = torch.tensor(positives)
        self.found = (seen.sum(), len(boxes))
        together = torch.cat(overlaps)
        self.overlap = together.mean() if len(together) else torch.zeros(())
        return total

    def _level(
        self,
        answers: Mapping[str, torch.Tensor],
        where: tuple[torch.Tensor, torch.Tensor, tuple[int, int]],
        matches: Matches,
        boxes: torch.Tensor,
        image: torch.Tensor,
        label: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(three losses of a level, overlap of each match)."""
        places, strides, shape = where
        objectness = answers["obj"][:, 0]
        target = torch.zeros_like(objectness, dtype=torch.float32)
        none = objectness.sum() * 0
        if not len(matches):
            return torch.stack([none, self.bce_obj(objectness.float(), target), none]), target.new_zeros(0)
        at, images = matches.places(shape), image[matches.box]
        raw = answers["boxes"][images, :, at].float().T[None]
        predicted = decoded(raw, places[None, :, at], strides[None, :, at])[0].T
        # A very sure "no width and no height" is 0 / 0 to the overlap's aspect ratio.
        predicted = torch.cat([predicted[:, :2], predicted[:, 2:].clamp(min=_LEAST_SIDE)], 1)
        overlap = bbox_iou(predicted, boxes[matches.box], CIoU=True).squeeze(-1)
        # Where two objects want the same anchor, it is as sure as the better of them makes it.
        flat = target.view(-1).scatter_reduce(
            0, images * target.shape[1] + at, overlap.detach().clamp(min=0).float(), "amax"
        )
        logits = answers["scores"][images, :, at].float()
        wanted = nn.functional.one_hot(label[matches.box], self.nc).float()
        classes = self.bce(logits[None], wanted[None])
        if self.class_weights is not None:
            classes = classes * self.class_weights
        losses = [(1 - overlap).mean(), self.bce_obj(objectness.float(), flat.view_as(target)), classes.mean()]
        return torch.stack(losses), overlap.detach()
