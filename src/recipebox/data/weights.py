"""Finding initial weights, and refusing those that nobody vouches for.

A .pt file is a pickle: loading one runs the code in it. So a file is used only when its SHA-256 is known here, stands
in the recipe, or the user says to trust it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from recipebox.data.archive import file_sha256
from recipebox.data.fetch import download
from recipebox.data.places import as_path, weights_roots
from recipebox.errors import DataError, WeightsError

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
"""The release that `ultralytics.utils.downloads.attempt_download_asset` of 8.4 fetches from."""

KNOWN_WEIGHTS: dict[str, str] = {
    "yolov8n.pt": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36",
    "yolov8s.pt": "1f47a78bf100391c2a140b7ac73a1caae18c32779be7d310658112f7ac9aa78a",
    "yolov8m.pt": "5d4a90cdc7a21786cc59cd19778e9eafff836df9e2da32524737c7ee6efe4fe5",
    "yolov8l.pt": "64c9115303f6a25575f82200d1b22ec409fa6bd7d08d0313884fc20d919478cd",
    "yolov8x.pt": "3df4ada6b4dad6d657868f2fdf7faecfb34dcfccf3a25c4b82079064718524c8",
    "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s.pt": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m.pt": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
    "yolo11l.pt": "9ebd0e09d59811db4b1d61e2bc6730649608b1ac47f8dd01e2da6bca7c20023f",
    "yolo11x.pt": "7bc158aa95c0ebfdd87f70f01653c1131b93e92522dbe15c228bcd742e773a24",
    "yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
    "yolo26s.pt": "646f8bc3fe0a656803d95c294f7852321748cb29d13466a1af8862e2db384a1b",
    "yolo26m.pt": "401cea9ab23ad19246ff7744859816bc599f350e93c9dd30367b6f0a0745d0b7",
    "yolo26l.pt": "9fe3c544f2b19bebad7ea41e76d7ad3d88b7c2f10d11d24430c5311f6b32db26",
    "yolo26x.pt": "9fdd44a31c504547ffb81d2c6d9e6dac3493c8eaa8b0398d3f43bae6c7003e92",
}
"""SHA-256 by file name. yolov8n and yolov8s: hashed from the files. The others: the digests GitHub shows for the
assets of the v8.4.0 release, as recorded by public projects: the fetch scripts of `mozo` (tools/fetch/, read from
GitHub's API) and the model catalogue of `bird_sharpness`; each stands in at least two projects' lists of pins."""

_DOWNLOAD_BYTES: dict[str, int] = {
    "yolov8n.pt": 6_549_796,
    "yolov8s.pt": 22_588_772,
    "yolov8m.pt": 52_136_884,
    "yolov8l.pt": 87_792_836,
    "yolov8x.pt": 136_890_692,
    "yolo11n.pt": 5_613_764,
    "yolo11s.pt": 19_313_732,
    "yolo11m.pt": 40_684_120,
    "yolo11l.pt": 51_387_343,
    "yolo11x.pt": 114_636_239,
    "yolo26n.pt": 5_544_453,
    "yolo26s.pt": 20_422_725,
    "yolo26m.pt": 44_255_705,
    "yolo26l.pt": 53_211_173,
    "yolo26x.pt": 118_667_365,
}


def find_weights(name: str, *, sha256: str | None = None, trust: bool = False, allow_fetch: bool = True) -> Path:
    """The weights file that `name` means, with its hash checked.

    Looked for as a path, in $RECIPEBOX_WEIGHTS, in the user's cache, then fetched if it is one of `KNOWN_WEIGHTS`.

    Args:
        name: a path, or a file name such as yolov8n.pt.
        sha256: the hash the recipe vouches for (`model.sha256`).
        trust: the user vouches for the file (`--trust-weights`).
        allow_fetch: whether the network may be asked.

    Raises:
        WeightsError: not found, corrupted, or unknown and not vouched for.
        StorageError: fetched weights cannot be kept.
    """
    found = _locate(name)
    if found is None:
        return _fetch(name, sha256, allow_fetch)
    _check(found, sha256, trust)
    return found


def weights_available(name: str, sha256: str | None = None) -> bool:
    """Whether `find_weights` would find a file without the network. Quick: nothing is hashed."""
    return _locate(name) is not None


def download_bytes(name: str) -> int | None:
    """How much a fetch of these weights transfers; None where they cannot be fetched."""
    return _DOWNLOAD_BYTES.get(name)


def _locate(name: str) -> Path | None:
    given = as_path(name)
    candidates = [given] if given.is_absolute() else [given, *(root / name for root in weights_roots())]
    return next((path.absolute() for path in candidates if os.path.isfile(path)), None)


def _fetch(name: str, sha256: str | None, allow_fetch: bool) -> Path:
    expected = KNOWN_WEIGHTS.get(name)
    if expected is None:
        near = difflib.get_close_matches(name, KNOWN_WEIGHTS, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise WeightsError(
            f"{name}: no such weights file. Looked for as a path and in {_places()}.{meant} Known by name: "
            f"{', '.join(KNOWN_WEIGHTS)}; anything else is given as a path, or `weights: scratch` starts without."
        )
    if sha256 is not None and sha256 != expected:
        raise WeightsError(
            f"{name}: the recipe's model.sha256 is {sha256}, but the published file has {expected}. "
            "Take model.sha256 out, or place the file that the recipe means in $RECIPEBOX_WEIGHTS."
        )
    out = weights_roots()[-1] / name
    if not allow_fetch:
        raise WeightsError(
            f"{name}: not found in {_places()}. Place it there (from {RELEASE}/{name}), or let the recipe start from "
            "`weights: scratch`."
        )
    try:
        return download(f"{RELEASE}/{name}", out, expected, name)
    except DataError as error:
        raise WeightsError(str(error)) from None


def _check(path: Path, sha256: str | None, trust: bool) -> None:
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}). Mend its permissions, or copy it again."
        ) from None
    if sha256 is not None:
        if digest != sha256:
            raise WeightsError(
                f"{path}: has SHA-256 {digest}, but the recipe's model.sha256 is {sha256}. "
                "Replace the file, or correct the recipe."
            )
        return
    if digest == KNOWN_WEIGHTS.get(path.name, digest) and digest in KNOWN_WEIGHTS.values():
        return
    if path.name in KNOWN_WEIGHTS:
        other = next((f" (it is {name})" for name, known in KNOWN_WEIGHTS.items() if known == digest), "")
        raise WeightsError(
            f"{path}: corrupted, or not the published {path.name}: it has SHA-256 {digest}{other}, published is "
            f"{KNOWN_WEIGHTS[path.name]}. Delete it and fetch it again ({RELEASE}/{path.name}); if it is a file of "
            "your own, give it another name."
        )
    if not trust:
        raise WeightsError(
            f"{path}: unknown weights (SHA-256 {digest}). A .pt file is a pickle: loading it runs whatever code is in "
            "it. If you trust where it comes from, put\n"
            f"    model: {{sha256: {digest}}}\n"
            "into the recipe, or pass --trust-weights."
        )


def _places() -> str:
    return " and ".join(str(root) for root in weights_roots())
