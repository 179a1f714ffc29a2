"""The train stage: plan and data in, weights and train.json out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.data.archive import file_sha256
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import PlanConflict, RunError, TrainingFailed, storage_errors
from recipebox.recipe.plan import Plan, technique_order
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json
from recipebox.train.network import network_file

if TYPE_CHECKING:
    from recipebox.techniques.base import Technique
    from recipebox.train.trainer import RecipeTrainer


def train(
    plan: Plan,
    run: RunDir,
    detection_set: DetectionSet,
    *,
    weights: Path | None,
    teacher_runs: Sequence[RunDir] = (),
    resume: bool = False,
) -> dict[str, Any]:
    """Train as planned; with `resume` go on from the last whole epoch. Returns train.json's content.

    Args:
        weights: initial weights, already checked; None trains from scratch.
        teacher_runs: the finished runs to distil from, in the recipe's order, where the plan has distillation.

    Raises:
        TrainingFailed: the loss is not finite, or memory ran out.
        StorageError: a file of the run cannot be written.
        WeightsError: no network can be built from the initial weights.
        RunError: the run is spoiled and cannot be continued.
    """
    settings = plan.settings
    trainer = make_trainer(plan, run, detection_set, weights=weights, teacher_runs=teacher_runs, resume=resume)
    resumed_from = trainer.telemetry.epochs[-1]["epoch"] if trainer.telemetry.epochs else 0
    if not trainer.ended:
        _fit(trainer, settings)
    for path in (run.best, run.last):
        if not path.is_file():
            raise RunError(
                f"{path}: is gone, and {run.checkpoint.name} stands at the end of training, where none is made. "
                f"Put it back, or train the recipe again: `recipebox train {run.recipe}`."
            )
    records = trainer.telemetry.epochs
    best = next(line for line in reversed(records) if line["best"])
    document = {
        "schema": 1,
        "epochs": len(records),
        "best_epoch": best["epoch"],
        "val": {key: best["val"][key] for key in ("mAP50", "mAP50-95", "precision", "recall") if key in best["val"]},
        "seconds": trainer.telemetry.seconds,
        "optimizer_steps": records[-1]["optimizer_steps"],
        "resumed": resumed_from,
        "device": plan.device,
        "finished": time.time(),
        "weights": {
            name: {"file": f"weights/{path.name}", "sha256": file_sha256(path)}
            for name, path in (("best", run.best), ("last", run.last))
        },
        "initial_weights": {
            "name": weights.name if weights else "scratch",
            "sha256": file_sha256(weights) if weights else None,
        },
        "teachers": [_teacher(each.name, teacher) for each, teacher in zip(plan.teachers, teacher_runs, strict=True)],
    }
    if differences := run.differences():
        document["differences"] = differences
    write_json(run.result("train"), document)
    return document


def make_trainer(
    plan: Plan,
    run: RunDir,
    detection_set: DetectionSet,
    *,
    weights: Path | None,
    teacher_runs: Sequence[RunDir] = (),
    resume: bool = False,
    kind: type[RecipeTrainer] | None = None,
) -> RecipeTrainer:
    """The trainer of a plan with its techniques, ready to `train()`. Arguments and errors as in `train`.

    Args:
        kind: a trainer that watches what this one does (`experiment/trace.py`).

    Raises:
        PlanConflict: two techniques set the same argument of Ultralytics, or torch does not see the plan's GPU.
    """
    from recipebox.techniques.build import build_techniques
    from recipebox.train.trainer import RecipeTrainer

    settings = plan.settings
    _check_device(plan.device)
    techniques = build_techniques(settings, technique_order(settings), teacher_runs)
    arguments = stock_arguments(settings, plan.device, run, weights) | _technique_arguments(techniques)
    with storage_errors(run.root):
        return (kind or RecipeTrainer)(arguments, run, detection_set, techniques, resume=resume)


def _check_device(device: str) -> None:
    """A GPU that the driver shows may be none to torch: built without CUDA, or for a newer driver."""
    import torch

    seen = torch.cuda.device_count()
    if device != "cpu" and device not in {f"cuda:{index}" for index in range(seen)}:
        raise PlanConflict(
            f"torch does not see {device} here (GPUs that it sees: {seen}); `recipebox doctor` says why. "
            "--device cpu trains on the processor."
        )


def _technique_arguments(techniques: Sequence[Technique]) -> dict[str, Any]:
    """What the techniques set among Ultralytics' arguments; the last one must not win in silence."""
    arguments: dict[str, Any] = {}
    setters: dict[str, str] = {}
    for technique in techniques:
        for key, value in technique.train_args().items():
            if key in setters:
                raise PlanConflict(
                    f"`{setters[key]}` and `{technique.name}` both set Ultralytics' `{key}`. Take one of them out."
                )
            arguments[key], setters[key] = value, technique.name
    return arguments


def _fit(trainer: Any, settings: Settings) -> None:
    import torch

    try:
        trainer.train()
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingFailed(
            f"the GPU is out of memory with batch {settings.train.batch} at imgsz {settings.train.imgsz}. "
            f"Set a smaller train.batch, e.g. --set train.batch={max(1, settings.train.batch // 2)}."
        ) from error
    except ValueError as error:
        # Ultralytics looks at the deployed size beforehand; within a smaller stage it is torch that finds out.
        if not any(words in str(error) for words in ("BatchNorm", "Expected more than 1 value per channel")):
            raise
        raise TrainingFailed(
            "the last batch of an epoch would hold a single image, too little for batch normalisation at this imgsz. "
            "Choose another train.batch."
        ) from error


def stock_arguments(settings: Settings, device: str, run: RunDir, weights: Path | None) -> dict[str, Any]:
    """Ultralytics' training arguments for these settings; what the recipe leaves open keeps Ultralytics' default."""
    train, model = settings.train, settings.model
    arguments = train.model_dump(exclude_none=True) | settings.augment.model_dump(exclude={"border"})
    arguments |= {
        "task": "detect",
        "mode": "train",
        "data": settings.data.dataset,
        "device": device,
        "save_dir": str(run.root),
        "exist_ok": True,
        "plots": False,
        "verbose": False,
        "deterministic": True,
        "val": True,
        "save": True,
    }
    p2 = settings.techniques.p2
    if weights is None:
        return arguments | {"model": network_file(model.architecture, p2=p2), "pretrained": False}
    if model.arch is not None or p2:
        return arguments | {"model": network_file(model.architecture, p2=p2), "pretrained": str(weights)}
    return arguments | {"model": str(weights)}


def _teacher(recipe: str, run: RunDir) -> dict[str, Any]:
    """A run that taught; its recipe by the plan, since the folder of a run that was copied need not say it."""
    recorded = run.read_result("train")["weights"]["best"]["sha256"]
    return {"recipe": recipe, "run": str(run.root), "weights_sha256": recorded}
