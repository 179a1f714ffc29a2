"""Symmetric INT8 as Q/DQ in the graph, by ONNX Runtime's quantizer, in the form that TensorRT's parser takes."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipebox.errors import BadInput, storage_errors
from recipebox.export.calibration import CalibrationImages, clipping_points
from recipebox.export.graph import convolutions

if TYPE_CHECKING:
    import onnx


def quantized(model: onnx.ModelProto, images: CalibrationImages, *, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a folded float32 graph whose convolutions take INT8 inputs and hold INT8 weights.

    Activations have one scale a tensor, weights one a channel; all zero points are 0 and biases stay as they are, since
    TensorRT refuses anything else. What a convolution returns is not rounded: it is rounded once, where the next one
    takes it, after the activation function. The decode is left alone.

    Args:
        model: a folded graph.
        images: what activations are measured on.
        keep: convolutions that are not quantised.

    Raises:
        BadInput: `keep` names what is no convolution of this network, or leaves none.
        StorageError: the temporary folder is full.
    """
    names = [node.name for node in convolutions(model)]
    unknown = sorted(set(keep) - set(names))
    if unknown:
        raise BadInput(
            f"--keep {unknown[0]}: no convolution of this network has that name. There are {names[0]}, {names[1]} "
            f"and so on up to {names[-1]}."
        )
    chosen = [node for node in convolutions(model) if node.name not in set(keep)]
    if not chosen:
        raise BadInput("--keep names every convolution, so nothing would be INT8. Export with precision fp16.")
    tensors = list(dict.fromkeys(node.input[0] for node in chosen))
    return with_scales(model, [node.name for node in chosen], clipping_points(model, tensors, images))


def with_scales(model: onnx.ModelProto, nodes: list[str], clips: Mapping[str, float]) -> onnx.ModelProto:
    """Quantise the named convolutions with activations clipped at `clips`; see `quantized`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    options: dict[str, Any] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv"],
        "TensorQuantOverrides": {
            name: [{"scale": np.array(clip / 127.0, np.float32), "zero_point": np.array(0, np.int8)}]
            for name, clip in clips.items()
        },
    }
    model = _marked(model)
    with storage_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="recipebox-int8-") as folder:
        out = Path(folder) / "int8.onnx"
        with redirect_stdout(StringIO()):
            quantize_static(
                model,
                out,
                _OneImage(model),
                op_types_to_quantize=["Conv"],
                nodes_to_quantize=nodes,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options=options,
            )
        return onnx.load(out)


def _marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says what the quantizer would warn about otherwise: that it was folded beforehand."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    onnx.helper.set_model_props(made, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return made


class _OneImage:
    """The quantizer wants to see data, although every scale is given: a single black image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        entry = model.graph.input[0]
        shape = [max(1, side.dim_value) for side in entry.type.tensor_type.shape.dim]
        self.left = [{str(entry.name): np.zeros(shape, np.float32)}]

    def get_next(self) -> dict[str, Any] | None:
        return self.left.pop() if self.left else None
