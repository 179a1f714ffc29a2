"""Reading an ONNX graph of a detector: folded constants, and which of its nodes are the decode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recipebox.errors import storage_errors

if TYPE_CHECKING:
    import onnx


def folded(content: bytes) -> onnx.ModelProto:
    """The same network without arithmetic on constants and shapes, its nodes in order of computation.

    ONNX Runtime's basic optimisation does it: only standard operators come out.

    Raises:
        StorageError: the temporary folder is full.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with storage_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="recipebox-fold-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The initializers by name."""
    from onnx import numpy_helper

    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Tensor -> the nodes that read it."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def decode_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that turn what the last convolutions say into boxes and scores.

    They are those with no convolution behind them. DFL is written as a convolution too, with the numbers of the bins
    for weights: it belongs to the decode.

    Args:
        model: a folded graph.
    """
    weights = constants(model)
    readers = consumers(model)
    leads_to_convolution: dict[str, bool] = {}
    for node in reversed(model.graph.node):
        here = node.op_type == "Conv" and not _is_dfl(node, weights)
        behind = (leads_to_convolution[reader.name] for name in node.output for reader in readers.get(name, []))
        leads_to_convolution[node.name] = here or any(behind)
    return [node.name for node in model.graph.node if not leads_to_convolution[node.name]]


def convolutions(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The convolutions that hold what was learnt, in order: all but DFL's."""
    weights = constants(model)
    return (node for node in model.graph.node if node.op_type == "Conv" and not _is_dfl(node, weights))


def last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that only the decode reads: the head's answers."""
    decode = set(decode_nodes(model))
    readers = consumers(model)
    return [
        node.name
        for node in convolutions(model)
        if all(reader.name in decode for name in node.output for reader in readers.get(name, []))
    ]


def _is_dfl(node: onnx.NodeProto, weights: dict[str, NDArray[Any]]) -> bool:
    kernel = weights.get(node.input[1]) if node.op_type == "Conv" else None
    if kernel is None or kernel.shape[0] != 1 or kernel.shape[2:] != (1, 1):
        return False
    return bool(np.array_equal(kernel.ravel(), np.arange(kernel.size)))
