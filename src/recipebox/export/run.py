"""The export stage: write the ONNX file, and let it pass only if it is as accurate as the weights it came from."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from recipebox.export.parity import AfterNms, Compared
from recipebox.export.variant import Place, Variant, options, place, recipe_variant
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, read_object, write_json

if TYPE_CHECKING:
    from recipebox.export.tensorrt.engine import EngineDetector

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
    shown = {"format": "onnx", "opset": opset(files.onnx)} | (extra or {})
    return _gate(run, settings, detection_set, evaluated, _Exported(exported, files.onnx, files.result, variant, shown))


def check_again(
    run: RunDir, settings: Settings, detection_set: DetectionSet, *, variant: Variant | None = None
) -> dict[str, Any]:
    """The gate on a variant's ONNX file as it stands in the run, whoever wrote or changed it.

    Raises:
        RunError: the file is of another precision or batch, or what `export` raises it for.
        RecipeboxError: what `export` raises.
    """
    variant = variant or recipe_variant(settings.export)
    evaluated = _evaluation(run, settings, detection_set, trained_sha256(run))
    files = place(run, variant, settings.export)
    found = OnnxDetector(files.onnx)
    # Its precision is what it says of itself, one word or another.
    says = Variant(found.precision, found.batch or "dynamic", found.nms).name  # type: ignore[arg-type]
    if says != variant.name:
        raise RunError(f"{files.onnx}: says that it is {says}, and {variant.name} is asked for. Export it again.")
    written = _written(files.result)
    # What calibrated a file and what it keeps does not stand in it: it is known of the file that was written only.
    known = ("calibration", "keep") if written.get("sha256") == found.sha256 else ()
    return check_export(
        run,
        settings,
        detection_set,
        evaluated,
        variant=variant,
        extra={key: written[key] for key in known if key in written},
    )


def _written(path: Path) -> dict[str, Any]:
    """An earlier export's document; empty where there is none."""
    try:
        return read_object(path, "")
    except RunError:
        return {}


def export_engine(
    run: RunDir, settings: Settings, detection_set: DetectionSet, *, variant: Variant | None = None
) -> dict[str, Any]:
    """Build a TensorRT engine from a variant's ONNX file on this machine's GPU, and measure it on the test split.

    The ONNX file is exported first, unless it is there and passed its own gate. The engine's document stands beside the
    ONNX file's.

    Raises:
        BadInput: no driver, no GPU, no TensorRT, or a PyTorch that cannot use them; nothing has been done then.
        CheckFailed: the engine has another precision than its file, or lost more than `export.max_map_drop`.
        RecipeboxError: what `export` raises.
    """
    from recipebox.export.tensorrt.api import import_tensorrt
    from recipebox.export.tensorrt.driver import require_torch_gpu
    from recipebox.export.tensorrt.engine import EngineDetector, engine_from_onnx, load_engine

    import_tensorrt()
    require_torch_gpu()  # before minutes of building: the engine is measured through PyTorch's memory
    variant = variant or recipe_variant(settings.export)
    files = place(run, variant, settings.export)
    evaluated = _evaluation(run, settings, detection_set, trained_sha256(run))
    onnx = _passed(files, evaluated["weights_sha256"], variant)
    onnx = onnx or export(run, settings, detection_set, variant=variant)
    calibration = onnx.get("calibration", {}).get("sha256")
    sidecar = engine_from_onnx(files.onnx, files.engine, calibration_sha256=calibration)
    engine = load_engine(files.engine)
    shown = {"format": "engine", "engine": asdict(sidecar)}
    exported = _Exported(EngineDetector(engine), files.engine, files.engine_result, variant, shown)
    return _gate(run, settings, detection_set, evaluated, exported)


def _passed(files: Place, weights_sha256: str, variant: Variant) -> dict[str, Any] | None:
    """The document of an ONNX file that is there, whole, of these weights, and passed; else None."""
    try:
        document = read_object(files.result, "")
        found = hashlib.sha256(files.onnx.read_bytes()).hexdigest()
    except (OSError, RunError):
        return None
    wanted = {
        "sha256": found,
        "weights_sha256": weights_sha256,
        "passed": True,
        "precision": variant.precision,
        "batch": variant.batch,
        "nms": variant.nms,
    }
    kept = list(variant.keep) if variant.precision == "int8" else None
    same = {key: document.get(key) for key in wanted} == wanted
    return document if same and document.get("keep") == kept else None


@dataclass(frozen=True)
class _Exported:
    """What is measured, where it stands, and what its document says besides the measurement."""

    detector: OnnxDetector | EngineDetector
    file: Path
    result: Path
    variant: Variant
    shown: dict[str, Any]


def _gate(
    run: RunDir, settings: Settings, detection_set: DetectionSet, evaluated: dict[str, Any], exported: _Exported
) -> dict[str, Any]:
    """Measure a file, write its document, and raise CheckFailed if it is worse than the .pt."""
    detector, variant = exported.detector, exported.variant
    check_names(detector, detection_set.names, "the data set")
    reference = TorchDetector(run.best, sha256=evaluated["weights_sha256"], imgsz=settings.train.imgsz, device="cpu")
    if detector.imgsz != reference.imgsz or detector.weights_sha256 != reference.sha256:
        raise RunError(f"{exported.file}: was exported from other weights or for another size. Export the run again.")
    compared = Compared(detector, reference, _spread(len(detection_set.test)))
    test = measure(
        compared,
        detection_set.test,
        names=detection_set.names,
        batch=detector.batch or AT_ONCE,
        progress=f"measuring {exported.file.name} on test",
    )
    measured = _measured_alike(reference, settings, detection_set, evaluated) if variant.nms else evaluated
    document = _document(exported, settings, evaluated, compared, test, float_map=measured["test"].get("mAP50-95"))
    if variant.nms:
        document["reference"] = measured["test"]
    write_json(exported.result, document)
    if document["passed"]:
        return document
    raise CheckFailed(
        f"{exported.file} is not as accurate as {run.best.name}: {'; '.join(document['reasons'])}.\n"
        f"{losses_table(losses(measured, document))}{_mend(run, variant, settings)}"
    )


def _measured_alike(
    reference: TorchDetector, settings: Settings, detection_set: DetectionSet, evaluated: dict[str, Any]
) -> dict[str, Any]:
    """The .pt on test as a file with NMS inside is measured; of evaluate.json the parts that the gate compares."""
    test = measure(
        AfterNms(reference),
        detection_set.test,
        names=detection_set.names,
        batch=AT_ONCE,
        progress=f"measuring {reference.path.name} with the same NMS on test",
    )
    threshold = float(evaluated["threshold"])
    return {
        "test": test.summary(threshold),
        "per_class": test.per_class(threshold=threshold, iou=settings.evaluate.iou),
        "per_size": test.per_size(),
    }


def _mend(run: RunDir, variant: Variant, settings: Settings) -> str:
    text = "Do not ship this file. `export.max_map_drop` in the recipe says how much may be lost."
    if variant.precision == "int8":
        command = f"recipebox export {shlex.quote(str(run.root))} {options(variant, settings.export)} --sensitivity"
        text += (
            f"\n`{command}` measures on validation images which convolutions INT8 hurts, and finds what to --keep in "
            "FP16 so that it passes."
        )
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
    exported: _Exported,
    settings: Settings,
    evaluated: dict[str, Any],
    compared: Compared,
    test: Measurement,
    *,
    float_map: float | None,
) -> dict[str, Any]:
    """The export's document; `float_map` is the mAP50-95 of the .pt, measured as the file is."""
    allowed, difference = settings.export.max_map_drop, compared.differences.result()
    threshold, variant = float(evaluated["threshold"]), exported.variant
    before, after = float_map, test.map50_95
    document: dict[str, Any] = {
        "schema": 1,
        "file": f"{exported.file.parent.name}/{exported.file.name}",
        "sha256": compared.sha256,
        "bytes": exported.file.stat().st_size,
        "precision": variant.precision,
        "batch": variant.batch,
        "nms": variant.nms,
        **exported.shown,
        "weights_sha256": evaluated["weights_sha256"],
        "imgsz": compared.imgsz,
        "parity": difference.to_json(),
        "test": test.summary(threshold),
        "per_class": test.per_class(threshold=threshold, iou=settings.evaluate.iou),
        "per_size": test.per_size(),
        "max_map_drop": allowed,
    }
    if before is not None and after is not None:
        document["map_drop"] = before - after
    reasons = reasons_against(
        variant.precision, before, after, difference, allowed=allowed, final_boxes=compared.final_boxes
    )
    document["passed"] = not reasons
    return document | ({"reasons": reasons} if reasons else {})
