"""The bench stage: how fast the exported file is, with everything around it that a line needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipebox.bench.backend import Backend, ModelFile, Name, choose_backend, kind_of, open_backend
from recipebox.bench.cuda_backends import DeviceBackend
from recipebox.bench.device_pipeline import DevicePipeline
from recipebox.bench.machine_state import machine_after, machine_state, usable_cpus
from recipebox.bench.measure import decode, summary, time_pipeline
from recipebox.bench.pipeline import HostPipeline, Pipeline
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import CheckFailed, RunError
from recipebox.evaluate.detector import check_names
from recipebox.evaluate.run import read_evaluation
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir, write_json

SCHEMA = 2


def bench(
    run: RunDir,
    settings: Settings,
    detection_set: DetectionSet,
    *,
    backend: Name | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time a run's exported file over test images, and write bench.json.

    Args:
        run: a run that was evaluated and exported.
        settings: its settings; `bench` is used.
        detection_set: the data it was trained on.
        backend: what runs the file; None takes what `choose_backend` says. One that runs best.pt instead of the
            exported file writes bench-<backend>.json, and `bench.min_fps` does not apply.
        threads: threads of one inference on a CPU; None takes every CPU that this process may use.

    Returns:
        The document that was written; docs/run-files.md describes it.

    Raises:
        RunError: the run was not exported, or its file is not the one whose accuracy was checked.
        BadInput: the machine does not have what the backend needs.
        WeightsError: the file cannot be run or does not fit the data.
        DataError: the test split is empty or an image cannot be read.
        CheckFailed: slower than `bench.min_fps`; bench.json is written.
    """
    evaluated = read_evaluation(run)
    file = run_file(run, evaluated, trained=backend is not None and kind_of(backend) == "pt")
    threads = threads or usable_cpus()
    machine = machine_state(threads)
    opened = open_backend(backend or choose_backend(file), file, threads=threads)
    check_names(opened, detection_set.names, "the data set")
    pipeline = pipeline_for(opened, conf=float(evaluated["threshold"]))
    decoded = decode(detection_set.test.images, settings.bench.images)
    timings, warmup = time_pipeline(pipeline, decoded, runs=settings.bench.images)
    shipped = kind_of(opened.name) != "pt"
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "file": str(file.path.relative_to(run.root)),
        "sha256": opened.sha256,
        "target": "local",
        "backend": opened.name,
        "device": opened.device,
        "precision": opened.precision,
        "imgsz": opened.imgsz,
        "batch": opened.batch,
        "threshold": float(evaluated["threshold"]),
        "images": len(decoded.images),
        "runs": timings.runs,
        "machine": machine_after(machine),
        "warmup_runs": warmup.runs,
        "warmup_stable": warmup.stable,
        **summary(timings, decoded),
    }
    wanted = settings.bench.min_fps if shipped else None
    if wanted is not None:
        document |= {"min_fps": wanted, "passed": document["fps"] >= wanted}
    write_json(run.result("bench") if shipped else run.root / f"bench-{opened.name}.json", document)
    if wanted is not None and not document["passed"]:
        raise CheckFailed(_too_slow(document, file.path))
    return document


def pipeline_for(backend: Backend, *, conf: float) -> Pipeline:
    """The pipeline around a backend: on the GPU where the backend keeps its memory there."""
    if isinstance(backend, DeviceBackend):
        return DevicePipeline(backend, conf=conf)
    return HostPipeline(backend, conf=conf)


def run_file(run: RunDir, evaluated: dict[str, Any], *, trained: bool = False) -> ModelFile:
    """The file that a run ships, with the hash whose accuracy was checked; or the weights that it was made from.

    Raises:
        RunError: the run was not exported, or from other weights than were evaluated.
    """
    if trained:
        return ModelFile(run.best, str(evaluated["weights_sha256"]), int(evaluated["imgsz"]))
    exported = run.read_result("export")
    again = f"Run `recipebox export {run.root}` again."
    if exported.get("weights_sha256") != evaluated["weights_sha256"]:
        raise RunError(f"{run.result('export')}: was exported from other weights than were evaluated. {again}")
    name, sha256 = exported.get("file", "weights/best.onnx"), exported.get("sha256")
    if not isinstance(name, str) or not isinstance(sha256, str):
        raise RunError(f"{run.result('export')}: does not say which file was exported. {again}")
    path = run.root / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise RunError(f"{run.result('export')}: names a file outside the run ({name}). {again}")
    return ModelFile(path, sha256)


def _too_slow(document: dict[str, Any], path: Path) -> str:
    low, high = document["fps_interval"]
    machine = document["machine"]
    where = f"{machine['cpu']}, {machine['threads']} threads" if document["device"] == "cpu" else document["device"]
    busy = machine.get("load_before", 0.0) > 0.5 * machine["cores"]
    return (
        f"{path}: {document['fps']:.1f} images a second ({low:.1f} to {high:.1f}) with {document['backend']} on "
        f"{where}; bench.min_fps asks for {document['min_fps']:g}. "
        + (f"The machine was busy (load {machine['load_before']:g}): measure again when it is idle. " if busy else "")
        + "Lower train.imgsz, choose a smaller model, or lower bench.min_fps."
    )
