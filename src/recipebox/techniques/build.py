"""From the plan's settings to techniques, in the order they act."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from recipebox.recipe.schema import Settings
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
    from recipebox.run_dir import RunDir


def build_techniques(settings: Settings, order: tuple[str, ...], teacher_run: RunDir | None) -> list[Technique]:
    """The techniques of a recipe, in the plan's `order`.

    Args:
        teacher_run: the finished run that distillation learns from.
    """
    wanted: dict[str, Technique] = {}
    techniques = settings.techniques
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

        assert teacher_run is not None, "the job finds or trains the teacher first"
        recorded = teacher_run.read_result("train")["weights"]["best"]["sha256"]
        load = partial(load_teacher, teacher_run.best, recorded)
        wanted["distillation"] = DistillationTechnique(techniques.distillation, load)
    if techniques.clipping is not None:
        wanted["clipping"] = ClippingTechnique(techniques.clipping)
    if techniques.ema is not None:
        wanted["ema"] = EmaTechnique(techniques.ema or None)
    if techniques.swa is not None:
        from recipebox.techniques.swa import SwaTechnique

        wanted["swa"] = SwaTechnique(techniques.swa, settings.train.epochs, settings.train.lr0)
    return [wanted[name] for name in order]
