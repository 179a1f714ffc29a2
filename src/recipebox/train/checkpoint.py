"""state.pt: everything that training needs to go on as if it had never stopped.

Stock checkpoints hold the averaged weights and the optimizer in half precision and no live weights, so a resumed run
drifts. This file holds float32 live weights, average, optimizer, scaler, gradients that wait for the next step, and the
counters. Views need no random state: they are a function of seed, image and epoch.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recipebox.errors import RunError
from recipebox.run_dir import atomic_writer
from recipebox.techniques.base import innermost

if TYPE_CHECKING:
    from recipebox.train.trainer import RecipeTrainer

FORMAT = 1
_KEYS = {"format", "epoch", "step", "optimizer_steps", "pending", "model", "ema", "ema_updates", "optimizer", "scaler"}
_KEYS |= {"gradients", "best_fitness", "best_epoch", "stop", "stopper", "criterion_updates"}


def write_torch_file(path: Path, *others: Path, document: dict[str, Any]) -> None:
    """Write what `torch.save` makes of `document`, each file whole or not at all.

    It is made in memory first. Within a write to a file an interrupt reaches torch as a RuntimeError, at which
    Ultralytics' `torch.save` begins once more, behind the half that is written: interrupt and file would be lost.
    """
    made = BytesIO()
    torch.save(document, made)
    for each in (path, *others):
        with atomic_writer(each) as file:
            file.write(made.getbuffer())


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all.

    Raises:
        StorageError: the disk is full or not writable; an earlier checkpoint then still stands.
    """
    write_torch_file(path, document={"format": FORMAT, **state})


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain values only, no code runs.

    Raises:
        RunError: the file is spoiled or of another format.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a spoiled file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path}: the checkpoint cannot be read ({reason}). Start a new run.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or _KEYS - state.keys():
        raise RunError(f"{path}: not a checkpoint of this version of recipebox. Start a new run.")
    return state


def training_state(trainer: RecipeTrainer) -> dict[str, Any]:
    """What `trainer` has to know at the end of an epoch to go on from there; references, not copies."""
    model = trainer.network
    waiting = trainer.pending > 0
    stopper = trainer.stopper
    return {
        "epoch": int(trainer.epoch) + 1,
        "step": trainer.step,
        "optimizer_steps": trainer.optimizer_steps,
        "pending": trainer.pending,
        "model": model.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "gradients": {n: p.grad for n, p in model.named_parameters() if waiting and p.grad is not None},
        "best_fitness": None if trainer.best_fitness is None else float(trainer.best_fitness),
        "best_epoch": trainer.best_epoch,
        "stop": bool(trainer.stop),
        "stopper": {
            "best_fitness": float(stopper.best_fitness),
            "best_epoch": int(stopper.best_epoch),
            "possible_stop": bool(stopper.possible_stop),
        },
        "criterion_updates": getattr(innermost(model.criterion), "updates", None),
    }


def restore(trainer: RecipeTrainer, state: dict[str, Any]) -> None:
    """Put `trainer`, set up and not yet training, where `training_state` was taken."""
    model = trainer.network
    model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["ema_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.waiting_gradients = state["gradients"]
    trainer.pending, trainer.step = state["pending"], state["step"]
    trainer.optimizer_steps = state["optimizer_steps"]
    trainer.best_fitness, trainer.best_epoch = state["best_fitness"], state["best_epoch"]
    trainer.stopper.__dict__.update(state["stopper"])
    if state["criterion_updates"]:
        criterion = innermost(model.criterion)
        criterion.updates = state["criterion_updates"] - 1
        criterion.update()
    trainer.start_epoch = state["epoch"]
    trainer.scheduler.last_epoch = trainer.start_epoch - 1
