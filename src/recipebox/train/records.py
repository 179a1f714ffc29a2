"""What a trainer writes of a batch and of an epoch. Formats: docs/run-files.md."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from recipebox.techniques.class_loss import inner_losses
from recipebox.train.telemetry import finite

if TYPE_CHECKING:
    import torch

    from recipebox.train.trainer import RecipeTrainer

_METRICS = {
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
}


def step_record(trainer: RecipeTrainer, losses: dict[str, float], numbers: dict[str, float]) -> dict[str, Any]:
    """A line of steps.jsonl: the batch's losses, and what the techniques recorded."""
    rate = learning_rate(trainer.optimizer)
    line = {"step": trainer.step, "epoch": int(trainer.epoch) + 1, "loss": losses, "lr": rate}
    return {**line, "techniques": finite(numbers)}


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The rate that most parameters have. Others may have their own: biases in the warm-up, what MuSGD boosts."""
    groups = optimizer.param_groups
    return float(max(groups, key=lambda group: sum(parameter.numel() for parameter in group["params"]))["lr"])


def progress_info(epoch: int, epochs: int, losses: dict[str, float], numbers: dict[str, float]) -> str:
    """What stands behind the bar. A narrow terminal cuts its end, so the losses come last."""
    average = [f"ema {numbers['ema/decay']:.4f}"] if "ema/decay" in numbers else []
    if "swa/averaged" in numbers:
        average = [f"swa {numbers['swa/averaged']:.0f}"]
    shown = (f"{key.removesuffix('_loss')} {value:.2f}" for key, value in losses.items())
    return " ".join([f"epoch {epoch}/{epochs}", *average, *shown])


def epoch_record(trainer: RecipeTrainer, began: float, numbers: dict[str, float]) -> dict[str, Any]:
    """A line of epochs.jsonl; `began` is when the epoch did, by the monotonic clock."""
    rates = [float(group["lr"]) for group in trainer.optimizer.param_groups]
    return {
        "epoch": int(trainer.epoch) + 1,
        "step": trainer.step,
        "optimizer_steps": trainer.optimizer_steps,
        "seconds": time.monotonic() - began,
        "train": finite({key: float(value) for key, value in trainer.tloss.items()}),
        "val": validated(trainer, trainer.metrics),
        **({} if trainer.live is None else {"val_live": trainer.live}),
        "lr": learning_rate(trainer.optimizer),
        "lr_groups": rates,
        "best": trainer.best_epoch == int(trainer.epoch) + 1,
        "techniques": finite(numbers),
    }


def validated(trainer: RecipeTrainer, metrics: dict[str, Any]) -> dict[str, float]:
    """Ultralytics' validation results under our names."""
    measured = {_METRICS.get(key, key.removeprefix("val/")): value for key, value in metrics.items()}
    # A loss of training only (distillation) is not computed in validation; stock reports it as 0.
    stock = inner_losses(trainer.network.criterion)[0].loss_names
    return finite({k: v for k, v in measured.items() if k in _METRICS.values() or k in stock})
