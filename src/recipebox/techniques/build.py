"""From the plan's settings to techniques, in the order they act."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from recipebox.recipe.head_conflicts import strides
from recipebox.recipe.schema import Settings
from recipebox.techniques.anchor_head.technique import AnchorHeadTechnique
from recipebox.techniques.assigner import AssignerTechnique, P2Technique
from recipebox.techniques.base import Technique
from recipebox.techniques.border import BorderTechnique
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.techniques.late import LateTechnique
from recipebox.techniques.progressive import ProgressiveTechnique
from recipebox.techniques.sampling import SamplingTechnique

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.run_dir import RunDir


def build_techniques(settings: Settings, order: tuple[str, ...], teacher_runs: Sequence[RunDir]) -> list[Technique]:
    """The techniques of a recipe, in the plan's `order`.

    Args:
        teacher_runs: the finished runs that distillation learns from, in the recipe's order.
    """
    wanted: dict[str, Technique] = {}
    techniques = settings.techniques
    if techniques.anchor_head is not None:
        train = settings.train
        wanted["anchor_head"] = AnchorHeadTechnique(
            techniques.anchor_head, train.imgsz, train.seed, len(strides(settings))
        )
    if techniques.p2:
        wanted["p2"] = P2Technique()
    if techniques.assigner is not None:
        wanted["assigner"] = AssignerTechnique(techniques.assigner)
    if settings.augment.border != "grey":
        wanted["border"] = BorderTechnique(settings.augment.border)
    if techniques.progressive is not None:
        wanted["progressive"] = ProgressiveTechnique(techniques.progressive)
    if techniques.late is not None:
        wanted["late"] = LateTechnique(techniques.late)
    if techniques.label_smoothing is not None:
        wanted["label_smoothing"] = LabelSmoothingTechnique(techniques.label_smoothing, settings.train.epochs)
    if techniques.class_weights is not None:
        wanted["class_weights"] = ClassWeightsTechnique(techniques.class_weights)
    if techniques.sampling is not None:
        wanted["sampling"] = SamplingTechnique(techniques.sampling)
    if techniques.distillation is not None:
        from recipebox.techniques.distillation.teacher import load_teacher
        from recipebox.techniques.distillation.technique import DistillationTechnique

        assert len(teacher_runs) == len(techniques.distillation.teachers), "the job finds or trains teachers first"
        recorded = [run.read_result("train")["weights"]["best"]["sha256"] for run in teacher_runs]
        loads = [partial(load_teacher, run.best, sha256) for run, sha256 in zip(teacher_runs, recorded, strict=True)]
        wanted["distillation"] = DistillationTechnique(techniques.distillation, loads)
    if techniques.clipping is not None:
        wanted["clipping"] = ClippingTechnique(techniques.clipping)
    if techniques.ema is not None:
        wanted["ema"] = EmaTechnique(techniques.ema or None)
    if techniques.swa is not None:
        from recipebox.techniques.swa import SwaTechnique

        wanted["swa"] = SwaTechnique(techniques.swa, settings.train.epochs, settings.train.lr0)
    return [wanted[name] for name in order]


def check_data(settings: Settings, order: tuple[str, ...], detection_set: DetectionSet) -> None:
    """Ask every technique of a recipe whether this data leaves it something to act on; no teacher is needed.

    Raises:
        PlanConflict, DataError: it does not.
    """
    alone = settings.model_copy(update={"techniques": settings.techniques.model_copy(update={"distillation": None})})
    for technique in build_techniques(alone, tuple(name for name in order if name != "distillation"), ()):
        technique.check(detection_set)
