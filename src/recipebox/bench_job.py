"""The bench by itself: a run's exported file again, or two files against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.endings import claimed, signals_interrupt
from recipebox.errors import BadInput, CheckFailed, WeightsError
from recipebox.job import refuse_running
from recipebox.run_dir import RunDir, find_run, is_run, read_object
from recipebox.stages import read_plan
from recipebox.supplies import Supplies

if TYPE_CHECKING:
    from recipebox.bench.backend import ModelFile, Name
    from recipebox.bench.pipeline import Image, Pipeline

_SUFFIXES = (".onnx", ".engine", ".plan", ".pt")


def bench_job(
    name: str, *, backend: str | None, threads: int | None, precision: str | None = None
) -> tuple[dict[str, Any], str, int]:
    """Time a run's exported file: (document, text, exit code).

    Args:
        name: a run folder, or a recipe: its latest finished run.
        backend: what runs the file; None lets the file and the machine decide.
        threads: threads of one inference on a CPU; None takes every CPU that this process may use.
        precision: of the variant that is timed; None takes the recipe's own.

    Raises:
        RunError: no such run, it is running, or it was not exported.
        RecipeboxError: what the stage raises, but for a speed below `bench.min_fps`, which is an answer.
    """
    from recipebox.bench.run import bench, result_path
    from recipebox.bench.table import bench_table
    from recipebox.export.variant import chosen as chosen_variant

    chosen = _backend(backend)
    run = find_run(name)
    refuse_running(run)
    with signals_interrupt(), claimed(run):
        settings = read_plan(run).settings
        variant = chosen_variant(settings.export, precision=precision)
        data = Supplies().detection_set(settings)
        try:
            document = bench(run, settings, data, backend=chosen, threads=_threads(threads), variant=variant)
        except CheckFailed as failed:
            written = result_path(run, settings, variant, chosen or "onnxruntime-cpu")
            document = read_object(written, f"Run `recipebox bench {run.root}` again.")
            return document, f"{bench_table(document)}\ncheck failed: {failed}", failed.exit_code
    return document, bench_table(document), 0


def compare_job(
    names: tuple[str, str],
    *,
    dataset: str | None,
    backends: tuple[str | None, str | None],
    threads: int | None,
    pairs: int,
) -> tuple[dict[str, Any], str]:
    """Time two files in turn: (document, text). Nothing is written.

    Args:
        names: a run folder, a recipe (its latest finished run), or an .onnx, .engine or .pt file, each.
        dataset: whose test images are shown; None takes those of the first run among the two.
        backends: what runs each; None lets the file and the machine decide.
        threads: threads of one inference on a CPU; None takes every CPU that this process may use.
        pairs: images that each file is timed on.

    Raises:
        RunError: no such run, or it was not exported.
        BadInput: neither belongs to a run and no data set was named; or a backend is not for this file or machine.
        WeightsError: a file cannot be run, or the two find other classes.
    """
    from recipebox.bench.compare import SCHEMA, compare
    from recipebox.bench.machine_state import OtherWork, machine_after, machine_state, usable_cpus
    from recipebox.bench.table import comparison_table

    if pairs < 1:
        raise BadInput(f"--runs {pairs}: at least one image must be timed.")
    sides = [_Side.of(name, _backend(backend)) for name, backend in zip(names, backends, strict=True)]
    cores = _threads(threads) or usable_cpus()
    with signals_interrupt():
        machine = machine_state(cores)
        images, conf = _images(sides, dataset, pairs)
        pipelines = [side.open(cores, conf) for side in sides]
        document: dict[str, Any] = {"schema": SCHEMA, "threshold": conf}
        others = OtherWork()
        document |= compare(pipelines[0], pipelines[1], images, pairs=pairs)
        document["machine"] = machine_after(machine, others)
        for key, side, pipeline in zip("ab", sides, pipelines, strict=True):
            document[key] = {"file": str(side.file.path)} | _about(pipeline) | document[key]
    return document, comparison_table(document)


@dataclass(frozen=True)
class _Side:
    """One of the two files, and the run it belongs to, if any."""

    file: ModelFile
    run: RunDir | None
    backend: Name | None

    @classmethod
    def of(cls, name: str, backend: Name | None) -> _Side:
        """Raises RunError or WeightsError when there is no such run or file."""
        from recipebox.bench.backend import ModelFile, kind_of
        from recipebox.bench.run import run_file
        from recipebox.evaluate.run import read_evaluation, trained_sha256

        path = Path(name)
        if path.suffix.lower() not in _SUFFIXES:
            run = find_run(name)
            kind = "onnx" if backend is None else kind_of(backend)
            return cls(run_file(run, read_evaluation(run), kind), run, backend)
        if not path.is_file():
            raise WeightsError(f"{name}: there is no such file. Give a run, or the path of an exported file.")
        path = path.absolute()
        owner = RunDir(path.parent.parent) if is_run(path.parent.parent) else None
        if owner is None or path != owner.best:
            return cls(ModelFile(path), owner, backend)
        return cls(ModelFile(path, trained_sha256(owner), int(read_evaluation(owner)["imgsz"])), owner, backend)

    def open(self, threads: int, conf: float) -> Pipeline:
        from recipebox.bench.backend import choose_backend, open_backend
        from recipebox.bench.run import pipeline_for

        name = self.backend or choose_backend(self.file)
        return pipeline_for(open_backend(name, self.file, threads=threads), conf=conf)


def _images(sides: list[_Side], dataset: str | None, pairs: int) -> tuple[tuple[Image, ...], float]:
    """Test images, and the score threshold of the run among the two; Ultralytics' default where there is none."""
    from recipebox.bench.measure import decode
    from recipebox.evaluate.detection import THRESHOLD_OF_A_BLIND_DETECTOR
    from recipebox.evaluate.run import read_evaluation

    run = next((side.run for side in sides if side.run is not None), None)
    threshold = THRESHOLD_OF_A_BLIND_DETECTOR if run is None else float(read_evaluation(run)["threshold"])
    if dataset is not None:
        from recipebox.data.datasets import prepare

        return decode(prepare(dataset).test.images, pairs).images, threshold
    if run is None:
        raise BadInput("neither file belongs to a run, so there are no images to show them: give --dataset.")
    return decode(Supplies().detection_set(read_plan(run).settings).test.images, pairs).images, threshold


def _about(pipeline: Pipeline) -> dict[str, Any]:
    backend = pipeline.backend
    keys = ("sha256", "device", "precision", "imgsz")
    return {"backend": backend.name} | {key: getattr(backend, key) for key in keys}


def _backend(name: str | None) -> Name | None:
    from recipebox.bench.backend import NAMES

    if name is None:
        return None
    for known in NAMES:
        if name == known:
            return known
    raise BadInput(f"--backend {name}: there are {', '.join(NAMES)}.")


def _threads(threads: int | None) -> int | None:
    if threads is not None and not 1 <= threads <= 1024:
        raise BadInput(f"--threads {threads}: between 1 and 1024.")
    return threads
