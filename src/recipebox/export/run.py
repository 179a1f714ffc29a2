"""The export stage: write the ONNX file, and let it pass only if it is as accurate as the weights it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import CheckFailed, RunError
from recipebox.evaluate.detection import Measurement, measure, prepare
from recipebox.evaluate.detector import TorchDetector, check_names
from recipebox.evaluate.run import read_evaluation, trained_sha256
from recipebox.export.onnx import OnnxDetector, export_onnx, opset
from recipebox.export.parity import Parity, parity
from recipebox.progress import track
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json

PARITY_IMAGES = 32
MAX_BOX_PX = 1.0
MAX_SCORE = 0.01
"""What fp32 may differ by. Rounding gives about a thousandth of either; more is another computation, and where a weak
detector has no mAP to lose this alone notices."""


def export(run: RunDir, settings: Settings, detection_set: DetectionSet) -> dict[str, Any]:
    """Export a run's best weights to ONNX, measure that file on the test split, and write export.json.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        RunError: the run was not evaluated, or on other weights or data.
        WeightsError: best.pt is not what training wrote, or cannot be expressed in ONNX.
        CheckFailed: the file lost more than `export.max_map_drop` mAP50-95, or its output is another; export.json is
            written and says so.
    """
    sha256 = trained_sha256(run)
    evaluated = _evaluation(run, settings, detection_set, sha256)
    export_onnx(run.best, run.onnx, settings.train.imgsz, sha256=sha256)
    return check_export(run, settings, detection_set, evaluated)


def check_export(
    run: RunDir, settings: Settings, detection_set: DetectionSet, evaluated: dict[str, Any]
) -> dict[str, Any]:
    """The gate by itself: measure the ONNX file that is there, write export.json, raise CheckFailed if it is worse."""
    exported = OnnxDetector(run.onnx)
    check_names(exported, detection_set.names, "the data set")
    reference = TorchDetector(run.best, sha256=evaluated["weights_sha256"], imgsz=settings.train.imgsz, device="cpu")
    if exported.imgsz != reference.imgsz or exported.weights_sha256 != reference.sha256:
        raise RunError(f"{run.onnx}: was exported from other weights or for another size. Export the run again.")
    difference = parity(reference, exported, _images(detection_set, reference.imgsz))
    test = measure(
        exported, detection_set.test, names=detection_set.names, batch=1, progress="measuring the ONNX file on test"
    )
    document, reasons = _judge(settings, evaluated, exported, difference, test)
    document["bytes"] = run.onnx.stat().st_size
    document["opset"] = opset(run.onnx)
    write_json(run.result("export"), document)
    if reasons:
        raise CheckFailed(
            f"{run.onnx} is not as accurate as {run.best.name}: {'; '.join(reasons)}.\n"
            f"{_lost_classes(evaluated, test, detection_set.names)}"
            "Do not ship this file. `export.max_map_drop` in the recipe says how much may be lost."
        )
    return document


def _evaluation(run: RunDir, settings: Settings, detection_set: DetectionSet, sha256: str) -> dict[str, Any]:
    evaluated = read_evaluation(run)
    again = f"Run `recipebox evaluate {run.root}` again."
    path = run.result("evaluate")
    if evaluated["weights_sha256"] != sha256:
        raise RunError(f"{path}: measured other weights than the run holds now. {again}")
    if evaluated["dataset"]["sha256"] != detection_set.sha256:
        raise RunError(f"{path}: measured on other data than {detection_set.name} as it is now. {again}")
    if evaluated["imgsz"] != settings.train.imgsz:
        raise RunError(f"{path}: measured at {evaluated['imgsz']} px, not {settings.train.imgsz}. {again}")
    return evaluated


def _images(detection_set: DetectionSet, imgsz: int) -> Iterator[NDArray[np.float32]]:
    split = detection_set.test
    chosen = np.unique(np.linspace(0, len(split) - 1, min(PARITY_IMAGES, len(split))).round().astype(int))
    for index in track(chosen.tolist(), "comparing ONNX with PyTorch"):
        yield prepare(split.images[index], split.boxes[index], imgsz)[0]


def _judge(
    settings: Settings, evaluated: dict[str, Any], exported: OnnxDetector, difference: Parity, test: Measurement
) -> tuple[dict[str, Any], list[str]]:
    """The document (without what is read from the file system) and why it does not pass."""
    allowed = settings.export.max_map_drop
    document: dict[str, Any] = {
        "schema": 1,
        "file": "weights/best.onnx",
        "sha256": exported.sha256,
        "bytes": 0,
        "format": "onnx",
        "precision": exported.precision,
        "opset": 0,
        "weights_sha256": evaluated["weights_sha256"],
        "imgsz": exported.imgsz,
        "parity": difference.to_json(),
        "test": test.summary(float(evaluated["threshold"])),
        "max_map_drop": allowed,
    }
    reasons = []
    before, after = evaluated["test"].get("mAP50-95"), test.map50_95
    if before is not None and after is not None:
        drop = before - after
        document["map_drop"] = drop
        if drop > allowed:
            reasons.append(f"mAP50-95 fell from {before:.4f} to {after:.4f}, by {drop:.4f}; {allowed:g} is allowed")
    if difference.max_score > MAX_SCORE:
        reasons.append(f"scores differ from PyTorch's by up to {difference.max_score:.3g} ({MAX_SCORE:g} is allowed)")
    if difference.max_box_px is not None and difference.max_box_px > MAX_BOX_PX:
        reasons.append(f"boxes differ by up to {difference.max_box_px:.3g} px ({MAX_BOX_PX:g} is allowed)")
    document["passed"] = not reasons
    if reasons:
        document["reasons"] = reasons
    return document, reasons


def _lost_classes(evaluated: dict[str, Any], test: Measurement, names: tuple[str, ...]) -> str:
    """A table of the classes whose AP50-95 fell, worst first; empty when none did."""
    rows = []
    for index, entry in enumerate(evaluated["per_class"]):
        ap = test.class_ap(index)
        if ap is not None and "AP50-95" in entry and entry["AP50-95"] > ap.mean():
            rows.append((float(ap.mean()) - entry["AP50-95"], names[index], entry["AP50-95"], float(ap.mean())))
    if not rows:
        return ""
    width = max(5, *(len(row[1]) for row in rows))
    lines = [f"  {'class':<{width}}  AP50-95 .pt   .onnx    change"]
    lines += [f"  {name:<{width}}  {a:11.4f}  {b:6.4f}  {change:+8.4f}" for change, name, a, b in sorted(rows)]
    return "\n".join(lines) + "\n"
