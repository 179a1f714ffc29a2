"""The head with anchors: decode, matching and loss against written-out references, and how weights get in."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import bbox_iou

from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.recipe.head_sections import AnchorHead
from recipebox.techniques.anchor_head.head import AnchorDetect, AnchorModel, decoded, with_anchors
from recipebox.techniques.anchor_head.loss import AnchorLoss
from recipebox.techniques.anchor_head.matching import matched
from recipebox.techniques.label_smoothing import smooth_targets

ANCHORS = (((6.0, 7.0), (14.0, 9.0)), ((12.0, 22.0), (24.0, 24.0)), ((40.0, 20.0), (60.0, 60.0)))


def settings(**changes: Any) -> dict[str, Any]:
    keys = {"box", "obj", "cls", "balance", "pos_weight", "threshold"}
    return AnchorHead.model_validate(changes).model_dump(include=keys)


def network(nc: int = 3, *, names: dict[int, str] | None = None, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=nc, verbose=False)
    with_anchors(model, ANCHORS, settings(**changes))
    model.names = names or {i: str(i) for i in range(nc)}
    model.args = SimpleNamespace(imgsz=64)
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


def targets(rows: list[tuple[int, int, float, float, float, float]]) -> dict[str, torch.Tensor]:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {"batch_idx": table[:, 0], "cls": table[:, 1:2], "bboxes": table[:, 2:]}


ROWS = [
    *((0, 0, 0.5, 0.5, 0.12, 0.12), (0, 1, 0.26, 0.71, 0.4, 0.3), (0, 2, 0.99, 0.01, 0.1, 0.2)),
    *((1, 2, 0.5, 0.52, 0.9, 0.9), (1, 0, 0.51, 0.51, 0.88, 0.9)),
]


def test_boxes_are_decoded_as_the_card_says(model: Any) -> None:
    places, strides = model.model[-1].places([(8, 8), (4, 4), (2, 2)], torch.zeros(1))
    raw = torch.randn(2, 4, places.shape[1], generator=torch.Generator().manual_seed(1))
    boxes = decoded(raw, places[None], strides[None])
    place = 0
    for (side, stride), sizes in zip(((8, 8), (4, 16), (2, 32)), ANCHORS, strict=True):
        for a, b in sizes:
            for row in range(side):
                for column in range(side):
                    x, y, w, h = raw[1, :, place].sigmoid().tolist()
                    expected = [
                        *((2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride),
                        *((2 * w) ** 2 * a, (2 * h) ** 2 * b),
                    ]
                    assert boxes[1, :, place].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
                    place += 1
    assert place == boxes.shape[2]


def by_rule(boxes: Any, sizes: Any, stride: int, side: int, threshold: float) -> set[tuple[int, int, int, int]]:
    """(box, anchor, row, column), written out."""
    found = set()
    for number, (x, y, w, h) in enumerate(boxes):
        for place, (a, b) in enumerate(sizes):
            if max(w / a, a / w, h / b, b / h) >= threshold:
                continue
            column, row = x / stride, y / stride
            near = [(math.floor(column), math.floor(row))]
            near.append((near[0][0] + (-1 if column % 1 < 0.5 else 1), near[0][1]))
            near.append((near[0][0], near[0][1] + (-1 if row % 1 < 0.5 else 1)))
            found |= {(number, place, r, c) for c, r in near if 0 <= c < side and 0 <= r < side}
    return found


@pytest.mark.parametrize(("stride", "sizes"), list(zip((8, 16, 32), ANCHORS, strict=True)))
def test_matches_follow_the_rule(stride: int, sizes: Any) -> None:
    rng = torch.Generator().manual_seed(stride)
    boxes = torch.cat([torch.rand(40, 2, generator=rng) * 63.9, 2 + torch.rand(40, 2, generator=rng) * 60], 1)
    side = 64 // stride
    found = matched(boxes, torch.tensor(sizes), stride, (side, side), 4.0)
    rows = zip(*(each.tolist() for each in (found.box, found.anchor, found.row, found.column)), strict=True)
    as_list = list(rows)
    assert len(as_list) == len(set(as_list))
    assert set(as_list) == by_rule(boxes.tolist(), sizes, stride, side, 4.0)


def test_a_centre_on_the_edge_of_the_image_stays_inside() -> None:
    found = matched(torch.tensor([[64.0, 64.0, 8.0, 8.0]]), torch.tensor([(8.0, 8.0)]), 8, (8, 8), 4.0)
    assert len(found) > 0
    assert int(found.row.max()) == int(found.column.max()) == 7


def written_out(model: Any, answers: Any, rows: Any, threshold: float = 4.0) -> list[float]:
    """Box, objectness and class loss with their gains, answer by answer."""
    head, gains = model.model[-1], model.anchor_loss
    total, begin = [0.0, 0.0, 0.0], 0
    balance = (4.0, 1.0, 0.4)
    for level, (maps, sizes) in enumerate(zip(answers["feats"], ANCHORS, strict=True)):
        side, stride = maps.shape[2], int(head.stride[level])
        count = len(sizes) * side * side
        objectness = torch.zeros(maps.shape[0], count)
        overlaps, classes = [], []
        for image, label, *box in rows:
            pixels = [value * 64 for value in box]
            for _, place, row, column in sorted(by_rule([pixels], sizes, stride, side, threshold)):
                at = (place * side + row) * side + column
                x, y, w, h = answers["boxes"][image, :, begin + at].sigmoid().tolist()
                a, b = sizes[place]
                guess = [
                    (2 * x - 0.5 + column) * stride,
                    (2 * y - 0.5 + row) * stride,
                    (2 * w) ** 2 * a,
                    (2 * h) ** 2 * b,
                ]
                overlap = float(bbox_iou(torch.tensor([guess]), torch.tensor([pixels]), CIoU=True))
                overlaps.append(1 - overlap)
                objectness[image, at] = max(float(objectness[image, at]), overlap, 0.0)
                logits = answers["scores"][image, :, begin + at]
                wanted = torch.eye(head.nc)[label]
                classes += nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").tolist()
        if overlaps:
            total[0] += sum(overlaps) / len(overlaps)
            total[2] += sum(classes) / len(classes)
        logits = answers["obj"][:, 0, begin : begin + count]
        total[1] += balance[level] * float(nn.functional.binary_cross_entropy_with_logits(logits, objectness))
        begin += count
    scaled = (gains["box"], gains["obj"] * (64 / 640) ** 2, gains["cls"] * head.nc / 80)
    return [loss * gain for loss, gain in zip(total, scaled, strict=True)]


def test_the_loss_is_what_the_card_says(model: Any) -> None:
    model.train()
    with torch.no_grad():
        answers = model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    loss, items = AnchorLoss(model)(answers, targets(ROWS))
    assert list(items) == ["box_loss", "obj_loss", "cls_loss"]
    assert [float(value) for value in items.values()] == pytest.approx(written_out(model, answers, ROWS), rel=1e-4)
    assert loss.tolist() == pytest.approx([2 * float(value) for value in items.values()], rel=1e-6)


def test_an_image_without_objects_costs_objectness_alone(model: Any) -> None:
    model.train()
    answers = model(torch.rand(2, 3, 64, 64))
    loss, items = AnchorLoss(model)(answers, targets([]))
    assert items["box_loss"] == items["cls_loss"] == 0 < items["obj_loss"]
    loss.sum().backward()
    missing = [name for name, p in model.model[-1].named_parameters() if p.grad is None]
    model.zero_grad()
    assert not missing, "a parameter outside the graph stops distributed training"


def test_answers_that_are_far_off_have_a_finite_loss(model: Any) -> None:
    model.train()
    with torch.no_grad():
        answers = model(torch.rand(2, 3, 64, 64))
        for far in (-200.0, 200.0):
            wild = answers | {"boxes": torch.full_like(answers["boxes"], far)}
            assert all(torch.isfinite(value) for value in AnchorLoss(model)(wild, targets(ROWS))[1].values())


def test_weights_of_positives_and_levers_on_the_class_loss_act(model: Any) -> None:
    model.train()
    with torch.no_grad():
        answers = model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    plain = AnchorLoss(model)(answers, targets(ROWS))[1]
    model.anchor_loss = settings(pos_weight={"obj": 3.0, "cls": 2.0})
    heavy = AnchorLoss(model)(answers, targets(ROWS))[1]
    model.anchor_loss = settings()
    assert heavy["obj_loss"] > plain["obj_loss"]
    assert heavy["cls_loss"] > plain["cls_loss"]
    assert heavy["box_loss"] == plain["box_loss"]
    smoothed = AnchorLoss(model)
    bce = smoothed.bce
    epsilon = LabelSmoothing(epsilon=0.1).epsilon
    smoothed.bce = lambda logits, wanted: bce(logits, smooth_targets(wanted, epsilon, 1 / 3))
    assert smoothed(answers, targets(ROWS))[1]["cls_loss"] != plain["cls_loss"]
    weighed = AnchorLoss(model)
    weighed.class_weights = torch.tensor([2.0, 2.0, 2.0]).view(1, 1, -1)
    assert float(weighed(answers, targets(ROWS))[1]["cls_loss"]) == pytest.approx(
        2 * float(plain["cls_loss"]), rel=1e-5
    )


def test_answers_have_the_form_of_any_other_head(model: Any) -> None:
    model.eval()
    with torch.no_grad():
        boxes, raw = model(torch.rand(2, 3, 64, 64))
        assert boxes.shape == (2, 4 + 3, 2 * (64 + 16 + 4))
        scores = raw["obj"].sigmoid() * raw["scores"].sigmoid()
        assert torch.allclose(boxes[:, 4:], scores)
        head = model.model[-1]
        head.xyxy = True
        corners = model.model[-1]._inference(raw)
        head.xyxy = False
    assert torch.allclose((corners[:, :2] + corners[:, 2:4]) / 2, boxes[:, :2], atol=1e-3)
    assert torch.allclose(corners[:, 2:4] - corners[:, :2], boxes[:, 2:4], atol=1e-3)


def test_weights_of_ultralytics_fill_all_but_the_last_layers() -> None:
    torch.manual_seed(5)
    stock = DetectionModel("yolov8n.yaml", nc=6, verbose=False)
    model = network()
    drawn = {key: value.clone() for key, value in model.state_dict().items()}
    model.load(stock)
    own, theirs = model.state_dict(), stock.state_dict()
    same = [key for key in own if key in theirs and own[key].shape == theirs[key].shape]
    last = [f"model.22.cv{b}.{level}.2.{k}" for b in (2, 3) for level in range(3) for k in ("weight", "bias")]
    assert all(torch.equal(own[key], theirs[key]) for key in same if key not in last)
    assert all(torch.equal(own[key], drawn[key]) for key in last)


def test_weights_of_such_a_head_fill_it_and_classes_go_by_name() -> None:
    before = network(names={0: "a", 1: "b", 2: "c"})
    after = network(nc=2, names={0: "c", 1: "a"})
    after.load(before)
    assert torch.equal(after.state_dict()["model.22.cv2.1.2.weight"], before.state_dict()["model.22.cv2.1.2.weight"])
    for layer in ("weight", "bias"):
        ours = after.state_dict()[f"model.22.cv3.0.2.{layer}"]
        theirs = before.state_dict()[f"model.22.cv3.0.2.{layer}"]
        ours, theirs = ours.view(2, 2, -1), theirs.view(2, 3, -1)
        assert torch.equal(ours[:, 0], theirs[:, 2])
        assert torch.equal(ours[:, 1], theirs[:, 0])


def test_the_network_is_still_ultralytics_own(model: Any) -> None:
    assert isinstance(model, AnchorModel) and isinstance(model, DetectionModel)
    assert isinstance(model.model[-1], AnchorDetect)
    assert not any("anchor" in key for key in model.state_dict()), "anchors are settings, no weights to be averaged"
    bias = model.model[-1].cv3[0][-1].bias
    assert float(bias.detach().mean()) == pytest.approx(math.log(0.6 / (3 - 0.99999)), abs=0.5)
