"""Training's own validation: Ultralytics' validator, without the clock in its NMS."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.utils import nms  # noqa: E402


def without_clock(validator: Any) -> Any:
    """A `DetectionValidator` that finishes NMS, however long it takes; the same one is returned.

    Stock leaves off after two seconds and a twentieth of one an image, and counts the images of the batch that were not
    reached as images without detections. On a CPU and with many objects an image that is most of them, so which epoch
    is the best would depend on how busy the machine is, and no run could be repeated.
    """
    validator.postprocess = partial(_postprocess, validator)
    return validator


def _postprocess(validator: Any, preds: Any) -> list[dict[str, torch.Tensor]]:
    outputs = nms.non_max_suppression(
        preds,
        validator.args.conf,
        validator.args.iou,
        multi_label=True,
        agnostic=validator.args.single_cls or validator.args.agnostic_nms,
        max_det=validator.args.max_det,
        end2end=validator.end2end,
        max_time_img=math.inf,
    )
    return [{"bboxes": each[:, :4], "conf": each[:, 4], "cls": each[:, 5], "extra": each[:, 6:]} for each in outputs]
