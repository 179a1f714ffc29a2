"""The bench stage: how fast the exported file is, with everything around it that a line needs."""

from __future__ import annotations

from typing import Any

from recipebox.bench.local import decode, summary, time_pipeline
from recipebox.bench.machine_state import machine_state, usable_cpus
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import CheckFailed, RunError
from recipebox.evaluate.detector import check_names
from recipebox.evaluate.run import read_evaluation
from recipebox.export.onnx import OnnxDetector
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json


def bench(
    run: RunDir, settings: Settings, detection_set: DetectionSet, *, threads: int | None = None
) -> dict[str, Any]:
    """Time a run's ONNX file on this machine's CPU over test images, and write bench.json.

    Args:
        run: a run that was evaluated and exported.
        settings: its settings; `bench` is used.
        detection_set: the data it was trained on.
        threads: threads of one inference; None takes every CPU that this process may use.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        RunError: the run was not exported, or its ONNX file is not the one whose accuracy was checked.
        WeightsError: the file cannot be run or does not fit the data.
        DataError: the test split is empty or an image cannot be read.
        CheckFailed: slower than `bench.min_fps`; bench.json is written.
    """
    exported, evaluated = run.read_result("export"), read_evaluation(run)
    if exported.get("weights_sha256") != evaluated["weights_sha256"]:
        raise RunError(
            f"{run.result('export')}: was exported from other weights than were evaluated. "
            f"Run `recipebox export {run.root}` again."
        )
    threads = threads or usable_cpus()
    machine = machine_state(threads)
    detector = OnnxDetector(run.onnx, threads=threads)
    if detector.sha256 != exported.get("sha256"):
        raise RunError(
            f"{run.onnx}: is not the file whose accuracy was checked (SHA-256 {detector.sha256[:12]}..., export.json "
            f"says {str(exported.get('sha256'))[:12]}...). Run `recipebox export {run.root}` again."
        )
    check_names(detector, detection_set.names, "the data set")
    document = _document(detector, settings, detection_set, float(evaluated["threshold"]), machine)
    write_json(run.result("bench"), document)
    wanted = settings.bench.min_fps
    if wanted is not None and document["fps"] < wanted:
        low, high = document["fps_interval"]
        raise CheckFailed(
            f"{run.onnx}: {document['fps']:.1f} images a second ({low:.1f} to {high:.1f}) on {machine['cpu']}, "
            f"{threads} threads; bench.min_fps asks for {wanted:g}. Lower train.imgsz, choose a smaller model, or "
            "lower bench.min_fps."
        )
    return document


def _document(
    detector: OnnxDetector, settings: Settings, detection_set: DetectionSet, threshold: float, machine: dict[str, Any]
) -> dict[str, Any]:
    images, decode_seconds = decode(detection_set.test.images, settings.bench.images)
    timings, warmup_runs, stable = time_pipeline(detector, images, conf=threshold, runs=settings.bench.images)
    return {
        "schema": 1,
        "sha256": detector.sha256,
        "target": "local",
        "backend": "onnxruntime-cpu",
        "precision": detector.precision,
        "imgsz": detector.imgsz,
        "images": len(images),
        "runs": timings.runs,
        "machine": machine,
        "warmup_runs": warmup_runs,
        "warmup_stable": stable,
        **summary(timings, decode_seconds),
    }
