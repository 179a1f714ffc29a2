"""A folder that detects by itself: the file that passed the gate, what belongs to it, and a script."""

from __future__ import annotations

import json
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from recipebox import __version__
from recipebox.data.letterbox import PADDING
from recipebox.data.places import new_folder
from recipebox.errors import BadInput, RunError, storage_errors
from recipebox.evaluate.postprocess import MAX_DETECTIONS, NMS_IOU
from recipebox.evaluate.run import read_evaluation
from recipebox.export.detector import OnnxDetector
from recipebox.export.variant import Place
from recipebox.run_dir import RunDir, write_json, write_text

NEEDS = "numpy>=1.17\nPillow>=8.0\nonnxruntime>=1.12\n"
"""What detect.py needs, as pip reads it; every release of onnxruntime since 1.12 reads these files."""

READ_ME = """A detector: {recipe}, run {run}, measured on {images} test images of {dataset}:
mAP50 {map50:.3f}, mAP50-95 {map95:.3f}, {precision}.

    pip install -r requirements.txt
    python detect.py image.jpg folder

model.onnx    the file that was measured, SHA-256 {sha256}
bundle.json   class names, thresholds, pre-processing, where it comes from
detect.py     detects with numpy, Pillow and onnxruntime; Python 3.8 or newer

The threshold of a class is the score that a detection must exceed; it was chosen on validation images for all classes
together. Raise one where good parts are rejected, lower it where defects escape, and measure again.

{licence}
"""

LICENCE = """Licence: this model was trained and exported with recipebox and Ultralytics, which are AGPL-3.0.
Ultralytics holds that models trained with its code fall under the AGPL-3.0 as well, and sells another licence. The text
is in LICENSE, or at https://www.gnu.org/licenses/agpl-3.0.txt. Data and pretrained weights have terms of their own."""


def write_bundle(run: RunDir, files: Place, folder: Path) -> dict[str, Any]:
    """Write a new folder with everything that detecting needs; whole, or not at all.

    Args:
        run: an evaluated run.
        files: the variant to ship, exported and passed by the gate.
        folder: must not be there yet.

    Returns:
        bundle.json.

    Raises:
        RunError: there is no such export, it did not pass, or the file is another than was measured.
        WeightsError: the file is no exported detector.
        BadInput: the folder is there already.
        StorageError: it cannot be written.
    """
    exported, evaluated = _passed(run, files), read_evaluation(run)
    if exported.get("weights_sha256") != evaluated["weights_sha256"]:
        raise RunError(f"{files.result}: was made from other weights than were evaluated. {_again(run)}")
    detector = OnnxDetector(files.onnx)
    if detector.sha256 != exported.get("sha256"):
        raise RunError(f"{files.onnx}: is not the file that was measured. {_again(run)}")
    document: dict[str, Any] = {
        "schema": 1,
        "sha256": detector.sha256,
        "precision": detector.precision,
        "imgsz": detector.imgsz,
        "names": list(detector.names),
        "thresholds": {name: float(evaluated["threshold"]) for name in detector.names},
        "padding": PADDING,
        "nms_iou": NMS_IOU,
        "max_detections": MAX_DETECTIONS,
        "preprocessing": "letterbox into a square, bilinear, RGB, divided by 255, NCHW float32",
        "test": exported["test"],
        "dataset": evaluated["dataset"],
        "weights_sha256": evaluated["weights_sha256"],
        "recipe": run.recipe,
        "run": run.id,
        "recipebox": __version__,
        "licence": "AGPL-3.0-or-later",
    }
    if folder.exists():
        raise BadInput(f"{folder}: is there already, and nothing is overwritten. Give another place, or move it away.")
    with storage_errors(folder), new_folder(folder) as place:
        (place / "model.onnx").write_bytes(files.onnx.read_bytes())
        write_json(place / "bundle.json", document)
        script = resources.files("recipebox.export.bundle").joinpath("detect.py").read_text(encoding="utf-8")
        write_text(place / "detect.py", script)
        write_text(place / "requirements.txt", NEEDS)
        write_text(place / "LICENSE", licence_text())
        write_text(place / "README.txt", _read_me(document))
    return document


def licence_text() -> str:
    """The AGPL as it came with recipebox; where a package left it out, where to find it."""
    checkout = Path(__file__).resolve().parents[4] / "LICENSE"
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    try:
        return metadata.distribution("recipebox").read_text("licenses/LICENSE") or LICENCE + "\n"
    except metadata.PackageNotFoundError:
        return LICENCE + "\n"


def _read_me(document: dict[str, Any]) -> str:
    test = document["test"]
    return READ_ME.format(
        recipe=document["recipe"],
        run=document["run"],
        images=test["images"],
        dataset=document["dataset"].get("name", "its data set"),
        map50=test.get("mAP50", 0.0),
        map95=test.get("mAP50-95", 0.0),
        precision=document["precision"],
        sha256=document["sha256"],
        licence=LICENCE,
    )


def _passed(run: RunDir, files: Place) -> dict[str, Any]:
    try:
        document: Any = json.loads(files.result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{files.result}: this file was not exported yet. {_again(run)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{files.result}: cannot be read ({error}). {_again(run)}") from None
    if not isinstance(document, dict) or not isinstance(document.get("test"), dict):
        raise RunError(f"{files.result}: not what an export writes. {_again(run)}")
    if document.get("passed") is not True:
        raise RunError(f"{files.onnx}: did not pass the accuracy gate, so it is not shipped. {_again(run)}")
    found: dict[str, Any] = document
    return found


def _again(run: RunDir) -> str:
    return f"Export it again: `recipebox export {run.root}`."
