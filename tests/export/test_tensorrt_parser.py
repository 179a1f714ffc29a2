"""NVIDIA's own parser and builder take every graph that is exported.

TensorRT-RTX runs both on a CPU. Its engines cannot run there, nor on an Orin, but a graph that it refuses TensorRT
refuses too. Its wheels (95 MB, under NVIDIA's licence) are not in the lock; without them these tests
skip:

    pip install tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from recipebox.errors import WeightsError
from recipebox.export.calibration import calibration_images
from recipebox.export.onnx import export_onnx
from recipebox.export.tensorrt.api import built
from recipebox.export.variant import Variant
from recipebox.recipe.schema import Calibration

rtx = pytest.importorskip(
    "tensorrt_rtx_bindings", reason="the wheels of TensorRT-RTX are not installed", exc_type=ImportError
)

CASES = [
    ("yolov8n", Variant()),
    ("yolov8n", Variant("fp16", batch="dynamic")),
    ("yolov8n", Variant("fp16", batch=2, nms=True)),
    ("yolov8n", Variant("int8")),
    ("yolov8n", Variant("int8", batch="dynamic", nms=True)),
    ("yolov8n", Variant("int8", batch=2, keep=("/model.1/conv/Conv", "/model.22/cv3.0/cv3.0.2/Conv"))),
    ("yolo11n", Variant("int8")),
    ("yolo26n", Variant()),
    ("yolo26n", Variant("fp16", batch="dynamic")),
    ("yolo26n", Variant("int8")),
    ("yolov8-mobilenetv3", Variant("int8")),
]


@pytest.mark.parametrize(("arch", "variant"), CASES, ids=lambda one: getattr(one, "name", one))
def test_every_graph_is_parsed_and_built(make: Any, tiny: Any, tmp_path: Path, arch: str, variant: Variant) -> None:
    sha256 = make.save_detector(tmp_path / "best.pt", tiny.data.test.images, arch=arch)
    images = calibration_images(tiny.data, Calibration(images=2), 64) if variant.precision == "int8" else None
    out = tmp_path / "best.onnx"
    export_onnx(tmp_path / "best.pt", out, 64, sha256=sha256, variant=variant, calibration=images)
    plan, timing = built(rtx, out.read_bytes())
    assert len(plan) > 100_000 and timing is None


def test_what_nvidia_refuses_is_said_in_its_words(tiny: Any, tmp_path: Path) -> None:
    """The form that ONNX Runtime's quantizer gives by itself: unsigned activations with a zero point."""
    from onnxruntime.quantization import quantize_static

    class Black:
        left = 1

        def get_next(self) -> Any:
            import numpy as np

            self.left -= 1
            return {"images": np.zeros((1, 3, 64, 64), np.float32)} if self.left == 0 else None

    export_onnx(tiny.weights, tmp_path / "best.onnx", 64, sha256=tiny.sha256)
    quantize_static(tmp_path / "best.onnx", tmp_path / "default.onnx", Black())
    with pytest.raises(WeightsError, match=r"does not take this ONNX file: .*(zero point|Int32)"):
        built(rtx, (tmp_path / "default.onnx").read_bytes())
    with pytest.raises(WeightsError, match="does not take this ONNX file"):
        built(rtx, b"\x89PNG not onnx")
    assert onnx.load(tmp_path / "best.onnx").graph.node
