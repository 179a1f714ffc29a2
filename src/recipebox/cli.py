"""The command line: a verb is one function. Nothing heavy is imported before a verb needs it.

Every verb takes --json: one document on stdout and nothing else there, {"error": ...} where it fails. Errors go to
stderr; errors.py has the exit codes, 130 is Ctrl-C and 143 is SIGTERM. RECIPEBOX_DEBUG=1 shows tracebacks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import typer

    from recipebox.verb import Answer, Device, Json, NoFetch, Profile, Recipe, Run, Set, Trust
    from recipebox.verb import verb as _verb
except KeyboardInterrupt:  # most of the start is this import
    os._exit(130)

_SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}

app = typer.Typer(
    **_SETTINGS,
    no_args_is_help=True,
    help="Reproducible recipes for small YOLO detectors: train, evaluate, export, bench, report.",
)
recipes_app = typer.Typer(**_SETTINGS, help="List the recipes; `schema` prints the JSON Schema for editors.")
data_app = typer.Typer(**_SETTINGS, no_args_is_help=True, help="Prepare data sets.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")


@app.command()
@_verb
def plan(
    recipe: Recipe,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    time: Annotated[bool, typer.Option("--time", help="Estimate from a few steps timed here.")] = False,
    as_json: Json = False,
) -> Answer:
    """Show what training this recipe would do here, and do nothing."""
    from recipebox.job import plan_job

    document, text = plan_job(recipe, profile=profile, changes=changes or [], device=device, time=time)
    return Answer(document, text)


@app.command()
@_verb
def train(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A name, or the path of a YAML file.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a stopped run.")] = None,
    locked: Annotated[str | None, typer.Option(metavar="RUN", help="Repeat a run and compare the weights.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Train a recipe (its teacher first), evaluate, export, bench and report it."""
    from recipebox import job
    from recipebox.errors import BadInput
    from recipebox.supplies import Supplies

    if sum(given is not None for given in (recipe, resume, locked)) != 1:
        raise BadInput("train takes one of: RECIPE, --resume RUN, --locked RUN. `recipebox recipes` lists the recipes.")
    if recipe is None and (profile or changes or device):
        raise BadInput(
            "--profile, --set and --device belong to a new run; --resume and --locked repeat what the run's plan says."
        )
    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    if resume is not None:
        result = job.resume_job(resume, supply)
    elif locked is not None:
        result = job.locked_job(locked, supply)
    else:
        assert recipe is not None
        result = job.train_job(recipe, supply, profile=profile, changes=changes or [], device=device)
    return Answer(result.document(), result.text(), result.exit_code)


@app.command()
@_verb
def prove(
    recipe: Recipe,
    only: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Prove this lever only; repeatable.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Show for every lever of a recipe what a few training steps lose without it; exit code 3 where that is nothing."""
    from recipebox.experiment.proof_text import proof_document, proof_text
    from recipebox.experiment.prove import prove_job
    from recipebox.supplies import Supplies

    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    proof = prove_job(recipe, supply, profile=profile, changes=changes or [], device=device, only=only or ())
    return Answer(proof_document(proof), proof_text(proof), proof.exit_code)


@app.command()
@_verb
def sweep(
    recipe: Recipe,
    over: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="Values of a setting; repeatable.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="1,2,3", help="Default: the recipe's own seed.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Train a grid of settings with the same seeds and compare each with the first; the same command goes on."""
    from recipebox.experiment.sweep import sweep_job
    from recipebox.experiment.sweep_text import sweep_document, sweep_text
    from recipebox.supplies import Supplies

    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    done = sweep_job(
        recipe, supply, over=over or (), seeds=seeds, profile=profile, changes=changes or [], device=device
    )
    return Answer(sweep_document(done), sweep_text(done), done.exit_code)


@app.command()
@_verb
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
@_verb
def export(run: Run, as_json: Json = False) -> Answer:
    """Export a run's best weights to ONNX again, and check the file's accuracy."""
    return _stage(run, "export")


@app.command()
@_verb
def bench(run: Run, as_json: Json = False) -> Answer:
    """Measure the speed of a run's exported file on this machine again."""
    return _stage(run, "bench")


@app.command()
@_verb
def report(run: Run, as_json: Json = False) -> Answer:
    """Write a run's report.md and report.html again from what the run folder holds."""
    from recipebox.job import report_job

    folder = report_job(run)
    paths = {"report_md": str(folder.report_md), "report_html": str(folder.report_html)}
    return Answer(paths, f"{folder.report_md}\n{folder.report_html}")


@app.command()
@_verb
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
@_verb
def runs(as_json: Json = False) -> Answer:
    """List the runs and their states, latest first."""
    from recipebox.listing import list_runs, runs_table

    rows = list_runs()
    return Answer(rows, runs_table(rows))


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes; `recipebox recipes schema` prints their JSON Schema."""
    if context.invoked_subcommand is None:
        _recipes(as_json=as_json)


@_verb
def _recipes(as_json: Json = False) -> Answer:
    from recipebox.listing import list_recipes, recipes_table

    rows = list_recipes()
    return Answer(rows, recipes_table(rows))


@recipes_app.command()
@_verb
def schema(as_json: Json = False) -> Answer:
    """Print the JSON Schema of a recipe, for editors that complete and check YAML."""
    import json

    from recipebox.recipe.load import recipe_json_schema

    document = recipe_json_schema()
    return Answer(document, json.dumps(document, indent=2))


@data_app.command()
@_verb
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known data set, or a folder in YOLO layout.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="An archive or folder to prepare it from.")
    ] = None,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Prepare a data set and check every image and label of it."""
    from recipebox.job import data_job

    return Answer(*data_job(name, source, allow_fetch=not no_fetch))


@app.command("check-data")
@_verb
def check_data(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A known data set, or a folder in YOLO layout.")],
    imgsz: Annotated[int, typer.Option(help="Side of the network's input: boxes are judged at this size.")] = 640,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Open no image: the quick check.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the images drawn.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a corrected copy to a new folder.")] = None,
    as_json: Json = False,
) -> Answer:
    """Say what is wrong with a data set, with file and line; exit code 3 where training would refuse it."""
    from recipebox.check_data import check_data_job

    return Answer(*check_data_job(dataset, imgsz=imgsz, labels_only=labels_only, html=html, fix=fix))


@app.command()
@_verb
def doctor(as_json: Json = False) -> Answer:
    """Show what is on this machine, what fits together, and the command that mends what does not."""
    from recipebox.checkup import doctor_job

    return Answer(*doctor_job())


@app.command()
@_verb
def init(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder of images with labels.")],
    name: Annotated[str | None, typer.Option(help="Of the recipe; default: the folder's.")] = None,
    to: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where a converted set goes.")] = None,
    labels: Annotated[str | None, typer.Option("--format", metavar="yolo|coco|voc", help="Which labels.")] = None,
    group_by: Annotated[str | None, typer.Option(metavar="REGEX|none", help="What stays together in a split.")] = None,
    split: Annotated[str | None, typer.Option(metavar="70,15,15", help="Split anew by these shares.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images instead of linking them.")] = False,
    whole_image_boxes: Annotated[bool, typer.Option(help="Class folders: a box as large as each image.")] = False,
    background: Annotated[list[str] | None, typer.Option(metavar="FOLDER", help="Class folder without boxes.")] = None,
    as_json: Json = False,
) -> Answer:
    """Look at a folder of images, convert and split it where needed, and write a recipe for it."""
    from recipebox.adopt.run import Wishes, adopt_folder, adopted_document, adopted_text

    wishes = Wishes(name, to, labels, group_by, split, seed, copy, whole_image_boxes, tuple(background or ()))
    adopted = adopt_folder(path, wishes)
    return Answer(adopted_document(adopted), adopted_text(adopted))


@app.command()
@_verb
def version(as_json: Json = False) -> Answer:
    """Print the version of recipebox."""
    from recipebox import __version__

    return Answer({"recipebox": __version__}, __version__)


def _stage(run: str, stage: Any) -> Answer:
    from recipebox.job import stage_job

    folder, document = stage_job(run, stage)
    return Answer(document, f"{folder.result(stage)}\n`recipebox report {folder.root}` writes the report again.")


def main() -> None:
    """The entry point of `recipebox`."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        os._exit(130)
    except BrokenPipeError:
        # The reader of the output went away (`recipebox runs | head`); there is nobody to tell.
        sys.stderr.close()
        os._exit(1)
    except Exception as error:
        code = _misused(error)
    sys.exit(code if isinstance(code, int) else 0)


def _misused(error: Any) -> int:
    """Explain a command line that cannot be understood. Typer raises Click's errors, its own copy of Click or not."""
    if not (hasattr(error, "format_message") and hasattr(error, "show")):
        raise error
    from recipebox.answers import misused

    error.show()
    code = int(error.exit_code)
    if "--json" in sys.argv:
        misused(error.format_message(), code)
    return code


if __name__ == "__main__":
    main()
