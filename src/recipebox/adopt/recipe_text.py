"""The recipe as YAML, every choice with its reason beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap

from recipebox.adopt.choices import Facts, Profile
from recipebox.adopt.groups import Grouping

_SMOKE = {
    "epochs": 1,
    "imgsz": 128,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.001,
    "momentum": 0.9,
    "warmup_bias_lr": "null",
    "warmup_epochs": 0,
    "close_mosaic": 0,
}
_SMOKE_IMAGES = 16
_SIDES = re.compile(
    r"(?<![a-z])(left|right|links|rechts|izquierd[ao]|derech[ao]|gauche|droite?)(?![a-z])", re.IGNORECASE
)


def recipe_text(
    name: str, dataset: str, *, kind: str, facts: Facts, profiles: dict[str, Profile], grouping: Grouping | None
) -> str:
    """A recipe that stands alone: nothing in it falls back to other people's data.

    Args:
        dataset: as `data.dataset` names it.
        kind: of the folder, in words.
        grouping: of the splits that were made; None where the folder's own were kept.
    """
    gpu, cpu = profiles["gpu"], profiles["cpu"]
    images = ", ".join(f"{number} {side}" for side, number in facts.images.items() if number)
    splits = f"split by group: {grouping.said}" if grouping else "the folder's own splits"
    test = facts.images["test"] or facts.images["val"]
    lines = [
        f"# purpose:  YOLOv8n finds {_some(facts.names)}; a first recipe, to be beaten.",
        f"# data:     {_one_line(kind)}: {images}; {_one_line(splits)}.",
        "# needs:    gpu: one NVIDIA GPU. cpu: patience. COCO weights, found or fetched; else it starts from scratch.",
        f"# command:  make train RECIPE={name}          first: make check-data DATASET={_one_line(_scalar(dataset))}",
        "# The numbers are places to start from: `recipebox plan` says what they come to, `recipebox sweep` compares.",
        f"data: {{dataset: {_scalar(dataset)}}}",
        "model: {weights: yolov8n.pt, fallback: scratch}",
        *_train(gpu, 0),
        *_augment(facts.names),
        *_ema(gpu, 0),
        *([f"bench: {{images: {test}}}  # all there are for it"] if test < 100 else []),
        "profiles:",
        "  gpu: {}  # as above",
        "  cpu:",
        *_train(cpu, 4),
        *_ema(cpu, 4),
        "  smoke:  # does everything once and learns nothing; shows that data and installation work",
    ]
    if facts.images["train"] > _SMOKE_IMAGES:
        lines.append(f"    data: {{images: {_SMOKE_IMAGES}}}")
    lines += ["    train:", *(f"      {key}: {value}" for key, value in _SMOKE.items())]
    lines += ["    techniques: {ema: {tau: 1}}", f"    bench: {{images: {min(test, 20)}}}"]
    return "\n".join(lines) + "\n"


def _train(profile: Profile, indent: int) -> list[str]:
    pad = " " * indent
    lines = [f"{pad}train:"]
    for key, value in profile.train.items():
        lines += _entry(f"{pad}  {key}: {value}", profile.why.get(key))
    if indent == 0:
        lines.append("  seed: 0")
    return lines


def _entry(entry: str, why: str | None) -> list[str]:
    """A setting with its reason behind it, or above where that would be too long to read."""
    if why is None:
        return [entry]
    pad = entry[: len(entry) - len(entry.lstrip())]
    beside = f"{entry:<{len(pad) + 20}}  # {why}"
    above = wrap(why, 108 - len(pad), initial_indent=f"{pad}# ", subsequent_indent=f"{pad}#   ")
    return [beside] if len(beside) <= 110 else [*above, entry]


def _ema(profile: Profile, indent: int) -> list[str]:
    pad = " " * indent
    return [f"{pad}techniques:", f"{pad}  ema: {{decay: 0.9999, tau: {profile.tau}}}  # {profile.why['tau']}"]


def _augment(names: Sequence[str]) -> list[str]:
    """Mirroring turns left into right: a class of that name would learn from wrong labels."""
    if any(_SIDES.search(name.replace("_", " ")) for name in names):
        return ["augment: {fliplr: 0}  # class names tell left from right, and a mirrored image has them wrong"]
    return []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(_one_line(name)[:30] for name in names[:6])
    return f"{shown} and {len(names) - 6} more classes" if len(names) > 6 else shown


def _one_line(text: str) -> str:
    """Fit for a comment: what would end it, or speak to a terminal, is written as an escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _scalar(text: str) -> str:
    """A YAML scalar, quoted where it is not plainly a name or a path."""
    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", text) and text.lower() not in {
        *("y", "n", "yes", "no", "on", "off", "true", "false", "null"),
    }
    if plain:
        return text
    escaped = "".join(each if each.isprintable() and each not in '"\\' else f"\\U{ord(each):08x}" for each in text)
    return f'"{escaped}"'
