"""The verbs that take a run: its stages again, what it detects on other images, and the list of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipebox.verbs.options import SETTINGS, Answer, DefaultVerb, Json, Run, verb

app = typer.Typer(**SETTINGS)
bench_app = typer.Typer(**SETTINGS, cls=DefaultVerb, help="`bench RUN` measures speed; `bench compare A B` two files.")
app.add_typer(bench_app, name="bench")

Precision = Annotated[str | None, typer.Option(metavar="fp32|fp16|int8", help="Default: the recipe's.")]
Backend = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="pytorch-cpu, onnxruntime-cuda, tensorrt ...; default: as file and machine are."),
]
Threads = Annotated[int | None, typer.Option(help="Of one inference on a CPU; default: one a core.")]


@app.command()
@verb
def evaluate(
    run: Run,
    dataset: Annotated[str | None, typer.Option(help="Another data set with the same classes; writes nothing.")] = None,
    as_json: Json = False,
) -> Answer:
    """Measure a run's best weights on the validation and test splits again."""
    if dataset is None:
        return _stage(run, "evaluate")
    from recipebox.job import elsewhere_job
    from recipebox.listing import accuracy_table

    document = elsewhere_job(run, dataset)
    return Answer(document, accuracy_table(document))


@app.command()
@verb
def export(
    run: Run,
    format: Annotated[str, typer.Option(metavar="onnx|engine", help="engine: TensorRT, on its GPU.")] = "onnx",
    precision: Precision = None,
    batch: Annotated[
        str | None, typer.Option(metavar="N|dynamic", help="Images at once; default: the recipe's.")
    ] = None,
    nms: Annotated[bool | None, typer.Option(help="Put non-maximum suppression into the file.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="CONVOLUTION", help="Leave it in FP16 in an INT8 file; repeatable.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Measure the ONNX file that is there; write no other.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Export nothing; find what --keep must name for INT8 to pass.")
    ] = False,
    as_json: Json = False,
) -> Answer:
    """Export a run's best weights, and measure that very file on the test split; exit code 3 where it lost accuracy."""
    from recipebox.shipping import Wish, export_job, sensitivity_job

    wish = Wish(format, precision, batch, nms, tuple(keep or ()), check)
    made = (sensitivity_job if sensitivity else export_job)(run, wish)
    return Answer(made.document, made.text, made.exit_code)


@bench_app.command("run")
@verb
def bench(
    run: Run, precision: Precision = None, backend: Backend = None, threads: Threads = None, as_json: Json = False
) -> Answer:
    """Measure the speed of a run's exported file on this machine again; exit code 3 below bench.min_fps."""
    from recipebox.bench_job import bench_job

    return Answer(*bench_job(run, backend=backend, threads=threads, precision=precision))


@bench_app.command("compare")
@verb
def bench_compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run, a recipe, or an exported file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    dataset: Annotated[str | None, typer.Option(help="Whose test images; default: those of the run.")] = None,
    runs: Annotated[int, typer.Option(help="Images that each is timed on.")] = 200,
    backend: Backend = None,
    backend_b: Annotated[str | None, typer.Option(help="Of B; default: as file and machine are.")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> Answer:
    """Time two files in turn in one process, and say which is faster where the intervals allow it."""
    from recipebox.bench_job import compare_job

    return Answer(*compare_job((a, b), dataset=dataset, backends=(backend, backend_b), threads=threads, pairs=runs))


@app.command()
@verb
def bundle(
    run: Run,
    precision: Precision = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A new folder; default: in the run.")] = None,
    as_json: Json = False,
) -> Answer:
    """Write a folder that detects by itself, with numpy, Pillow and onnxruntime: model, names, thresholds, script."""
    from recipebox.shipping import bundle_job

    made = bundle_job(run, precision=precision, out=out)
    return Answer(made.document, made.text)


@app.command()
@verb
def report(run: Run, as_json: Json = False) -> Answer:
    """Write a run's report.md and report.html again from what the run folder holds."""
    from recipebox.job import report_job

    folder = report_job(run)
    paths = {"report_md": str(folder.report_md), "report_html": str(folder.report_html)}
    return Answer(paths, f"{folder.report_md}\n{folder.report_html}")


@app.command()
@verb
def predict(
    run: Run,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Images, folders, videos.")],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A new folder; default: under the run.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Default: the one that evaluation chose on val.")] = None,
    backend: Annotated[
        str, typer.Option(metavar="auto|onnx|torch", help="auto: the exported file where it passed its check.")
    ] = "auto",
    as_json: Json = False,
) -> Answer:
    """Draw what a run detects on images, folders or a video, and write it as JSON and YOLO labels."""
    from recipebox.predict.job import predict_job

    made = predict_job(run, images, out=out, threshold=threshold, backend=backend)
    return Answer(made.document, made.text(), made.exit_code)


@app.command()
@verb
def runs(as_json: Json = False) -> Answer:
    """List the runs and their states, latest first."""
    from recipebox.listing import list_runs, runs_table

    rows = list_runs()
    return Answer(rows, runs_table(rows))


def _stage(run: str, stage: Any) -> Answer:
    from recipebox.job import stage_job

    folder, document = stage_job(run, stage)
    return Answer(document, f"{folder.result(stage)}\n`recipebox report {folder.root}` writes the report again.")
