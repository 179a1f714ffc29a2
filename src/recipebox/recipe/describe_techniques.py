"""The levers of a plan in plain text."""

from __future__ import annotations

from collections.abc import Iterator

from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing, Sampling
from recipebox.recipe.head_sections import AnchorHead
from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Distillation, Ema


def describe_techniques(settings: Settings) -> Iterator[str]:
    """The levers in force, a few words each."""
    techniques = settings.techniques
    if techniques.p2:
        yield "P2: a level of stride 4"
    if techniques.anchor_head is not None:
        yield f"a head with anchors, {', '.join(_anchor_head(techniques.anchor_head))}"
    if techniques.assigner is not None:
        chosen = techniques.assigner
        yield f"assigner topk {chosen.topk} alpha {chosen.alpha:g} beta {chosen.beta:g}"
    if settings.augment.border != "grey":
        yield f"{settings.augment.border} border"
    if techniques.progressive is not None:
        stages = [f"{stage.imgsz} px to epoch {stage.until_epoch}" for stage in techniques.progressive.stages]
        yield f"progressive {', '.join(stages)}, then {settings.train.imgsz} px"
    if techniques.late is not None:
        for name, epoch in techniques.late.begins().items():
            yield f"{name} {getattr(settings.augment, name):g} from epoch {epoch}"
    if techniques.label_smoothing is not None:
        yield f"label smoothing {', '.join(_smoothing(techniques.label_smoothing))}"
    if techniques.class_weights is not None:
        yield f"class weights {', '.join(_class_weights(techniques.class_weights))}"
    if techniques.sampling is not None:
        yield f"images drawn by {_by(techniques.sampling)}"
    if techniques.distillation is not None:
        terms = ", ".join(_terms(techniques.distillation))
        yield f"distillation from {', '.join(_teachers(techniques.distillation))} {terms}"
    if techniques.clipping is not None:
        yield f"clipping at {techniques.clipping.max_norm:g}" if techniques.clipping.max_norm else "clipping off"
    if techniques.ema is False:
        yield "EMA off"
    elif isinstance(techniques.ema, Ema):
        every = f" every {techniques.ema.every} steps" if techniques.ema.every > 1 else ""
        both = ", live weights validated too" if techniques.ema.evaluate_both else ""
        yield f"EMA decay {techniques.ema.decay:g} tau {techniques.ema.tau:g}{every}{both}"
    if techniques.swa is not None:
        begins = settings.train.epochs - techniques.swa.last + 1
        rate = "where the schedule then stands" if techniques.swa.lr is None else f"at {techniques.swa.lr:g}"
        yield f"SWA: mean of the ends of epochs {begins} to {settings.train.epochs}, learning rate held {rate}"


def _anchor_head(head: AnchorHead) -> Iterator[str]:
    rows = head.sizes()
    yield f"{head.count} a level fitted to the boxes" if rows is None else f"{len(rows[0])} a level as named"
    yield f"gains box {head.box:g} obj {head.obj:g} cls {head.cls:g}"
    if (head.pos_weight.obj, head.pos_weight.cls) != (1, 1):
        yield f"positives x {head.pos_weight.obj:g} (objectness), x {head.pos_weight.cls:g} (class)"


def _smoothing(smoothing: LabelSmoothing) -> Iterator[str]:
    yield f"{smoothing.epsilon:g} ({smoothing.form})"
    yield from (f"{name} {epsilon:g}" for name, epsilon in smoothing.per_class.items())
    if smoothing.schedule == "linear":
        yield "down to 0"
    if smoothing.off_last:
        yield f"off for the last {smoothing.off_last} epochs"


def _by(section: ClassWeights | Sampling) -> str:
    numbers = {key: getattr(section, key, None) for key in ("beta", "power", "threshold")}
    return " ".join([str(section.by), *(f"{key} {value:g}" for key, value in numbers.items() if value is not None)])


def _class_weights(weights: ClassWeights) -> Iterator[str]:
    if weights.by is not None:
        yield _by(weights)
    if isinstance(weights.pos_weight, dict):
        yield from (f"positives of {name} x {value:g}" for name, value in weights.pos_weight.items())
    elif weights.pos_weight is not None:
        yield f"positives x {weights.pos_weight:g}"


def _teachers(distillation: Distillation) -> Iterator[str]:
    several = len(distillation.teachers) > 1
    for teacher in distillation.teachers:
        yield (teacher.recipe or f"the run {teacher.run}") + (f" (weight {teacher.weight:g})" if several else "")


def _terms(distillation: Distillation) -> Iterator[str]:
    for name, term in distillation.terms.items():
        said: list[str] = [term.loss]
        for key in ("temperature", "weight"):
            start, end = getattr(term, key), getattr(term, f"{key}_end")
            if start is not None:
                said.append(f"{key} {start:g}" + (f" to {end:g}" if end is not None else ""))
        yield f"{name} ({', '.join(said)})"
