"""What an engine is bound to, as a JSON file beside it: the plan itself says nothing that could be read safely."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipebox.errors import RunError, WeightsError
from recipebox.export.tensorrt.driver import Gpu
from recipebox.run_dir import read_object, write_json

SCHEMA = 1


@dataclass(frozen=True)
class Sidecar:
    """`best.engine.json` beside `best.engine`. The hashes are SHA-256; see `precision.ReadBack` for the last one."""

    engine_sha256: str
    onnx_sha256: str
    weights_sha256: str
    tensorrt: str
    cuda: str
    gpu: str
    compute_capability: str
    precision: str
    imgsz: int
    names: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    calibration_sha256: str | None = None
    precision_read_back: dict[str, int] | None = None

    def write(self, engine: Path) -> None:
        write_json(sidecar_path(engine), {"schema": SCHEMA, **asdict(self)})


def sidecar_path(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> Sidecar:
    """Raises WeightsError when there is none, or it is spoiled."""
    path = sidecar_path(engine)
    mend = (
        f"Without it nobody knows which GPU and file {engine.name} is for. "
        "Build the engine again: `recipebox export RUN --format engine`."
    )
    try:
        document = read_object(path, mend)
    except RunError as error:
        raise WeightsError(str(error)) from None
    if document.pop("schema", None) != SCHEMA:
        raise WeightsError(f"{path}: not schema {SCHEMA}. {mend}")
    wrong = [f"no usable {key}" for key, fits in _KINDS.items() if not fits(document.get(key))]
    wrong += [f"{key}, which nobody wrote" for key in sorted(set(document) - set(_KINDS))]
    if wrong:
        raise WeightsError(f"{path}: {'; '.join(wrong)}. {mend}")
    lists = ("names", "input_shape", "output_shape")
    values: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in document.items()}
    return Sidecar(**values)


def check_fits(engine: Path, content: bytes, sidecar: Sidecar, gpu: Gpu, tensorrt: str) -> None:
    """Whether a plan may be loaded here.

    Raises:
        WeightsError: it is another file than was built, or built on another GPU, by another TensorRT, or from another
            ONNX file than stands beside it.
    """
    again = "Build it again on this machine: `recipebox export RUN --format engine`."
    check_whole(engine, content, sidecar)
    built_on, here = (sidecar.gpu, sidecar.compute_capability), (gpu.name, gpu.compute_capability)
    if built_on != here:
        raise WeightsError(f"{engine}: was built on {_gpu(*built_on)}, and here is {_gpu(*here)}. {again}")
    if sidecar.tensorrt != tensorrt:
        raise WeightsError(f"{engine}: was built by TensorRT {sidecar.tensorrt}, and here is {tensorrt}. {again}")
    onnx = engine.with_suffix(".onnx")
    if onnx.is_file() and hashlib.sha256(onnx.read_bytes()).hexdigest() != sidecar.onnx_sha256:
        raise WeightsError(f"{engine}: was built from another file than {onnx.name} is now. {again}")


def check_whole(engine: Path, content: bytes, sidecar: Sidecar) -> None:
    """Raises WeightsError when the plan is not the one that was built, byte for byte."""
    found = hashlib.sha256(content).hexdigest()
    if found != sidecar.engine_sha256:
        raise WeightsError(
            f"{engine}: not the engine that was built (SHA-256 {found[:12]}..., {sidecar_path(engine).name} says "
            f"{sidecar.engine_sha256[:12]}...): it was changed or cut short. Build it again: "
            "`recipebox export RUN --format engine`."
        )


def _gpu(name: str, compute_capability: str) -> str:
    return f"{name} (compute capability {compute_capability})"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_shape(sides: int) -> Callable[[Any], bool]:
    """Of so many sides, all known but for the number of images (-1)."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == sides
        and (_is_count(value[0]) or value[0] == -1)
        and all(map(_is_count, value[1:]))
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        (
            "engine_sha256",
            "onnx_sha256",
            "weights_sha256",
            "tensorrt",
            "cuda",
            "gpu",
            "compute_capability",
            "precision",
        ),
        _is_text,
    ),
    "imgsz": _is_count,
    "names": lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
    "input_shape": _is_shape(4),
    "output_shape": _is_shape(3),
    "calibration_sha256": lambda value: value is None or _is_text(value),
    "precision_read_back": lambda value: (
        value is None
        or (isinstance(value, dict) and set(value) == {"verified", "of"} and all(map(_is_count, value.values())))
    ),
}
