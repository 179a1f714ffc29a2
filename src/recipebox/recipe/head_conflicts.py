"""What excludes each other, and what is idle, among the levers on the head."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recipebox.recipe.head_sections import AnchorHead, Assigner
from recipebox.recipe.pixel_conflicts import sizes
from recipebox.recipe.schema import Settings, Train
from recipebox.recipe.yaml_nodes import Document

_TAKES_P2 = re.compile(r"^yolov8[nslmx]$")


def strides(settings: Settings) -> tuple[int, ...]:
    """The strides of the network's levels, fine to coarse, pixels."""
    return (4, 8, 16, 32) if settings.techniques.p2 else (8, 16, 32)


def takes_p2(settings: Settings) -> bool:
    """Whether there is a network with a level of stride 4 for this architecture."""
    return _TAKES_P2.match(settings.model.architecture or "") is not None


def head_conflicts(settings: Settings, document: Document) -> Iterator[str]:
    """Why this head cannot be, or not with the other levers; one sentence each."""
    techniques = settings.techniques
    if techniques.p2 and not takes_p2(settings):
        known = settings.model.architecture
        yield (
            f"{document.origin(('techniques', 'p2'))}: `p2` with {known or 'a network that only its weights name'}: "
            "the level of stride 4 is drawn for yolov8 n, s, m, l and x. "
            + ("Take one of those, or take `p2` out." if known else "Say which it is: `model: {arch: yolov8n}`.")
        )
    smallest = min(sizes(settings))
    cells = sum((smallest // stride) ** 2 for stride in strides(settings))
    if techniques.assigner is not None and techniques.assigner.topk > cells:
        yield (
            f"{document.origin(('techniques', 'assigner', 'topk'))}: `assigner.topk: {techniques.assigner.topk}`: at "
            f"{smallest} px, the smallest size of this run, the network has {cells} cells to choose from. Take at most "
            "that many."
        )
    head = techniques.anchor_head
    if head is not None:
        yield from _excluded(settings, document)
        yield from _rows(head, strides(settings), document)


def _excluded(settings: Settings, document: Document) -> Iterator[str]:
    techniques = settings.techniques
    where = document.origin(("techniques", "anchor_head"))
    if techniques.distillation is not None:
        yield (
            f"{document.origin(('techniques', 'distillation'))}: `distillation` with `anchor_head`: a teacher without "
            "anchors gives one answer a cell, with edges as distributions and no objectness; a head with anchors gives "
            "one for each anchor of a cell, with offsets from its size. There is nothing to compare. Take one of them "
            "out (`distillation: null`)."
        )
    if techniques.assigner is not None:
        yield (
            f"{document.origin(('techniques', 'assigner'))}: `assigner` with `anchor_head`: a head with anchors "
            "chooses cells by its anchors' sizes (`anchor_head.threshold`), not by the task-aligned assigner. Take it "
            "out (`assigner: null`)."
        )
    for key in ("box", "cls", "dfl"):
        if getattr(settings.train, key) != Train.model_fields[key].default:
            instead = "`anchor_head` has no such loss" if key == "dfl" else f"its gain is `anchor_head.{key}`"
            yield f"{document.origin(('train', key))}: `train.{key}` with `anchor_head`: {instead}. Take it out."
    weights, head = techniques.class_weights, techniques.anchor_head
    if weights is not None and weights.pos_weight is not None and head is not None and head.pos_weight.cls != 1:
        yield (
            f"{where}: `anchor_head.pos_weight.cls` and `class_weights.pos_weight` are the same factor, which would "
            "act twice. Say it once."
        )


def _rows(head: AnchorHead, levels: tuple[int, ...], document: Document) -> Iterator[str]:
    path = ("techniques", "anchor_head")
    shown = ", ".join(map(str, levels))
    rows, balance = head.sizes(), head.balance
    if rows is not None and len(rows) != len(levels):
        yield (
            f"{document.origin((*path, 'anchors'))}: `anchors` has {len(rows)} rows, and the network {len(levels)} "
            f"levels (strides {shown}): one row each, fine to coarse."
        )
    if balance is not None and len(balance) != len(levels):
        yield (
            f"{document.origin((*path, 'balance'))}: `balance` has {len(balance)} factors, and the network "
            f"{len(levels)} levels (strides {shown}): one each, fine to coarse."
        )


def teacher_head_conflicts(student: Settings, teacher: Settings, teacher_name: str, where: str) -> Iterator[str]:
    """Why the answers of a teacher's head cannot be compared with the student's."""
    if teacher.techniques.anchor_head is not None:
        yield (
            f"{where}the teacher {teacher_name} has a head with anchors: it gives an answer for each anchor of a cell, "
            "with an objectness of its own, and the student one a cell. There is nothing to compare. Choose a teacher "
            "without `anchor_head`."
        )
    if student.techniques.p2 != teacher.techniques.p2:
        has, lacks = ("the student", "the teacher") if student.techniques.p2 else ("the teacher", "the student")
        yield (
            f"{where}{has} has a level of stride 4 (`p2`) and {lacks} has none ({teacher_name} teaches): their cells "
            "do not match. Give both `p2`, or neither."
        )


def idle_head(settings: Settings) -> Iterator[str]:
    """Levers on the head that are legal and do nothing, or not what they seem to; one sentence each."""
    techniques = settings.techniques
    if techniques.assigner == Assigner():
        yield "`assigner` does nothing: topk 10, alpha 0.5 and beta 6 are Ultralytics' own."
    head = techniques.anchor_head
    if head is None:
        return
    rows = head.sizes()
    if rows is not None and head.count != AnchorHead.model_fields["count"].default:
        yield "`anchor_head.count` does nothing beside `anchors`, whose rows say how many there are."
    for key, gain in (("box", head.box), ("obj", head.obj), ("cls", head.cls)):
        if gain == 0:
            yield f"`anchor_head.{key}: 0` takes that loss away."
    largest = max((side for row in rows or () for size in row for side in size), default=0.0)
    if largest > 2 * settings.train.imgsz:
        yield f"`anchor_head.anchors` has a side of {largest:g} px, and the input is {settings.train.imgsz} px wide."
