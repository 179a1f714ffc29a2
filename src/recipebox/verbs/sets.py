"""The verbs that look at images and labels: prepare a known set, check one, make a recipe for a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipebox.verbs.options import SETTINGS, Answer, Json, NoFetch, Profile, verb

app = typer.Typer(**SETTINGS)
data_app = typer.Typer(**SETTINGS, no_args_is_help=True, help="Prepare data sets.")
app.add_typer(data_app, name="data")


@data_app.command()
@verb
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
@verb
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
@verb
def anchors(
    target: Annotated[str, typer.Argument(metavar="RECIPE|DATASET", help="A recipe or a data set: a name or a path.")],
    imgsz: Annotated[int | None, typer.Option(help="Side of the input; default: the recipe's, or 640.")] = None,
    count: Annotated[int, typer.Option(help="Anchors of a level.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    profile: Profile = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw boxes, anchors and strides.")] = None,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Fit anchors to the training boxes, and say which stride covers which boxes and what that speaks for."""
    from recipebox.anchors_job import anchors_job
    from recipebox.supplies import Supplies

    supplies = Supplies(allow_fetch=not no_fetch)
    made = anchors_job(target, supplies, imgsz=imgsz, count=count, seed=seed, profile=profile, plot=plot)
    return Answer(*made)


@app.command()
@verb
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
