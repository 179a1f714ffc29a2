"""The verdict on an exported file: what it lost against the .pt, and whether that may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipebox.export.parity import Parity
from recipebox.recipe.schema import Precision

Limit = tuple[float, float]
LIMITS: dict[Precision, Limit | None] = {"fp32": (1.0, 0.01), "fp16": (4.0, 0.1), "int8": None}
"""Pixels and score that raw outputs may differ by. Rounding in fp32 gives about a thousandth of either, in fp16 a
tenth; more is another computation, and where a weak detector has no mAP to lose this alone notices. INT8 may move a box
of low score anywhere; so may FP16 where the file picks the final boxes itself: rounding decides between near equals."""


@dataclass(frozen=True)
class Loss:
    """AP50-95 of one class or size, before and after."""

    kind: str
    name: str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


def reasons_against(
    precision: Precision,
    before: float | None,
    after: float | None,
    difference: Parity,
    *,
    allowed: float,
    final_boxes: bool,
) -> list[str]:
    """Why a file does not pass; empty when it does.

    Args:
        before, after: mAP50-95 on test of the .pt and of the file; None where test has no instances.
        difference: of the raw outputs.
        allowed: `export.max_map_drop`.
        final_boxes: the file picks them itself: NMS inside, or a network that needs none.
    """
    reasons = []
    if before is not None and after is not None and before - after > allowed:
        reasons.append(
            f"mAP50-95 fell from {before:.4f} to {after:.4f}, by {before - after:.4f}; {allowed:g} is allowed"
        )
    limits = LIMITS[precision]
    if limits is None or (final_boxes and precision != "fp32"):
        return reasons + _nothing_to_lose(precision, before, allowed)
    pixels, score = limits
    if difference.max_score > score:
        reasons.append(f"scores differ from PyTorch's by up to {difference.max_score:.3g} ({score:g} is allowed)")
    if difference.max_box_px is not None and difference.max_box_px > pixels:
        reasons.append(f"boxes differ by up to {difference.max_box_px:.3g} px ({pixels:g} is allowed)")
    return reasons


def _nothing_to_lose(precision: str, before: float | None, allowed: float) -> list[str]:
    if before is None:
        return [f"the test split has no boxes, so nothing says what {precision} costs"]
    if before <= allowed:
        return [f"mAP50-95 of the .pt is {before:.4f}: a file that finds nothing would lose no more than is allowed"]
    return []


def losses(evaluated: dict[str, Any], document: dict[str, Any]) -> list[Loss]:
    """The classes and sizes whose AP50-95 fell, worst first; sizes where evaluate.json is new enough to have them.

    Args:
        evaluated: evaluate.json, of the .pt.
        document: the export's, of the file; measured on the same split.
    """
    found = []
    for kind, part, score in (("class", "per_class", "AP50-95"), ("size", "per_size", "mAP50-95")):
        before = {entry.get("name"): entry for entry in evaluated.get(part, [])}
        for entry in document[part]:
            was = before.get(entry["name"], {}).get(score)
            if was is not None and score in entry:
                found.append(Loss(kind, entry["name"], was, entry[score]))
    return sorted((loss for loss in found if loss.change < 0), key=lambda loss: (loss.kind, loss.change))


def losses_table(found: list[Loss]) -> str:
    """For people; empty when nothing was lost."""
    if not found:
        return ""
    width = max(len(loss.name) for loss in found)
    lines = [f"  {'what lost':<{width + 7}}  AP50-95 .pt    file    change"]
    lines += [
        f"  {loss.kind:<5}  {loss.name:<{width}}  {loss.before:11.4f}  {loss.after:6.4f}  {loss.change:+8.4f}"
        for loss in found
    ]
    return "\n".join(lines) + "\n"
