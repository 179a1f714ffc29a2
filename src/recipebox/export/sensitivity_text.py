"""A scan for people: the costliest convolutions, what was measured, and the command that follows from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

SHOWN = 12
"""Rows of the table; sensitivity.json has them all."""


def sensitivity_text(document: dict[str, Any], run: Path, again: str) -> str:
    """For people.

    Args:
        document: what `sensitivity` returned.
        run: the run's folder.
        again: the options of `recipebox export` that name the variant, such as `--precision int8`.
    """
    images, layers = document["images"], document["layers"]
    width = max(len(layer["name"]) for layer in layers)
    lines = [
        f"What INT8 costs in one convolution alone, on {images['ranked']} images of {document['split']}: the part of "
        "FP32's detections",
        "that is lost (overlap times score; 0 none, 1 all), and its standard error.",
        "",
        f"  {'kept in FP16 by --keep':<{width}}    cost    noise",
    ]
    lines += [f"  {one['name']:<{width}}  {one['cost']:.4f}  +-{one['noise']:.4f}" for one in layers[:SHOWN]]
    if len(layers) > SHOWN:
        rest = layers[SHOWN:]
        lines.append(f"  {f'{len(rest)} more, each at most':<{width}}  {rest[0]['cost']:.4f}")
    decode = document["decode"]
    lines += [
        f"  {'the decode, were it quantised':<{width}}  {decode['cost']:.4f}  +-{decode['noise']:.4f}  (always FP32)",
        "",
        f"Whole files on {images['checked']} images of {document['split']}, mAP50-95 of FP32 "
        f"{document['fp32']['mAP50-95']:.4f}, {document['max_map_drop']:g} may be lost:",
    ]
    lines += [f"  {_kept(one):<8}  {one['mAP50-95']:.4f}  {-one['map_drop']:+.4f}" for one in document["tried"]]
    return "\n".join([*lines, "", *_advice(document, run, again)])


def _kept(checked: dict[str, Any]) -> str:
    return f"{len(checked['keep'])} kept"


def _advice(document: dict[str, Any], run: Path, again: str) -> list[str]:
    found, plain = document.get("suggested"), document["plain"]
    if found is None:
        return [
            "Keeping half of the convolutions is not enough either: export with --precision fp16, or calibrate on more "
            "images (export.calibration.images).",
        ]
    lost = f"it loses {found['map_drop']:.4f} +-{found['noise']:.4f} there"
    if found["keep"] == plain["keep"]:
        return [f"Nothing more need be kept: {lost}. The gate measures it on the test split."]
    names = " ".join(f"--keep {shlex.quote(name)}" for name in found["keep"])
    sure = (
        "" if found["map_drop"] + found["noise"] <= document["max_map_drop"] else ", which is within noise of too much"
    )
    return [
        f"The shortest list found that passes on these images: {lost}{sure}.",
        f"The gate measures the same file (SHA-256 {found['sha256'][:12]}) on the test split:",
        f"  recipebox export {shlex.quote(str(run))} {again} {names}",
        f"or in the recipe: export: {{precision: int8, keep: [{', '.join(found['keep'])}]}}",
    ]
