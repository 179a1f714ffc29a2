"""A frozen teacher, made for one thing: raw training-form predictions of a batch, fast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipebox.errors import WeightsError
from recipebox.techniques.distillation.projector import neck_channels
from recipebox.ultralytics_setup import import_ultralytics


class Teacher:
    """Runs a detector on (B, 3, H, W) images in 0..1 and returns its head's raw maps.

    Batch norm is folded into the convolutions, boxes are not decoded, and maps lie in memory channels last, which
    convolutions prefer (15 % faster on a CPU): distillation needs none of the rest.
    A plain object, so that neither optimizer, EMA nor checkpoint ever see it.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = _frozen(model, device)
        self.names = tuple(model.names[i] for i in sorted(model.names))
        self.reg_max = int(model.model[-1].reg_max)
        self.strides = tuple(int(s) for s in model.model[-1].stride)
        self.neck_channels = neck_channels(model)

    def move(self, device: torch.device) -> None:
        """To where the batches are."""
        self.model = self.model.to(device)

    def __call__(self, images: torch.Tensor) -> dict[str, Any]:
        """Returns the head's dict: `scores` (B, nc, A) logits, `boxes` (B, 4 * reg_max, A) bin logits and `feats`, the
        neck maps (B, C, H, W) a level; or for an NMS-free head the two dicts `one2many` and `one2one` of that form."""
        with torch.no_grad():
            predictions: dict[str, Any] = self.model(images.to(memory_format=torch.channels_last))
        return predictions


def load_teacher(path: Path, sha256: str, device: torch.device) -> Teacher:
    """The teacher in a run's weights file.

    Raises:
        WeightsError: the file is not the one the run recorded, or not a detector.
    """
    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, load_checkpoint

    from recipebox.data.archive import file_sha256

    found = file_sha256(path)
    if found != sha256:
        raise WeightsError(
            f"{path}: its SHA-256 is {found[:12]}…, its run recorded {sha256[:12]}…. "
            "The file was changed after training; train the teacher again."
        )
    model, _ = load_checkpoint(path)
    if not isinstance(model, DetectionModel):
        raise WeightsError(f"{path}: holds a {type(model).__name__}, not a detector that could teach.")
    return Teacher(model, device)


def branch(predictions: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """One branch of a head's output: `one2many` is the whole of a head that has only one."""
    if name in predictions:
        found: Mapping[str, Any] = predictions[name]
        return found
    return predictions if name == "one2many" and "scores" in predictions else None


def _frozen(model: Any, device: torch.device) -> nn.Module:
    from ultralytics.nn.modules import Conv
    from ultralytics.utils.torch_utils import fuse_conv_and_bn

    model = model.float().to(device).eval().requires_grad_(False)
    for module in model.modules():
        # Type, not isinstance: Ultralytics' subclasses of Conv fold in their own ways.
        if type(module) is Conv and hasattr(module, "bn"):
            module.conv = fuse_conv_and_bn(module.conv, module.bn)
            del module.bn
            module.forward = module.forward_fuse
    model.requires_grad_(False)
    # In training form the head skips decoding; its batch norm layers stay in evaluation mode.
    model.model[-1].training = True
    fused: nn.Module = model.to(memory_format=torch.channels_last)
    return fused
