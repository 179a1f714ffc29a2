"""From a network's raw output to detections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import WeightsError

NMS_IOU = 0.7
MAX_DETECTIONS = 300


def detections(
    raw: NDArray[np.float32],
    *,
    conf: float,
    iou: float = NMS_IOU,
    multi_label: bool = False,
    max_det: int = MAX_DETECTIONS,
) -> list[NDArray[np.float32]]:
    """Detections with a score above `conf`, after class-wise NMS where the network needs one.

    Args:
        raw: (B, 4 + nc, anchors), or (B, n, 6) from an NMS-free network; see `evaluate.detector.Detector`.
        conf: score threshold, exclusive.
        iou: overlap above which the weaker box of the same class goes.
        multi_label: let one box carry several classes, as Ultralytics' validation does; a line wants one.
        max_det: most detections kept for an image.

    Returns:
        B arrays (n, 6), float32: x1, y1, x2, y2 in pixels of the canvas, score, class; best first.

    Raises:
        WeightsError: the output holds NaN or infinity. NMS would drop those boxes in silence.
    """
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    import torch
    import torchvision  # noqa: F401  Ultralytics uses its NMS only where it is imported already
    from ultralytics.utils.nms import non_max_suppression

    if not np.isfinite(raw).all():
        raise WeightsError(
            "The detector's output holds NaN or infinity: its weights or its export are spoiled. "
            "Train again with a lower train.lr0, or export again."
        )
    found = non_max_suppression(
        torch.from_numpy(raw),
        conf_thres=conf,
        iou_thres=iou,
        multi_label=multi_label,
        max_det=max_det,
        end2end=is_end_to_end(raw),
        # Past its time limit Ultralytics leaves the rest of a batch without detections: on a busy machine that is an
        # accuracy that depends on the load.
        max_time_img=3600.0,
    )
    return [image.numpy() for image in found]


def is_end_to_end(raw: NDArray[np.float32]) -> bool:
    """Whether raw output comes from an NMS-free network: rows of six instead of columns of anchors."""
    return raw.ndim == 3 and raw.shape[-1] == 6
