"""state.pt: everything that training needs to go on as if it had never stopped.

Stock checkpoints hold the averaged weights and the optimizer in half precision and no live weights, so a resumed run
drifts. This file holds float32 live weights, average, optimizer, scaler, gradients that wait for the next step, and the
counters. Views need no random state: they are a function of seed, image and epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recipebox.errors import RunError
from recipebox.run_dir import atomic_writer

FORMAT = 1
_KEYS = {"format", "epoch", "step", "optimizer_steps", "pending", "model", "ema", "ema_updates", "optimizer", "scaler"}
_KEYS |= {"gradients", "best_fitness", "best_epoch", "stopper", "criterion_updates"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all.

    Raises:
        StorageError: the disk is full or not writable; an earlier checkpoint then still stands.
    """
    with atomic_writer(path) as file:
        torch.save({"format": FORMAT, **state}, file)


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
