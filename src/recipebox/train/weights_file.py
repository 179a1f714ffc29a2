"""What stands in weights/best.pt and last.pt."""

from __future__ import annotations

from copy import deepcopy
from pathlib import PurePath
from typing import Any

import torch

from recipebox.errors import WeightsError

# Arguments that name places on this machine; they do not belong into weights that ship.
_PLACES = {"data", "model", "project", "name", "save_dir", "cfg", "pretrained"}

ADDED = "recipebox_"
"""Modules of this name are a technique's (Technique.on_model) and do not ship."""


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
    if "yaml_file" in model.yaml:  # ours lies on this machine
        model.yaml["yaml_file"] = PurePath(model.yaml["yaml_file"]).name
    for name in [name for name, _ in model.named_children() if name.startswith(ADDED)]:
        delattr(model, name)  # what a technique trains along: projectors
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


def check_transfer(model: Any, weights: Any, file: str) -> None:
    """Refuse initial weights of another network: stock copies what happens to fit and trains the rest from scratch.

    Args:
        model: the network that is about to be trained, after the weights were loaded into it.
        weights: the model that they come from.
        file: what to call it.

    Raises:
        WeightsError: not a plain detector, or less than half of the network's values came from it.
    """
    # A network whose head was changed (techniques/anchor_head) takes the weights of one whose head was not.
    if not isinstance(model, type(weights)):
        if getattr(weights, "anchor_loss", None) is not None:
            raise WeightsError(
                f"{file}: holds a detector whose head has anchors. Say so in the recipe (`techniques: "
                "{anchor_head: {}}`), or give model.weights a detector's .pt without."
            )
        raise WeightsError(
            f"{file}: holds a {type(weights).__name__}, not a detector. Give model.weights a detector's .pt of "
            "Ultralytics, or `scratch`."
        )
    theirs = weights.state_dict()
    own = model.state_dict()
    came = sum(value.numel() for key, value in own.items() if key in theirs and theirs[key].shape == value.shape)
    # Another number of classes changes the last layers only, a few percent.
    if 2 * came < sum(value.numel() for value in own.values()):
        raise WeightsError(
            f"{file}: these are the weights of another network, so hardly any of them fit. Give model.weights a file "
            "of the same architecture, take model.arch out (the file says which it is), or take `scratch`."
        )
