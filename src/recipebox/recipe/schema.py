"""What a recipe may say. Frozen, unknown keys refused; the JSON Schema for editors is made from this file."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recipebox.recipe.section import Count, Fraction, Name, NonNegative, Positive, Section, Sha256
from recipebox.recipe.technique_sections import Techniques

Precision = Literal["fp32", "fp16", "int8"]
MOST_IMAGES = 256
"""In one batch of an exported file."""
ARCHITECTURE = r"^(yolov8[nslmx]|yolo11[nslmx]|yolo26[nslmx]|yolov8-mobilenetv3)$"


class Data(Section):
    """Which images to train on."""

    dataset: str = Field(min_length=1, description="A known data set, or a folder in YOLO layout.")
    fallback: Name | None = Field(
        default=None, description="The data set to take when `dataset` cannot be had. Said loudly."
    )
    images: Count | None = Field(
        None,
        description="Training images: how many boards pcb-synthetic draws (val and test in proportion), "
        "or how many of a real training split to use.",
    )
    errors: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="What to do with images of a folder that cannot be read, or whose labels cannot be understood: "
        "refuse the set, or train without them. `recipebox check-data` lists them.",
    )


class Model(Section):
    """The network and its initial weights."""

    weights: str = Field(
        description="A weights file (yolov8n.pt: looked for in $RECIPEBOX_WEIGHTS, then fetched), or `scratch`."
    )
    arch: str | None = Field(
        None,
        pattern=ARCHITECTURE,
        description="yolov8, yolo11 or yolo26 with a size (n, s, m, l, x), or yolov8-mobilenetv3. "
        "Default: the stem of `weights`.",
    )
    fallback: Literal["scratch"] | None = Field(default=None, description="What to do when the weights cannot be had.")
    sha256: Sha256 | None = Field(default=None, description="The hash of `weights`, where recipebox does not know it.")

    @property
    def architecture(self) -> str | None:
        """The architecture, from `arch` or the stem of `weights`; None when only the weights file knows."""
        stem = PurePath(self.weights).stem
        return self.arch or (stem if re.match(ARCHITECTURE, stem) else None)

    @model_validator(mode="after")
    def _architecture_is_one(self) -> Self:
        """A network made from scratch has no file to read its architecture from, and one model has one."""
        stem = PurePath(self.weights).stem
        if self.weights == "scratch" and self.arch is None:
            raise ValueError("`weights: scratch` says nothing about the network: give `arch` too, such as yolov8n")
        if self.arch is not None and re.match(ARCHITECTURE, stem) and stem != self.arch:
            raise ValueError(f"`arch: {self.arch}` and `weights: {self.weights}` are two networks: leave `arch` out")
        return self


class Augment(Section):
    """Augmentation of training views; Ultralytics' terms and defaults."""

    mosaic: Fraction = 1.0
    mixup: Fraction = 0.0
    cutmix: Fraction = 0.0
    hsv_h: Fraction = 0.015
    hsv_s: Fraction = 0.7
    hsv_v: Fraction = 0.4
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    translate: Fraction = 0.1
    scale: Fraction = 0.5
    shear: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    perspective: Annotated[float, Field(ge=0.0, le=0.001)] = 0.0
    flipud: Fraction = 0.0
    fliplr: Fraction = 0.5
    border: Literal["grey", "reflect", "random"] = Field(
        default="grey", description="What training views show around a zoomed-out image and in a mosaic's gaps."
    )


class Train(Section):
    """How long, how large, how fast."""

    epochs: Count
    imgsz: Annotated[int, Field(ge=32, le=4096, multiple_of=32, description="Side of the square input, pixels.")]
    batch: Count
    nbs: Count = Field(
        default=64, description="Nominal batch: gradients are accumulated over about nbs / batch batches."
    )
    box: NonNegative = Field(default=7.5, description="Gain of the box loss (CIoU).")
    cls: NonNegative = Field(default=0.5, description="Gain of the class loss.")
    dfl: NonNegative = Field(default=1.5, description="Gain of the distribution loss; of the edges' L1 in YOLO26.")
    optimizer: Literal["auto", "SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "MuSGD"]
    lr0: Positive | None = Field(default=None, description="Initial learning rate; not with optimizer: auto.")
    lrf: Fraction = Field(default=0.01, description="Final learning rate as a fraction of lr0.")
    cos_lr: bool = False
    momentum: Fraction = 0.937
    weight_decay: NonNegative = 0.0005
    warmup_epochs: NonNegative = 3.0
    warmup_momentum: Fraction = 0.8
    warmup_bias_lr: NonNegative | None = Field(default=None, description="Default 0.1; not with optimizer: auto.")
    close_mosaic: Annotated[int, Field(ge=0)] = Field(default=10, description="Epochs without mosaic at the end.")
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Stop after so many epochs without gain; 0: never."
    )
    amp: bool = Field(default=True, description="Mixed precision; acts on a GPU only.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    workers: Annotated[int, Field(ge=0, le=64)] = Field(
        default=4, description="Data loader processes; on a CPU always 0."
    )


class Anchors(Section):
    """What is said of the boxes' sizes."""

    analyse: bool = Field(
        default=False,
        description="A section of the report: which stride covers which boxes, anchors fitted to them, and what that "
        "speaks for. `recipebox anchors` shows the same before training.",
    )


class Evaluate(Section):
    """What the test split is asked."""

    compare: tuple[str, ...] = Field(
        default=(), description="Recipes whose latest matching run is shown beside this one."
    )
    iou: Annotated[float, Field(ge=0.1, le=0.95)] = Field(default=0.5, description="Overlap that counts as found.")


class Calibration(Section):
    """Which training images tell how large activations are, for INT8."""

    images: Annotated[int, Field(ge=1, le=4096)] = Field(default=128, description="Training images, drawn by `seed`.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Export(Section):
    """The file that ships."""

    precision: Precision = "fp32"
    batch: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | Literal["dynamic"] = Field(
        default=1, description="Images that the file takes at once, or `dynamic`."
    )
    nms: bool = Field(default=False, description="Put non-maximum suppression into the file; YOLO26 needs none.")
    keep: tuple[str, ...] = Field(default=(), description="Convolutions that an INT8 file leaves in FP16.")
    calibration: Calibration = Calibration()
    max_map_drop: Fraction = Field(
        default=0.005, description="Largest drop of mAP50-95 from the .pt that is let through."
    )


class Bench(Section):
    """What is measured on the exported file."""

    targets: tuple[Literal["local"], ...] = ("local",)
    images: Count = Field(default=100, description="Test images to run through the pipeline.")
    min_fps: NonNegative | None = Field(
        default=None, description="Fewest images a second by the clock, steps overlapping; fewer fail the bench."
    )


class Settings(Section):
    """Everything that decides a run: a recipe with its profile and fallbacks applied."""

    data: Data
    model: Model
    train: Train
    augment: Augment = Augment()
    techniques: Techniques = Techniques()
    anchors: Anchors = Anchors()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    bench: Bench = Bench()


class Recipe(Settings):
    """A recipe file. `profiles` and `fallbacks` hold partial Settings, checked like the rest when applied.

    Later wins: what `extends` names, the recipe, the profile, the settings of a fallback that was taken, `--set`.
    """

    extends: str | None = None
    profiles: dict[Name, dict[str, Any]] = Field(default={})
    fallbacks: dict[Name, dict[str, Any]] = Field(
        {}, description="Settings that go with a fallback: keyed by the fallback data set's name, or `scratch`."
    )
