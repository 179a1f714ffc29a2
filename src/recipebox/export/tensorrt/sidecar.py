"""What an engine is bound to, as a JSON file beside it: the plan itself says nothing that could be read safely."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipebox.errors import WeightsError
from recipebox.export.tensorrt.driver import Gpu
from recipebox.run_dir import write_json

SCHEMA = 1


@dataclass(frozen=True)
class Sidecar:
    """`best.engine.json` beside `best.engine`. The hashes are SHA-256."""

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

    def write(self, engine: Path) -> None:
        write_json(sidecar_path(engine), {"schema": SCHEMA, **asdict(self)})


def sidecar_path(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> Sidecar:
    """Raises WeightsError when there is none, or it is spoiled."""
    path = sidecar_path(engine)
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
            raise ValueError(f"not schema {SCHEMA}")
        for key, kind in _KINDS.items():
            if not kind(document.get(key)):
                raise ValueError(f"no usable {key}")
        lists = ("names", "input_shape", "output_shape")
        values: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in document.items()}
        return Sidecar(**values)
    except OSError as error:
        reason = error.strerror or "cannot be read"
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    raise WeightsError(
        f"{path}: {reason}. Without it nobody knows which GPU and file {engine.name} is for. "
        "Build the engine again: `recipebox export RUN --format engine`."
    )


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


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(side, int) for side in value) and bool(value)


_KINDS: dict[str, Any] = {
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
    "imgsz": lambda value: isinstance(value, int),
    "names": lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
    **dict.fromkeys(("input_shape", "output_shape"), _is_shape),
}
