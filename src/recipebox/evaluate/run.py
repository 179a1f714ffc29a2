"""The evaluate stage: best.pt on the untouched test split, at the threshold that val chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import DataError, RunError
from recipebox.evaluate.detection import THRESHOLD_OF_A_BLIND_DETECTOR, Measurement, measure
from recipebox.evaluate.detector import Detector, TorchDetector
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json


def evaluate(
    run: RunDir, settings: Settings, detection_set: DetectionSet, *, device: str | None = None
) -> dict[str, Any]:
    """Measure a run's best weights and write evaluate.json.

    Args:
        run: a run whose training is done.
        settings: its settings; `train.imgsz` and `evaluate.iou` are used.
        detection_set: the data it was trained on.
        device: where to run; None takes a GPU where there is one.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        RunError: the run was not trained.
        WeightsError: best.pt is not what training wrote, diverged, or does not fit the data.
        DataError: the val or test split cannot be measured on.
    """
    document = evaluate_weights(run.best, trained_sha256(run), settings, detection_set, device=device)
    write_json(run.result("evaluate"), document)
    return document


def evaluate_weights(
    weights: Path, sha256: str, settings: Settings, detection_set: DetectionSet, *, device: str | None = None
) -> dict[str, Any]:
    """What `evaluate` does for any weights and data with the same classes, without a run and without writing."""
    detector = TorchDetector(weights, sha256=sha256, imgsz=settings.train.imgsz, device=device)
    document = evaluate_detector(detector, detection_set, iou=settings.evaluate.iou)
    return document | {"device": str(detector.device)}


def evaluate_detector(detector: Detector, detection_set: DetectionSet, *, iou: float) -> dict[str, Any]:
    """The document of evaluate.json for a detector: threshold from val, everything else on test."""
    for name in ("val", "test"):
        _check_split(detection_set, name)
    names = detection_set.names
    val = measure(detector, detection_set.val, names=names, progress="evaluating on val")
    chosen = val.best_threshold()
    threshold = THRESHOLD_OF_A_BLIND_DETECTOR if chosen is None else chosen
    test = measure(detector, detection_set.test, names=names, progress="evaluating on test")
    return {
        "schema": 1,
        "weights_sha256": detector.sha256,
        "precision": detector.precision,
        "dataset": {"name": detection_set.name, "sha256": detection_set.sha256},
        "imgsz": detector.imgsz,
        "names": list(names),
        "iou": iou,
        "val": val.summary(threshold),
        "test": test.summary(threshold),
        "threshold": threshold,
        "threshold_from": "default" if chosen is None else "val",
        "per_class": test.per_class(threshold=threshold, iou=iou),
        "per_size": test.per_size(),
        "boards": _boards(test, threshold, iou),
        "confusion": {
            "labels": [*names, "background"],
            "matrix": test.confusion(threshold=threshold, iou=iou),
        },
        "pr_curves": test.pr_curves(),
    }


def read_evaluation(run: RunDir) -> dict[str, Any]:
    """What the stages after this one need of evaluate.json, and nothing else in its place.

    Raises:
        RunError: not evaluated, or the file is spoiled.
    """
    document = run.read_result("evaluate")
    wrong = [key for key, fits in _NEEDED.items() if not fits(document.get(key))]
    if wrong:
        raise RunError(
            f"{run.result('evaluate')}: lacks {', '.join(wrong)}, or holds something else there. "
            f"Run `recipebox evaluate {run.root}` again."
        )
    return document


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _has_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_share(value.get(key, 0)) for key in ("mAP50", "mAP50-95", "AP50-95"))


_NEEDED: dict[str, Callable[[Any], bool]] = {
    "weights_sha256": lambda value: isinstance(value, str),
    "dataset": lambda value: isinstance(value, dict) and isinstance(value.get("sha256"), str),
    "imgsz": lambda value: isinstance(value, int),
    "test": _has_scores,
    "threshold": _is_share,
    "per_class": lambda value: isinstance(value, list) and all(map(_has_scores, value)),
}


def trained_sha256(run: RunDir) -> str:
    """The hash of best.pt as training recorded it.

    Raises:
        RunError: train.json is missing or does not hold it.
    """
    try:
        sha256 = run.read_result("train")["weights"]["best"]["sha256"]
    except (KeyError, TypeError):
        sha256 = None
    if not isinstance(sha256, str):
        raise RunError(f"{run.result('train')}: does not say which weights are the best. Train the recipe again.")
    return sha256


def _boards(test: Measurement, threshold: float, iou: float) -> dict[str, int]:
    counts = test.inspection(threshold=threshold, iou=iou)
    return {
        "defective": counts.boards_defective,
        "escaped": counts.boards_escaped,
        "good": counts.boards_good,
        "overkilled": counts.boards_overkilled,
    }


def _check_split(detection_set: DetectionSet, name: Any) -> None:
    split = detection_set.split(name)
    if not len(split):
        raise DataError(f"{detection_set.name}: its {name} split has no images, so nothing can be measured on it.")
    if name == "val" and not any(len(boxes) for boxes in split.boxes):
        raise DataError(f"{detection_set.name}: its val split has no boxes, so no score threshold can be chosen.")
