"""Which precision an engine really has, layer by layer: builds that fell back to FP32 without a word have happened."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipebox.export.graph import convolutions

if TYPE_CHECKING:
    import onnx

_WORDS = (
    ("int8", re.compile(r"int8", re.I)),
    ("fp16", re.compile(r"fp16|half", re.I)),
    ("fp32", re.compile(r"fp32|float", re.I)),
)


@dataclass(frozen=True)
class ReadBack:
    """What an engine's description of its layers says of its convolutions.

    `problems` is what is not as the ONNX file says; `verified` of `of` convolutions are described and in the file's
    precision. The builder may join several layers to one and name only some of them, so not all need to be.
    """

    problems: tuple[str, ...]
    verified: int
    of: int

    def to_json(self) -> dict[str, int]:
        """The `precision_read_back` entry beside an engine."""
        return {"verified": self.verified, "of": self.of}


def wanted_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """Convolution -> the precision that the ONNX file gives it: int8, fp16 or fp32; DFL's is no matter."""
    import onnx as onnx_module

    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    half = {entry.name for entry in model.graph.initializer if entry.data_type == onnx_module.TensorProto.FLOAT16}
    return {
        node.name: "int8"
        if made_by.get(node.input[0]) == "DequantizeLinear"
        else ("fp16" if node.input[1] in half else "fp32")
        for node in convolutions(model)
    }


def read_back(wanted: dict[str, str], layers: str) -> ReadBack:
    """Compare an engine with the ONNX file that it was built from. With less than half described that is a problem.

    Args:
        wanted: from `wanted_precisions`.
        layers: the engine inspector's JSON, of an engine built with detailed profiling.
    """
    try:
        described: Any = json.loads(layers)
        entries = described["Layers"]
    except (ValueError, KeyError, TypeError):
        why = "the engine does not describe its layers, so its precision cannot be read back"
        return ReadBack((why,), 0, len(wanted))
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        text = f"{entry.get('Name', '')} {entry.get('Metadata', '')}" if _computes(entry) else ""
        here = _input_precision(entry) if text else None
        if here is not None:
            found |= {name: here for name in wanted if re.search(rf"{re.escape(name)}(?![\w./])", text)}
    wrong = [(name, here) for name, here in found.items() if here != wanted[name]]
    verified = len(found) - len(wrong)
    if len(found) < len(wanted) / 2:
        why = f"of {len(wanted)} convolutions only {len(found)} are found in the engine's description of its layers"
        return ReadBack((why,), verified, len(wanted))
    if not wrong:
        return ReadBack((), verified, len(wanted))
    why = (
        f"{len(wrong)} of {len(found)} convolutions run in another precision than the file says "
        f"(first: {wrong[0][0]} in {wrong[0][1]} instead of {wanted[wrong[0][0]]})"
    )
    return ReadBack((why,), verified, len(wanted))


def _computes(layer: Any) -> bool:
    """Whether an entry describes more than a copy in another format, which is named after the layer that it serves."""
    if not isinstance(layer, dict):
        return False
    return layer.get("LayerType") != "Reformat" and not str(layer.get("Name", "")).startswith("Reformatting CopyNode")


def _input_precision(layer: dict[str, Any]) -> str | None:
    inputs = layer.get("Inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict) else {}
    text = str(first.get("Format/Datatype", ""))
    return next((name for name, pattern in _WORDS if pattern.search(text)), None)
