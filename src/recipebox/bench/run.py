"""The bench stage: how fast the exported file is, with everything around it that a line needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from recipebox.bench.backend import Backend, ModelFile, Name, choose_backend, kind_of, open_backend
from recipebox.bench.cuda_backends import DeviceBackend
from recipebox.bench.device_pipeline import DevicePipeline
from recipebox.bench.machine_state import OtherWork, machine_after, machine_state, usable_cpus
from recipebox.bench.measure import decode, summary, time_pipeline
from recipebox.bench.pipeline import HostPipeline, Pipeline
from recipebox.data.detection_set import DetectionSet
from recipebox.errors import CheckFailed, RunError
from recipebox.evaluate.detector import check_names
from recipebox.evaluate.run import read_evaluation
from recipebox.export.variant import Place, Variant, place, recipe_variant
from recipebox.recipe.schema import Precision, Settings
from recipebox.run_dir import RunDir, read_object, write_json

SCHEMA = 2


def bench(
    run: RunDir,
    settings: Settings,
    detection_set: DetectionSet,
    *,
    backend: Name | None = None,
    threads: int | None = None,
    variant: Variant | None = None,
) -> dict[str, Any]:
    """Time a run's exported file over test images, and write bench.json.

    Args:
        run: a run that was evaluated and exported.
        settings: its settings; `bench` is used.
        detection_set: the data it was trained on.
        backend: what runs the file; None takes what `choose_backend` says. One that runs best.pt or the engine
            instead of the exported file writes bench-<backend>.json; `bench.min_fps` does not apply to best.pt.
        threads: threads of one inference on a CPU; None takes every CPU that this process may use.
        variant: which exported file; None takes the recipe's own, the one that ships. See `result_path`.

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
    variant = variant or recipe_variant(settings.export)
    kind = "onnx" if backend is None else kind_of(backend)
    file = run_file(run, evaluated, kind, place(run, variant, settings.export))
    threads = threads or usable_cpus()
    machine = machine_state(threads)
    opened = open_backend(backend or choose_backend(file), file, threads=threads)
    check_names(opened, detection_set.names, "the data set")
    pipeline = pipeline_for(opened, conf=float(evaluated["threshold"]))
    decoded = decode(detection_set.test.images, settings.bench.images)
    others = OtherWork()
    timings, warmup = time_pipeline(pipeline, decoded, runs=settings.bench.images)
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
        "machine": machine_after(machine, others),
        "warmup_runs": warmup.runs,
        "warmup_stable": warmup.stable,
        **summary(timings, decoded),
    }
    wanted = settings.bench.min_fps if kind != "pt" else None
    if wanted is not None:
        document |= {"min_fps": wanted, "passed": document["fps"] >= wanted}
    write_json(result_path(run, settings, variant, opened.name), document)
    if wanted is not None and not document["passed"]:
        raise CheckFailed(_too_slow(document, file.path))
    return document


def result_path(run: RunDir, settings: Settings, variant: Variant, name: Name) -> Path:
    """Where a timing stands: bench.json of the file that ships; of others bench-int8.json, bench-tensorrt.json ..."""
    kind = kind_of(name)
    own = variant.name == recipe_variant(settings.export).name
    parts = [] if own or kind == "pt" else [variant.name]
    parts += [] if kind == "onnx" else [name]
    return run.root / f"{'-'.join(['bench', *parts])}.json"


def pipeline_for(backend: Backend, *, conf: float) -> Pipeline:
    """The pipeline around a backend: on the GPU where the backend keeps its memory there."""
    if isinstance(backend, DeviceBackend):
        return DevicePipeline(backend, conf=conf)
    return HostPipeline(backend, conf=conf)


def run_file(run: RunDir, evaluated: dict[str, Any], kind: str = "onnx", files: Place | None = None) -> ModelFile:
    """The file of a run, with the hash whose accuracy was checked.

    Args:
        kind: onnx, what was exported; engine, what was built from it; pt, the weights it was made from.
        files: where the variant stands; None: the one that ships.

    Raises:
        RunError: the run has no such file, or it was made from other weights than were evaluated.
    """
    if kind == "pt":
        return ModelFile(run.best, str(evaluated["weights_sha256"]), int(evaluated["imgsz"]))
    shipped = run.root / "export-engine.json" if kind == "engine" else run.result("export")
    result = shipped if files is None else files.engine_result if kind == "engine" else files.result
    again = f"Export it: `recipebox export {run.root}{_options(kind, result)}`."
    exported = read_object(result, again)
    if exported.get("weights_sha256") != evaluated["weights_sha256"]:
        raise RunError(f"{result}: was exported from other weights than were evaluated. {again}")
    name, sha256 = exported.get("file", "weights/best.onnx"), exported.get("sha256")
    if not isinstance(name, str) or not isinstance(sha256, str):
        raise RunError(f"{result}: does not say which file was exported. {again}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise RunError(f"{result}: names a file outside the run ({name}). {again}")
    return ModelFile(run.root / name, sha256)


def _options(kind: str, result: Path) -> str:
    """What `recipebox export` needs to write this result, by its name: export-int8-engine.json."""
    precision = next((one for one in get_args(Precision) if f"-{one}" in result.stem), None)
    return (f" --precision {precision}" if precision else "") + (" --format engine" if kind == "engine" else "")


def _too_slow(document: dict[str, Any], path: Path) -> str:
    low, high = document["fps_interval"]
    machine = document["machine"]
    where = f"{machine['cpu']}, {machine['threads']} threads" if document["device"] == "cpu" else document["device"]
    return (
        f"{path}: {document['fps']:.1f} images a second ({low:.1f} to {high:.1f}) with {document['backend']} on "
        f"{where}; bench.min_fps asks for {document['min_fps']:g}. "
        + (
            f"Others kept {machine['others_cores']:g} cores busy meanwhile: measure again when the machine is idle. "
            if machine.get("disturbed")
            else ""
        )
        + "Lower train.imgsz, choose a smaller model, or lower bench.min_fps."
    )
