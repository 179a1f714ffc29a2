"""The export stage: write the ONNX file, and let it pass only if it is as accurate as the weights it came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import CheckFailed, RunError
from recipebox.evaluate.detection import Measurement, measure
from recipebox.evaluate.detector import TorchDetector, check_names
from recipebox.evaluate.run import read_evaluation, trained_sha256
from recipebox.export.calibration import CalibrationImages, calibration_images
from recipebox.export.detector import OnnxDetector
from recipebox.export.gate import losses, losses_table, reasons_against
from recipebox.export.onnx import export_onnx, opset
from recipebox.export.parity import Compared
from recipebox.export.variant import Place, Variant, place, recipe_variant
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json

PARITY_IMAGES = 32
AT_ONCE = 8
"""Images a call, where the file takes any number."""


def export(
    run: RunDir, settings: Settings, detection_set: DetectionSet, *, variant: Variant | None = None
) -> dict[str, Any]:
    """Export a run's best weights to ONNX, measure that file on the test split, and write its export.json.

    Args:
        run: an evaluated run.
        settings: its settings; `export` and `train.imgsz` are used.
        detection_set: the data it was trained on.
        variant: which file; None makes the recipe's own, the one that ships.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        RunError: the run was not evaluated, or on other weights or data.
        WeightsError: best.pt is not what training wrote, or cannot be expressed in ONNX.
        DataError: INT8 without training images.
        BadInput: what the variant keeps is not there.
        CheckFailed: the file lost more than `export.max_map_drop` mAP50-95, or its output is another; export.json is
            written and says so.
    """
    variant = variant or recipe_variant(settings.export)
    sha256 = trained_sha256(run)
    evaluated = _evaluation(run, settings, detection_set, sha256)
    images: CalibrationImages | None = None
    if variant.precision == "int8":
        images = calibration_images(detection_set, settings.export.calibration, settings.train.imgsz)
    out = place(run, variant, settings.export).onnx
    export_onnx(run.best, out, settings.train.imgsz, sha256=sha256, variant=variant, calibration=images)
    extra = {"calibration": images.to_json(), "keep": list(variant.keep)} if images is not None else {}
    return check_export(run, settings, detection_set, evaluated, variant=variant, extra=extra)


def check_export(
    run: RunDir,
    settings: Settings,
    detection_set: DetectionSet,
    evaluated: dict[str, Any],
    *,
    variant: Variant | None = None,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The gate by itself: measure the ONNX file that is there, write its document, raise CheckFailed if it is worse."""
    variant = variant or recipe_variant(settings.export)
    files = place(run, variant, settings.export)
    exported = OnnxDetector(files.onnx)
    check_names(exported, detection_set.names, "the data set")
    reference = TorchDetector(run.best, sha256=evaluated["weights_sha256"], imgsz=settings.train.imgsz, device="cpu")
    if exported.imgsz != reference.imgsz or exported.weights_sha256 != reference.sha256:
        raise RunError(f"{files.onnx}: was exported from other weights or for another size. Export the run again.")
    compared = Compared(exported, reference, _spread(len(detection_set.test)))
    test = measure(
        compared,
        detection_set.test,
        names=detection_set.names,
        batch=exported.batch or AT_ONCE,
        progress=f"measuring {files.onnx.name} on test",
    )
    document = _document(files, variant, settings, evaluated, compared, test) | (extra or {})
    write_json(files.result, document)
    if document["passed"]:
        return document
    raise CheckFailed(
        f"{files.onnx} is not as accurate as {run.best.name}: {'; '.join(document['reasons'])}.\n"
        f"{losses_table(losses(evaluated, test))}{_mend(run, variant)}"
    )


def _mend(run: RunDir, variant: Variant) -> str:
    text = "Do not ship this file. `export.max_map_drop` in the recipe says how much may be lost."
    if variant.precision == "int8":
        text += f" `recipebox export {run.root} --precision int8 --scan` says which layers to keep in FP16."
    return text


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


def _spread(images: int) -> list[int]:
    """Places of the images that parity is measured on, evenly over the split."""
    places: list[int] = np.unique(np.linspace(0, images - 1, min(PARITY_IMAGES, images)).round().astype(int)).tolist()
    return places


def _document(
    files: Place,
    variant: Variant,
    settings: Settings,
    evaluated: dict[str, Any],
    compared: Compared,
    test: Measurement,
) -> dict[str, Any]:
    allowed, difference = settings.export.max_map_drop, compared.differences.result()
    threshold = float(evaluated["threshold"])
    before, after = evaluated["test"].get("mAP50-95"), test.map50_95
    document: dict[str, Any] = {
        "schema": 1,
        "file": f"{files.onnx.parent.name}/{files.onnx.name}",
        "sha256": compared.sha256,
        "bytes": files.onnx.stat().st_size,
        "format": "onnx",
        "precision": variant.precision,
        "batch": variant.batch,
        "nms": variant.nms,
        "opset": opset(files.onnx),
        "weights_sha256": evaluated["weights_sha256"],
        "imgsz": compared.imgsz,
        "parity": difference.to_json(),
        "test": test.summary(threshold),
        "per_class": test.per_class(threshold=threshold, iou=settings.evaluate.iou),
        "max_map_drop": allowed,
    }
    if before is not None and after is not None:
        document["map_drop"] = before - after
    reasons = reasons_against(
        variant.precision, before, after, difference, allowed=allowed, final_boxes=compared.final_boxes
    )
    document["passed"] = not reasons
    return document | ({"reasons": reasons} if reasons else {})
