"""Where to start training from: each number with its reason. Rules of thumb, and said to be such."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from recipebox.adopt.found import Item
from recipebox.adopt.image_size import image_size
from recipebox.recipe.estimate import optimizer_steps, steps_per_epoch

FINEST_STRIDE = 8
_CELLS = 2
_SMALLEST_IMGSZ, _LARGEST_IMGSZ = 320, 1280
_BYTES_A_PIXEL = 550
"""Of the input, forward and backward: YOLOv8n, float32, from the peak memory of batches of 2 and 8 at 320 and of 2 at
640 px on a CPU. Mixed precision needs less."""
_SAMPLE = 400
_VIEWS = {"gpu": 70_000, "cpu": 8_400}
"""Images shown in a run: 100 epochs of DeepPCB's 700, and 12."""
_EPOCHS = {"gpu": (30, 300), "cpu": (3, 100)}
_FEW_STEPS = 1000


@dataclass(frozen=True)
class Facts:
    """What the choices rest on.

    Attributes:
        images: by split.
        small_side: of the shorter sides of boxes the one that a tenth falls below, as a share of the image's longer
            side; the next is the median.
        long_side: median of the images' longer sides, pixels; None where no image could be looked at. So with the
            sides of boxes.
    """

    images: dict[str, int]
    names: tuple[str, ...]
    small_side: float | None
    usual_side: float | None
    long_side: int | None


@dataclass(frozen=True)
class Memory:
    """Bytes that training may use: of the GPU (None: none, or nobody says), and of the machine."""

    gpu: int | None
    machine: int


@dataclass
class Profile:
    """Settings of one kind of machine; `why` is keyed by the name of a `train` setting, or `tau`."""

    train: dict[str, Any]
    tau: int
    why: dict[str, str] = field(default_factory=dict)


def look(items: Sequence[Item], sides: Sequence[str], names: Sequence[str], seed: int = 0) -> Facts:
    """Measure boxes in up to 400 images, chosen by `seed`."""
    chosen = [item for item in items if item.boxes]
    if len(chosen) > _SAMPLE:
        chosen = random.Random(seed).sample(chosen, _SAMPLE)
    longs: list[int] = []
    shares: list[float] = []
    for item in chosen:
        size = image_size(item.image)
        if size is not None:
            longs.append(max(size))
            shares += [min(box[3] * size[0], box[4] * size[1]) / max(size) for box in item.boxes]
    counts = {side: sum(each == side for each in sides) for side in ("train", "val", "test")}
    shares.sort()
    if not shares:
        return Facts(counts, tuple(names), None, None, None)
    return Facts(counts, tuple(names), shares[len(shares) // 10], median(shares), round(median(longs)))


def memory_here() -> Memory:
    """Of this machine and its first GPU, without torch."""
    return Memory(_gpu_memory(), _machine_memory())


def choose(facts: Facts, memory: Memory) -> dict[str, Profile]:
    """The settings for gpu and cpu."""
    return {kind: _profile(kind, facts, memory) for kind in ("gpu", "cpu")}


def _profile(kind: str, facts: Facts, memory: Memory) -> Profile:
    needed, why_imgsz = _imgsz(facts)
    imgsz = needed
    if kind == "cpu" and imgsz > _SMALLEST_IMGSZ:
        imgsz = max(_SMALLEST_IMGSZ, _up(imgsz / 2))
        share = round(100 * (imgsz / needed) ** 2)
        why_imgsz = f"{share} % of the time of {needed}{_seen(facts, imgsz, '; ')}"
    batch, why_batch = _batch(kind, facts, imgsz, memory)
    train = facts.images["train"]
    fewest, most = _EPOCHS[kind]
    epochs = min(max(round(_VIEWS[kind] / train), fewest), most)
    batches = steps_per_epoch(train, batch)
    warmup = min(3.0, max(0.5, epochs / 10 // 0.5 * 0.5))
    nbs = 64 if kind == "gpu" and optimizer_steps(batches, epochs, batch, 64, warmup) >= _FEW_STEPS else batch
    steps = optimizer_steps(batches, epochs, batch, nbs, warmup)
    few = steps < _FEW_STEPS
    settings: dict[str, Any] = {"epochs": epochs, "imgsz": imgsz, "batch": batch, "nbs": nbs}
    if few:
        settings |= {"optimizer": "AdamW", "lr0": 0.001, "momentum": 0.9, "warmup_bias_lr": 0.0}
    else:
        settings |= {"optimizer": "SGD", "lr0": 0.01, "momentum": 0.937, "warmup_bias_lr": 0.1}
    settings |= {"warmup_epochs": warmup, "close_mosaic": min(10, epochs // 4)}
    bound = f" ({fewest} epochs at least, {most} at most)" if epochs in (fewest, most) else ""
    why = {
        "epochs": f"shows {epochs * train} images; pcb-baseline shows {_VIEWS[kind]}{bound}",
        "imgsz": why_imgsz,
        "batch": why_batch,
        "nbs": f"{steps} optimizer steps: " + ("every batch makes one" if nbs == batch else "enough to gather 64"),
        "optimizer": "adapts within few steps" if few else "steps enough; it usually ends higher than Adam",
        "warmup_epochs": "about a tenth of the run, at most 3",
        "close_mosaic": "the last epochs see whole images, as the line will",
    }
    tau = max(1, round(steps / 5))
    return Profile(settings, tau, why | {"tau": f"a fifth of the {steps} steps: the average leaves the start behind"})


def _imgsz(facts: Facts) -> tuple[int, str]:
    if facts.small_side is None or facts.long_side is None:
        return 640, "the size the weights were trained at: no image could be measured"
    most = min(_LARGEST_IMGSZ, max(_SMALLEST_IMGSZ, _up(facts.long_side)))
    needed = _up(_CELLS * FINEST_STRIDE / max(facts.small_side, 1e-6))
    imgsz = min(max(needed, _SMALLEST_IMGSZ), most)
    seen = _seen(facts, imgsz)
    if needed > imgsz:
        bound = f"the images are no larger ({facts.long_side} px)" if imgsz < _LARGEST_IMGSZ else "more costs too much"
        tiles = ". Below one cell: cut the images into tiles" if facts.small_side * imgsz < FINEST_STRIDE else ""
        return imgsz, f"{seen}; two cells of stride 8 would take {needed}, but {bound}{tiles}"
    return imgsz, f"{seen}; two cells of stride 8 are 16 px"


def _seen(facts: Facts, imgsz: int, before: str = "") -> str:
    if facts.small_side is None or facts.usual_side is None:
        return ""
    small, usual = facts.small_side * imgsz, facts.usual_side * imgsz
    return f"{before}boxes' shorter sides are {usual:.0f} px here (median), nine of ten above {small:.0f}"


def _batch(kind: str, facts: Facts, imgsz: int, memory: Memory) -> tuple[int, str]:
    each = _BYTES_A_PIXEL * imgsz**2
    there = memory.gpu if kind == "gpu" else memory.machine
    usual = 64 if kind == "gpu" and there is not None else 16
    by_memory = usual if there is None else there // 2 // each
    by_images = facts.images["train"] // 8
    batch = 2
    while batch * 2 <= min(usual, by_memory, by_images):
        batch *= 2
    needs = f"about {batch * each / 1e9:.1f} GB"
    if kind == "gpu" and there is None:
        needs += "; init saw no GPU's memory here, so look again where there is one"
    elif there is not None:
        needs += f" of {there / 1e9:.0f} GB {'on the GPU' if kind == 'gpu' else 'free'} here"
    return batch, needs + (f"; small, as there are {facts.images['train']} images" if batch * 2 > by_images else "")


def _up(side: float) -> int:
    """The next multiple of 32, the coarsest stride."""
    return max(32, -(-int(side + 0.999) // 32) * 32)


def _gpu_memory() -> int | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        return int(shown.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _machine_memory() -> int:
    """What is available, and no more than the container may use; 4 GB where nobody says."""
    found = []
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # `max` is no number: no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(found, default=4_000_000_000)
