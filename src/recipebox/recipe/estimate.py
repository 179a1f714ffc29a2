"""What a plan will cost, from its settings alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from recipebox.recipe.schema import Settings
from recipebox.recipe.technique_sections import Ema

GFLOPS_AT_640 = {
    "yolov8": {"n": 8.7, "s": 28.6, "m": 78.9, "l": 165.2, "x": 257.8},
    "yolo11": {"n": 6.5, "s": 21.5, "m": 68.0, "l": 86.9, "x": 194.9},
    "yolo26": {"n": 5.4, "s": 20.7, "m": 68.2, "l": 86.4, "x": 193.9},
    "yolov8-mobilenetv3": {"": 6.6},
    "yolov8-p2": {"n": 16.9, "s": 37.6, "m": 92.0, "l": 189.6, "x": 292.0},
}
"""GFLOPs of a forward pass at 640 px, from Ultralytics' model tables; those of our own networks as its tools count."""

MILLION_PARAMETERS = {
    "yolov8": {"n": 3.2, "s": 11.2, "m": 25.9, "l": 43.7, "x": 68.2},
    "yolo11": {"n": 2.6, "s": 9.4, "m": 20.1, "l": 25.3, "x": 56.9},
    "yolo26": {"n": 2.4, "s": 9.5, "m": 20.4, "l": 24.8, "x": 55.7},
    "yolov8-mobilenetv3": {"": 2.8},
    "yolov8-p2": {"n": 3.3, "s": 10.7, "m": 24.5, "l": 41.6, "x": 64.6},
}
"""From the same tables."""

# Measured on two CPU cores at 320 px, an epoch of 700 training and 300 validation images with Ultralytics 8.4.190 and
# torch 2.14.1: YOLOv8n 46 s, YOLOv8s 121 s, YOLOv8n distilled from YOLOv8s 86 s. A line through the first two gives the
# cost of any architecture from its GFLOPs; the third, less the first, is the teacher's forward pass.
_MEASURED_CORES, _MEASURED_PIXELS = 2, 320**2
VALIDATION_SHARE = 0.3
"""What a validated image costs beside a trained one: a forward pass without a backward one."""
_MEASURED_IMAGES = 700 + VALIDATION_SHARE * 300
_SECONDS_A_GFLOP = (121 - 46) / (28.6 - 8.7)
_SECONDS_FIXED = 46 - _SECONDS_A_GFLOP * 8.7
_TEACHER_SECONDS_A_GFLOP = (86 - 46) / 28.6
_CORES_THAT_HELP = 8
"""Beyond this many cores a small batch gains little."""

_STATE_OVERHEAD, _PICTURES, _DRAWN_IMAGE = 2, 8_000_000, 25_000
_OPTIMIZER_MOMENTS = {"SGD": 1, "MuSGD": 1}


@dataclass(frozen=True)
class Estimate:
    """What a plan will cost. Counts are exact where the images are known; bytes and seconds are rough.

    Attributes:
        train_images: images of an epoch; None where the data set's size is not known yet. So with the next three.
        steps_per_epoch: batches of an epoch.
        optimizer_steps: steps of the optimizer over the whole run, accumulation and its warm-up included.
        ema_decay_end: the EMA decay reached at the last step, with SWA at the last one before it; 0 when it is off.
        disk_bytes: the run folder and prepared data.
        download_bytes: what is not on this machine yet.
        seconds: training; None where nothing was measured: on a GPU, unless steps were timed there.
        val_images: images of a validation; None as above.
        step_seconds: of one batch, where steps were timed on this machine (`recipebox plan --time`).
    """

    train_images: int | None
    steps_per_epoch: int | None
    optimizer_steps: int | None
    ema_decay_end: float | None
    disk_bytes: int
    download_bytes: int
    seconds: float | None
    val_images: int | None = None
    step_seconds: float | None = None


def steps_per_epoch(train_images: int, batch: int) -> int:
    """Batches of an epoch; the last one may be smaller."""
    return math.ceil(train_images / batch)


def accumulated_batches(batch: int, nbs: int) -> int:
    """Batches whose gradients make one optimizer step, after the warm-up: round(nbs / batch), at least 1."""
    return max(round(nbs / batch), 1)


def optimizer_steps(
    batches: int, epochs: int, batch: int, nbs: int, warmup_epochs: float, *, until: int | None = None
) -> int:
    """How often the optimizer steps in a run, as Ultralytics counts.

    Gradients are accumulated over round(nbs / batch) batches, a number that ramps up from 1 during the warm-up; what
    is left at the very end is not stepped. Source: `engine/trainer.py` of Ultralytics 8.4, `_do_train`.

    Args:
        batches: batches of an epoch.
        epochs: epochs of the run.
        batch: images of a batch.
        nbs: nominal batch.
        warmup_epochs: as in the recipe; capped at epochs - 1 there and here.
        until: count the first so many epochs only; all of them where nothing is said.
    """
    accumulate = min(accumulated_batches(batch, nbs), batches * epochs)
    total = batches * (epochs if until is None else until)
    warm = round(min(warmup_epochs, max(epochs - 1, 0)) * batches)
    slope = (accumulate - 1) / warm if warm else 0.0
    steps, last = 0, -1
    # During the warm-up, its last batch included, the number changes from batch to batch.
    for index in range(min(warm + 1, total) if warm else 0):
        due = accumulate if index == warm else max(1, round(slope * index + 1))
        if index - last >= due:
            steps, last = steps + 1, index
    first = warm + 1 if warm else 0
    if first >= total:
        return steps
    # The first step after it comes at once when more than enough has piled up; then every `accumulate` batches.
    following = max(first, last + accumulate)
    return steps + (0 if following >= total else 1 + (total - 1 - following) // accumulate)


def steps_averaged(settings: Settings, batches: int, steps: int) -> int:
    """Of a run's optimizer steps those that the EMA follows: all, or those before SWA."""
    train, swa = settings.train, settings.techniques.swa
    if swa is None:
        return steps
    before = train.epochs - swa.last
    return optimizer_steps(batches, train.epochs, train.batch, train.nbs, train.warmup_epochs, until=before)


def ema_decay(ema: Ema | Literal[False] | None, step: int) -> float:
    """What optimizer step `step` (from 1) leaves of the average: 1 where `every` leaves it out, 0 where the EMA is off;
    Ultralytics' own where nothing is said.

    The n-th update leaves decay * (1 - exp(-n / tau)). The ramp is Ultralytics' own (ModelEMA): early averages forget
    the initial weights quickly.
    """
    if ema is False:
        return 0.0
    ema = ema or Ema()
    if step % ema.every:
        return 1.0
    return ema.decay * (1.0 - math.exp(-(step // ema.every) / ema.tau))


def ema_decay_reached(ema: Ema | Literal[False] | None, steps: int) -> float:
    """The decay of the last update within `steps` optimizer steps."""
    return ema_decay(ema, steps - steps % (ema.every if ema else 1))


def train_seconds(
    settings: Settings, train_images: int, val_images: int, cores: int, teachers: tuple[Settings, ...] = ()
) -> float | None:
    """A rough time of training on a CPU, scaled from one measured machine by pixels, images, epochs and cores.

    Teachers cost their forward pass here; their own training is their own plan's. None for an unknown architecture.
    """
    student = _size(GFLOPS_AT_640, _network(settings))
    if student is None:
        return None
    scale = settings.train.imgsz**2 / _MEASURED_PIXELS * _MEASURED_CORES / max(1, min(cores, _CORES_THAT_HELP))
    trained = train_images * pixel_share(settings)
    images = trained + VALIDATION_SHARE * images_forward(settings, train_images, val_images)
    seconds = (_SECONDS_FIXED + _SECONDS_A_GFLOP * student) * images / _MEASURED_IMAGES
    for teacher in teachers:
        size = _size(GFLOPS_AT_640, _network(teacher)) or 0.0
        seconds += _TEACHER_SECONDS_A_GFLOP * size * trained / 700
    return seconds * scale * settings.train.epochs


def images_forward(settings: Settings, train_images: int, val_images: int) -> float:
    """Images an epoch, on average, that pass the network forward only.

    Validation, twice for live and averaged weights, and batch norm's statistics for SWA, from one epoch's views.
    """
    ema, swa = settings.techniques.ema, settings.techniques.swa
    statistics = min(swa.bn_images, train_images) * swa.last / settings.train.epochs if swa is not None else 0.0
    return val_images * (2 if isinstance(ema, Ema) and ema.evaluate_both else 1) + statistics


def pixel_share(settings: Settings) -> float:
    """Pixels of the run's training views over those of a run at the deployed size throughout; 1 without stages."""
    train, progressive = settings.train, settings.techniques.progressive
    if progressive is None:
        return 1.0
    pixels = sum(progressive.imgsz_of(epoch, train.imgsz) ** 2 for epoch in range(1, train.epochs + 1))
    return pixels / (train.epochs * train.imgsz**2)


def run_bytes(settings: Settings) -> int:
    """Disk that a run folder takes: state.pt (and its successor while it is written), two .pt, the ONNX, pictures."""
    parameters = (_size(MILLION_PARAMETERS, _network(settings)) or 70.0) * 1e6
    moments = _OPTIMIZER_MOMENTS.get(settings.train.optimizer, 2)
    state = parameters * 4 * (2 + moments)
    return int(_STATE_OVERHEAD * state + 3 * 2 * parameters + 4 * parameters) + _PICTURES


def prepared_bytes(images: int, download_bytes: int | None) -> int:
    """Disk that a prepared data set takes: what was fetched and its unpacked copy, or about 25 kB a drawn board."""
    return 2 * download_bytes if download_bytes else images * _DRAWN_IMAGE


def _network(settings: Settings) -> str | None:
    """The network's name in the tables."""
    name = settings.model.architecture
    return f"{name[:-1]}-p2{name[-1]}" if name is not None and settings.techniques.p2 else name


def _size(table: dict[str, dict[str, float]], architecture: str | None) -> float | None:
    if architecture is None:
        return None
    return table[architecture][""] if architecture in table else table[architecture[:-1]][architecture[-1]]
