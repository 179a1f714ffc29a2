"""What stands in weights/best.pt and last.pt."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

# Arguments that name places on this machine; they do not belong into weights that ship.
_PLACES = {"data", "model", "project", "name", "save_dir", "cfg", "pretrained"}


def shippable(average: Any, args: Any) -> dict[str, Any]:
    """A stock checkpoint of the averaged weights that loads in Ultralytics without this package.

    Float32, so that what is evaluated is what validation saw. Without optimizer, criterion, dates or paths, so that
    equal runs give equal files.

    Args:
        average: the averaged model (ModelEMA.ema); left as it is.
        args: the trainer's arguments.
    """
    from ultralytics import __version__
    from ultralytics.utils import DEFAULT_CFG_KEYS

    model = deepcopy(average).float().to("cpu", memory_format=torch.contiguous_format)
    arguments = {k: v for k, v in vars(args).items() if k in DEFAULT_CFG_KEYS and k not in _PLACES}
    model.criterion, model.args = None, arguments
    for parameter in model.parameters():
        parameter.requires_grad = False
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": model,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": arguments,
        "train_metrics": {},
        "train_results": {},
        "date": None,
        "version": __version__,
        "license": "AGPL-3.0",
    }
