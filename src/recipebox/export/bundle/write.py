"""A folder that detects by itself: the file that passed the gate, what belongs to it, and a script."""

from __future__ import annotations

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
from recipebox.export.variant import Place, Variant, place
from recipebox.recipe.schema import Export
from recipebox.run_dir import RunDir, read_object, write_json, write_text

NEEDS = "numpy>=1.17\nPillow>=8.0\nonnxruntime>=1.16\n"
"""What detect.py needs, as pip reads it. Tried: onnxruntime 1.14 is the first for FP32 and FP16, 1.16 for INT8."""

READ_ME = """A detector that runs by itself. It finds: {names}.

    pip install -r requirements.txt          in any environment with Python 3.8 or newer
    python detect.py image.jpg folder        prints one JSON document: the boxes on each image

or from Python:

    from detect import Detector
    for box in Detector(".")("image.jpg"):
        print(box["class"], box["score"], box["x1"], box["y1"], box["x2"], box["y2"])

model.onnx          the network, {precision}, {imgsz} x {imgsz} pixels in; SHA-256 {sha256}
bundle.json         class names, thresholds, pre-processing, and where all of it comes from
detect.py           the script; it needs what requirements.txt names, and nothing else
requirements.txt    numpy, Pillow, onnxruntime
LICENSE             see below

Measured {measured}.
Recipe {recipe}, run {run}.

Thresholds. A detection is shown where its score exceeds the threshold of its class in bundle.json. They were chosen on
validation images, for all classes together. Raise one where good parts are rejected, lower one where defects escape,
and measure again: what was measured above at a threshold holds no longer then.

Images. JPEG, PNG, BMP, TIFF and WebP, grey or colour, of any size; boxes are in pixels of the image as it is shown
(turned as its EXIF says). One that cannot be read is named on stderr, the others are detected, and the exit code is 2.
The detector is as good as the images are like those it was trained on: same camera, same light, same distance.

{licence}
"""

LICENCE = """Licence: this model was trained and exported with recipebox and Ultralytics, which are AGPL-3.0.
Ultralytics holds that models trained with its code fall under the AGPL-3.0 as well, and sells another licence. The text
is in LICENSE, or at https://www.gnu.org/licenses/agpl-3.0.txt. Data and pretrained weights have terms of their own."""


def write_bundle(run: RunDir, variant: Variant, settings: Export, folder: Path) -> dict[str, Any]:
    """Write a new folder with everything that detecting needs; whole, or not at all.

    Args:
        run: an evaluated run.
        variant: what to ship, exported and passed by the gate.
        settings: the recipe's; they say where a variant stands.
        folder: must not be there yet.

    Returns:
        bundle.json.

    Raises:
        RunError: there is no such export, it did not pass, or the file is another than was measured.
        WeightsError: the file is no exported detector.
        BadInput: the folder is there already.
        StorageError: it cannot be written.
    """
    files, again = place(run, variant, settings), _again(run, variant)
    if folder.exists() or folder.is_symlink():
        raise BadInput(f"{folder}: is there already, and nothing is overwritten. Give another place, or move it away.")
    exported, evaluated = _passed(run, files, again), read_evaluation(run)
    if exported.get("weights_sha256") != evaluated["weights_sha256"]:
        raise RunError(f"{files.result}: was made from other weights than were evaluated. {again}")
    detector = OnnxDetector(files.onnx)
    if detector.sha256 != exported.get("sha256"):
        raise RunError(f"{files.onnx}: is not the file that was measured. {again}")
    if list(detector.names) != evaluated.get("names"):
        raise RunError(f"{files.onnx}: finds other classes than were evaluated. {again}")
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
    with storage_errors(folder), new_folder(folder) as made:
        (made / "model.onnx").write_bytes(files.onnx.read_bytes())
        write_json(made / "bundle.json", document)
        script = resources.files("recipebox.export.bundle").joinpath("detect.py").read_text(encoding="utf-8")
        write_text(made / "detect.py", script)
        write_text(made / "requirements.txt", NEEDS)
        write_text(made / "LICENSE", licence_text())
        write_text(made / "README.txt", _read_me(document))
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
    test, threshold = document["test"], min(document["thresholds"].values())
    where = f"on {test.get('images', '?')} test images of {document['dataset'].get('name', 'its data set')}"
    scores = [f"{key} {test[key]:.3f}" for key in ("mAP50", "mAP50-95") if key in test]
    counted = [f"{key} {test[key]:.3f}" for key in ("precision", "recall") if key in test]
    counted = [f"{', '.join(counted)} at the threshold {threshold:.3f}"] if counted else []
    told = "; ".join([", ".join(scores), *counted])
    return READ_ME.format(
        **{key: document[key] for key in ("precision", "imgsz", "sha256", "recipe", "run")},
        names=", ".join(document["names"]),
        measured=f"{where}:\n    {told}" if scores else f"{where}, without boxes: nothing",
        licence=LICENCE,
    )


def _passed(run: RunDir, files: Place, again: str) -> dict[str, Any]:
    document = read_object(files.result, again)
    if not isinstance(document.get("test"), dict):
        raise RunError(f"{files.result}: not what an export writes. {again}")
    if document.get("passed") is not True:
        raise RunError(f"{files.onnx}: did not pass the accuracy gate, so it is not shipped. {again}")
    return document


def _again(run: RunDir, variant: Variant) -> str:
    """The command that makes this very variant."""
    return f"Export it: `recipebox export {run.root} --precision {variant.precision}`."
