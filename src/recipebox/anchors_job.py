"""The verb anchors: how large a set's boxes are, anchors fitted to them, and which stride covers which."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.errors import BadInput, DataError
from recipebox.supplies import Supplies

if TYPE_CHECKING:
    from recipebox.data.anchors import Fit, Judgement
    from recipebox.data.box_sizes import Sizes
    from recipebox.data.coverage import Coverage, Suggestion
    from recipebox.recipe.schema import Settings

_IMGSZ = 640
_MOST_ANCHORS = 12


@dataclass(frozen=True)
class Looked:
    """What was found, of a set or of the set of a recipe."""

    about: str
    dataset: str
    sizes: Sizes
    found: Coverage
    fit: Fit
    coco: Judgement
    count: int
    seed: int
    advice: list[Suggestion]


def anchors_job(
    target: str,
    supplies: Supplies,
    *,
    imgsz: int | None = None,
    count: int = 3,
    seed: int = 0,
    profile: str | None = None,
    plot: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Fit anchors to a recipe's training boxes, or a data set's: (document, text).

    Args:
        target: a recipe or a data set, by name or path.
        imgsz: side of the input, pixels; default: the recipe's, 640 for a data set.
        count: anchors a level.
        seed: of everything that is drawn.
        profile: of the recipe.
        plot: write a picture there.

    Raises:
        BadInput: neither a recipe nor a data set; or an option out of range.
        DataError: no boxes, or too few sizes.
        StorageError: the picture cannot be written.
    """
    if imgsz is not None and not 32 <= imgsz <= 8192:
        raise BadInput(f"--imgsz {imgsz}: give the side of the network's input in pixels, 32 to 8192.")
    if not 1 <= count <= _MOST_ANCHORS:
        raise BadInput(f"--count {count}: give the anchors of a level, 1 to {_MOST_ANCHORS}.")
    if not 0 <= seed < 2**32:
        raise BadInput(f"--seed {seed}: give a whole number from 0 to 4294967295.")
    if plot is not None and (plot.suffix != ".png" or plot.is_dir()):
        raise BadInput(f"--plot {plot}: give the picture a file name that ends in .png.")
    settings = _settings(target, supplies, profile)
    looked = _looked(target, settings, supplies, imgsz, count, seed)
    document, told = _document(looked), _text(looked)
    if plot is not None:
        _draw(looked, plot)
        document["plot"] = str(plot.absolute())
        told += f"\npicture: {plot}"
    return document, told


def _settings(target: str, supplies: Supplies, profile: str | None) -> Settings | None:
    """Those of a recipe, planned for this machine; None for a data set.

    Raises:
        BadInput: it is neither.
    """
    from recipebox.recipe.load import load_recipe
    from recipebox.recipe.plan import make_plan
    from recipebox.supplies import probe

    if not _is_recipe(target):
        if profile is not None:
            raise BadInput(f"--profile {profile}: {target} is a data set, and profiles belong to recipes.")
        return None
    loaded, machine = load_recipe(target), probe(None)
    plan = make_plan(loaded, machine, profile=profile, require_data=False)
    data = plan.settings.data
    try:
        supplies.detection_set(plan.settings)
    except DataError:
        if data.fallback is None or machine.has_dataset(data.dataset):
            raise
        unavailable = frozenset({data.dataset})
        plan = make_plan(loaded, machine, profile=profile, unavailable=unavailable, require_data=False)
    return plan.settings


def _is_recipe(target: str) -> bool:
    from recipebox.data.datasets import NAMES
    from recipebox.data.places import find_source
    from recipebox.recipe.load import find_recipes
    from recipebox.recipe.problems import nearest

    if target in NAMES or os.path.isdir(target):
        return False
    if os.path.isfile(target):
        return target.endswith((".yaml", ".yml")) and _reads_as_recipe(Path(target))
    known = [path.stem for path in find_recipes()]
    if target in known or target.endswith((".yaml", ".yml")):
        return True
    if "/" not in target and target.strip(".") and find_source(target) is not None:
        return False
    close = nearest(target, [*known, *NAMES])
    near = f"; did you mean {close}?" if close else "."
    raise BadInput(
        f"{target or repr(target)}: neither a recipe nor a data set{near} `recipebox recipes` lists the recipes; data "
        f"sets known by name are {', '.join(NAMES)}, and any other is a folder in YOLO layout."
    )


def _reads_as_recipe(path: Path) -> bool:
    """A data set's YAML says where `train` is; a recipe's, how to. What is neither is told as a recipe's problems."""
    from recipebox.recipe.yaml_nodes import MAX_BYTES, parse_yaml

    try:
        with path.open("rb") as file:
            value, _, _ = parse_yaml(file.read(MAX_BYTES).decode("utf-8", "replace"), str(path))
    except OSError:
        return True
    told = value if isinstance(value, dict) else {}
    return "names" not in told and not isinstance(told.get("train"), str | list)


def _looked(
    target: str, settings: Settings | None, supplies: Supplies, imgsz: int | None, count: int, seed: int
) -> Looked:
    from recipebox.data.anchors import COCO, fit_anchors, judge
    from recipebox.data.box_sizes import box_sizes
    from recipebox.data.coverage import Levels, advice, coverage, levels_of
    from recipebox.data.datasets import prepare

    if settings is None:
        detection_set = prepare(target, allow_fetch=supplies.allow_fetch)
        side, head = imgsz or _IMGSZ, Levels()
    else:
        detection_set = supplies.detection_set(settings)
        side, head = imgsz or settings.train.imgsz, levels_of(settings)
    sizes = box_sizes(detection_set, side)
    found = coverage(sizes.pixels, head)
    fit = fit_anchors(sizes.pixels, count * len(head.strides), seed=seed)
    coco = [(w * side / _IMGSZ, h * side / _IMGSZ) for w, h in COCO]
    about = Path(target).stem if settings is not None else detection_set.name
    spoken = advice(settings, sizes, found)
    return Looked(about, detection_set.name, sizes, found, fit, judge(sizes.pixels, coco), count, seed, spoken)


def _document(looked: Looked) -> dict[str, Any]:
    from recipebox.data.anchors import THRESHOLD

    fit, found = looked.fit, looked.found
    shown: dict[str, Any] = {
        "schema": 1,
        "about": looked.about,
        "dataset": looked.dataset,
        "imgsz": looked.sizes.imgsz,
        "boxes": len(looked.sizes.pixels),
        "left_out": looked.sizes.left_out,
        "seed": looked.seed,
        "threshold": THRESHOLD,
        "anchors": [[value for pair in level for value in pair] for level in fit.levels(looked.count)],
        "recall": fit.judgement.recall,
        "fitness": fit.judgement.fitness,
        "matches": fit.judgement.matches,
        "shares": list(fit.judgement.shares),
        "coco": {"recall": looked.coco.recall, "fitness": looked.coco.fitness},
    }
    return shown | {
        "sides": {"shorter": list(found.shorter), "longer": list(found.longer)},
        "strides": [asdict(level) for level in found.levels],
        "under_two_cells": found.too_small,
        "beyond_reach": found.too_large,
        "uncovered": found.uncovered,
        "suggestions": [asdict(one) for one in looked.advice],
    }


def _text(looked: Looked) -> str:
    from recipebox.data.coverage import coverage_lines
    from recipebox.listing import plain_table

    fit, coco, strides = looked.fit, looked.coco, looked.found.head.strides
    left = f" ({looked.sizes.left_out} without a size left out)" if looked.sizes.left_out else ""
    of = f"{len(looked.sizes.pixels)} training boxes of {looked.dataset}"
    head = f"{looked.about}: {of} at {looked.sizes.imgsz} px{left}"
    rows = [("stride", "covers", "and no coarser one does")]
    rows += [(str(one.stride), f"{one.covers:.1%}", f"{one.coarsest:.1%}") for one in looked.found.levels]
    lines = [head, "", plain_table(rows), *coverage_lines(looked.found), ""]
    lines.append(
        f"fitted: recall {fit.judgement.recall:.4f}, fitness {fit.judgement.fitness:.4f}; COCO's anchors have "
        f"{coco.recall:.4f} and {coco.fitness:.4f} here"
    )
    lines.append("anchors:")
    for place, (stride, level) in enumerate(zip(strides, fit.levels(looked.count), strict=True)):
        pairs = ", ".join(f"{w:g},{h:g}" for w, h in level)
        lines.append(f"  - [{pairs}]  # P{(stride).bit_length() - 1}/{strides[place]}")
    if looked.advice:
        lines += ["", "these sizes speak for (arithmetic, not a measured gain; `recipebox sweep` measures):"]
        lines += [f"  {one.line}   # {one.why}" for one in looked.advice]
    return "\n".join(lines)


def _draw(looked: Looked, plot: Path) -> None:
    from recipebox.data.places import make_folder
    from recipebox.report.anchor_picture import anchor_picture
    from recipebox.run_dir import atomic_writer

    sizes = looked.sizes
    content = anchor_picture(sizes.pixels, looked.found, looked.fit.levels(looked.count), imgsz=sizes.imgsz)
    make_folder(plot.absolute().parent)
    with atomic_writer(plot) as file:
        file.write(content)
