"""Which exported file is meant: precision, batch, NMS, what stays FP16; and where it stands in a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from recipebox.errors import BadInput
from recipebox.recipe.schema import MOST_IMAGES, Export, Precision
from recipebox.run_dir import RunDir

Batch = int | Literal["dynamic"]
OPSETS: dict[Precision, int] = {"fp32": 18, "fp16": 18, "int8": 19}
"""TensorRT 8.6 to 11 parse 18; 19 is the first where Q/DQ take FP16, and TensorRT 10 parses it."""


@dataclass(frozen=True)
class Variant:
    """One way to export a detector. `keep` names convolutions that an INT8 file leaves in FP16."""

    precision: Precision = "fp32"
    batch: Batch = 1
    nms: bool = False
    keep: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short and unique among a run's files, but for `keep`: int8, fp16-nms, fp32-dynamic, fp32-batch4."""
        batch = () if self.batch == 1 else ("dynamic",) if self.batch == "dynamic" else (f"batch{self.batch}",)
        return "-".join((self.precision, *batch, *(("nms",) if self.nms else ())))

    @property
    def opset(self) -> int:
        return OPSETS[self.precision]


@dataclass(frozen=True)
class Place:
    """The files of a variant in a run: the recipe's own has the plain names."""

    onnx: Path
    result: Path
    engine: Path
    engine_result: Path


def recipe_variant(settings: Export) -> Variant:
    """What the recipe ships."""
    return Variant(settings.precision, settings.batch, settings.nms, settings.keep)


def chosen(
    settings: Export,
    *,
    precision: str | None = None,
    batch: str | None = None,
    nms: bool | None = None,
    keep: tuple[str, ...] = (),
) -> Variant:
    """The recipe's variant with what the command line changes.

    Raises:
        BadInput: no such precision or batch, or `keep` where nothing is quantised.
    """
    if precision is not None and precision not in get_args(Precision):
        raise BadInput(f"--precision {precision}: there are {', '.join(get_args(Precision))}.")
    own = recipe_variant(settings)
    made = Variant(
        precision=precision or own.precision,  # type: ignore[arg-type]
        batch=own.batch if batch is None else _batch(batch),
        nms=own.nms if nms is None else nms,
        keep=keep or own.keep,
    )
    if keep and made.precision != "int8":
        raise BadInput(f"--keep: names what an INT8 file leaves in FP16, but the precision is {made.precision}.")
    return made if made.precision == "int8" else Variant(made.precision, made.batch, made.nms)


def options(variant: Variant, settings: Export) -> str:
    """What `recipebox export` must be told beside the recipe to make a variant; without `--keep`."""
    told = [f"--precision {variant.precision}"]
    if variant.batch != settings.batch:
        told.append(f"--batch {variant.batch}")
    if variant.nms != settings.nms:
        told.append("--nms" if variant.nms else "--no-nms")
    return " ".join(told)


def place(run: RunDir, variant: Variant, settings: Export) -> Place:
    """Where a variant's files stand in a run."""
    weights = run.onnx.parent
    own = variant.name == recipe_variant(settings).name
    tail = "" if own else f"-{variant.name}"
    return Place(
        onnx=weights / f"best{tail}.onnx",
        result=run.result("export") if own else run.root / f"export{tail}.json",
        engine=weights / f"best{tail}.engine",
        engine_result=run.root / f"export{tail}-engine.json",
    )


def _batch(text: str) -> Batch:
    if text == "dynamic":
        return "dynamic"
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST_IMAGES:
        return int(text)
    raise BadInput(f"--batch {text}: a number of images from 1 to {MOST_IMAGES}, or dynamic.")
