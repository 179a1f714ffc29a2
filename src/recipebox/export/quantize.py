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
from recipebox.export.graph import convolutions, decode_nodes

if TYPE_CHECKING:
    import onnx


SMALLEST_SCALE = float(np.finfo(np.float16).tiny)
"""Scales become FP16 with the graph. A smaller one would lose digits, or become 0, which TensorRT's parser refuses; so
the integers are rounded for the scale that the file has."""


def activation_clips(model: onnx.ModelProto, images: CalibrationImages) -> dict[str, float]:
    """Where INT8 clips what each convolution of a folded graph reads; see `clipping_points`.

    Raises:
        WeightsError: an activation is not finite.
    """
    return clipping_points(model, list(dict.fromkeys(node.input[0] for node in convolutions(model))), images)


def quantized(model: onnx.ModelProto, clips: Mapping[str, float], *, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a folded float32 graph whose convolutions take INT8 inputs and hold INT8 weights.

    Activations have one scale a tensor, weights one a channel; all zero points are 0 and biases stay as they are, since
    TensorRT refuses anything else. What a convolution returns is not rounded: it is rounded once, where the next one
    takes it, after the activation function. The decode is left alone.

    Args:
        model: a folded graph.
        clips: its `activation_clips`.
        keep: convolutions that are not quantised.

    Raises:
        BadInput: `keep` names what is no convolution of this network, or leaves none.
        StorageError: the temporary folder is full.
    """
    check_keep(model, keep)
    chosen = [node for node in convolutions(model) if node.name not in set(keep)]
    return with_scales(model, [node.name for node in chosen], {node.input[0]: clips[node.input[0]] for node in chosen})


def check_keep(model: onnx.ModelProto, keep: Collection[str]) -> None:
    """Raises BadInput when `keep` names what is no convolution of a folded graph, or names them all."""
    names = [node.name for node in convolutions(model)]
    unknown = sorted(set(keep) - set(names))
    if unknown:
        raise BadInput(
            f"--keep {unknown[0]}: no convolution of this network has that name. There are {names[0]}, {names[1]} "
            f"and so on up to {names[-1]}."
        )
    if set(keep) == set(names):
        raise BadInput("--keep names every convolution, so nothing would be INT8. Export with precision fp16.")


def with_scales(model: onnx.ModelProto, nodes: list[str], clips: Mapping[str, float]) -> onnx.ModelProto:
    """Quantise the named convolutions with activations clipped at `clips`; see `quantized`."""
    scales = {name: np.array(max(clip / 127.0, SMALLEST_SCALE), np.float32) for name, clip in clips.items()}
    options: dict[str, Any] = {
        "OpTypesToExcludeOutputQuantization": ["Conv"],
        "TensorQuantOverrides": {
            name: [{"scale": scale, "zero_point": np.array(0, np.int8)}] for name, scale in scales.items()
        },
    }
    return _by_onnxruntime(model, nodes, ["Conv"], _OneImage(model), options)


def _by_onnxruntime(
    model: onnx.ModelProto, nodes: list[str], types: list[str], reader: Any, options: dict[str, Any]
) -> onnx.ModelProto:
    """ONNX Runtime's quantizer with the settings that NVIDIA's parser accepts, and more of them."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    accepted: dict[str, Any] = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    # The range of a channel's weights, 2 * 127 scales wide and a little more, so that none falls below by rounding.
    accepted["MinimumRealRange"] = 256 * SMALLEST_SCALE
    model = _marked(model)
    with storage_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="recipebox-int8-") as folder:
        out = Path(folder) / "int8.onnx"
        with redirect_stdout(StringIO()):
            quantize_static(
                model,
                out,
                reader,
                op_types_to_quantize=types,
                nodes_to_quantize=nodes,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options=accepted | options,
            )
        return onnx.load(out)


def one_quantized(model: onnx.ModelProto, all_of_them: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A copy of a folded graph in which a single convolution is quantised, as it is in the graph where all are.

    Made of parts of both, since the quantizer takes seconds for a graph.

    Args:
        model: a folded graph.
        all_of_them: what `quantized` made of it.
        name: the convolution.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.opset_import[:]
    made.opset_import.extend(all_of_them.opset_import)
    producers = {output: node for node in all_of_them.graph.node for output in node.output}
    rounded = next(node for node in all_of_them.graph.node if node.name == name)
    wanted = [node for tensor in rounded.input[:2] for node in _rounding(tensor, producers)]
    place = next(index for index, node in enumerate(made.graph.node) if node.name == name)
    made.graph.node[place].input[:2] = rounded.input[:2]  # a bias has another name there, and the same values
    for node in reversed(wanted):
        made.graph.node.insert(place, node)
    held = {entry.name for entry in made.graph.initializer}
    read = {tensor for node in wanted for tensor in node.input} - held
    made.graph.initializer.extend(entry for entry in all_of_them.graph.initializer if entry.name in read)
    return made


def _rounding(tensor: str, producers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The Q/DQ in front of a convolution's input, in order of computation; the weights have no Q."""
    found: list[onnx.NodeProto] = []
    while tensor in producers and producers[tensor].op_type in {"QuantizeLinear", "DequantizeLinear"}:
        found.insert(0, producers[tensor])
        tensor = producers[tensor].input[0]
    return found


def with_quantized_decode(model: onnx.ModelProto, images: CalibrationImages) -> onnx.ModelProto:
    """A copy of a folded graph whose decode, and nothing else, is quantised: what a quantizer does that is not told.

    It shows what that costs (`export.sensitivity`); no file is ever exported so. Scales come from the largest values.

    Raises:
        StorageError: the temporary folder is full.
    """
    decode = set(decode_nodes(model))
    types = sorted({node.op_type for node in model.graph.node if node.name in decode})
    return _by_onnxruntime(model, sorted(decode), types, _SomeImages(model, images), {})


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


class _SomeImages:
    """A few of the calibration images, for scales that ONNX Runtime finds by itself."""

    def __init__(self, model: onnx.ModelProto, images: CalibrationImages) -> None:
        entry = model.graph.input[0]
        self.name, self.left = str(entry.name), images.batches(entry.type.tensor_type.shape.dim[0].dim_value or 1)
        self.most = 8

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.left, None) if self.most else None
        self.most -= 1
        return None if batch is None else {self.name: batch}
