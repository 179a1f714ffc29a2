"""FP16 in the graph itself: weights, activations and casts, with FP32 kept where the caller says."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from recipebox.errors import WeightsError

if TYPE_CHECKING:
    import onnx

_ALWAYS_FLOAT = {("Resize", 1), ("Resize", 2)}
"""Inputs that ONNX defines as float32 whatever the data is: region and scales."""


def halved(model: onnx.ModelProto, *, full: Collection[str]) -> onnx.ModelProto:
    """A copy of a folded graph that computes in FP16, but for the nodes named in `full`. Inputs and outputs stay FP32.

    ONNX Runtime's own converter (transformers.float16) gives two casts the same name where a node that stays FP32
    reads one tensor twice, and refuses nothing that overflows.

    Raises:
        WeightsError: a weight is beyond FP16's largest number, 65504.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    work = _Halving(made, set(full), _float_tensors(made))
    nodes = [produced for node in model.graph.node for produced in work.node(node)]
    nodes += work.outputs()
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [entry for entry in (*made.graph.initializer, *work.added) if entry.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all tensors that are float32 now."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = [*graph.value_info, *graph.input, *graph.output]
    names = {entry.name for entry in known if entry.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return names | {entry.name for entry in graph.initializer if entry.data_type == onnx.TensorProto.FLOAT}


class _Halving:
    """Goes through the nodes in order; each tensor is cast at most once in each direction."""

    def __init__(self, model: onnx.ModelProto, full: set[str], floats: set[str]) -> None:
        self.model, self.full, self.floats = model, full, floats
        self.weights = {entry.name: entry for entry in model.graph.initializer}
        self.results = {entry.name for entry in model.graph.output}
        self.half: set[str] = set()
        self.casts: dict[tuple[str, bool], str] = {}
        self.added: list[onnx.TensorProto] = []

    def node(self, original: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node as it is in the new graph, after the casts that it needs."""
        import onnx

        node = onnx.NodeProto()
        node.CopyFrom(original)
        before: list[onnx.NodeProto] = []
        wants_half = node.name not in self.full
        for index, name in enumerate(original.input):
            if name not in self.floats or (wants_half and (node.op_type, index) in _ALWAYS_FLOAT):
                continue
            node.input[index] = self._as(name, wants_half, before)
        if wants_half:
            _cast_to_half(node)
            for index, name in enumerate(original.output):
                if name in self.floats:
                    self.half.add(name)
                    node.output[index] = f"{name}/half" if name in self.results else name
        return [*before, node]

    def outputs(self) -> list[onnx.NodeProto]:
        """Casts of those outputs of the graph that are made in FP16."""
        return [_cast(f"{name}/half", name, half=False) for name in sorted(self.half & self.results)]

    def _as(self, name: str, half: bool, before: list[onnx.NodeProto]) -> str:
        """The name under which a tensor is to be had in the precision that is wanted."""
        key = (name, half)
        if name in self.weights:
            if not half:
                return name
            if key not in self.casts:
                self.casts[key] = f"{name}/half"
                self.added.append(_half_weight(self.weights[name], self.casts[key]))
            return self.casts[key]
        made = f"{name}/half" if name in self.half and name in self.results else name
        if (name in self.half) == half:
            return made
        if key not in self.casts:
            self.casts[key] = f"{name}/as_{'half' if half else 'float'}"
            before.append(_cast(made, self.casts[key], half=half))
        return self.casts[key]


def _cast(source: str, target: str, *, half: bool) -> onnx.NodeProto:
    import onnx

    to = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    return onnx.helper.make_node("Cast", [source], [target], name=f"cast/{target}", to=to)


def _cast_to_half(node: Any) -> None:
    """What a node makes by itself, not from its inputs, becomes FP16 too."""
    import onnx

    if node.op_type == "Cast":
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16


def _half_weight(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise WeightsError(
            f"{weight.name}: holds {largest:.3g}, beyond FP16's largest number (65504). "
            "Export with precision fp32, or train with more weight decay."
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
