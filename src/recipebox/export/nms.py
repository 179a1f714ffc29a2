"""Non-maximum suppression inside the graph, in standard operators, for any batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recipebox.evaluate.postprocess import MAX_DETECTIONS, NMS_IOU

if TYPE_CHECKING:
    import onnx

LOWEST_SCORE = 0.001
"""Boxes below it are dropped inside; whoever runs the file applies the threshold that ships."""
IN_A_CLASS = MAX_DETECTIONS
"""Most boxes of one class in an image."""


def with_nms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a detector whose output is (B, up to MAX_DETECTIONS, 6): x1, y1, x2, y2, score, class, best first.

    One class a box, and class by class, as `evaluate.postprocess.detections` does it on a line; rows without a box are
    zeros. A box has one class, so what is left fits a map of (B, anchors) scores, whose best are looked up: all shapes
    but that of the list in between are known when the graph is built, as TensorRT likes them.

    Args:
        model: a graph whose output is (B, 4 + nc, anchors), float32.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    raw = graph.output[0]
    batch, channels, anchors = raw.type.tensor_type.shape.dim
    shown = min(MAX_DETECTIONS, anchors.dim_value)
    build = _Nodes(graph, raw.name)
    corners, scores, best = build.best_class(channels.dim_value - 4)
    left = build.suppressed(corners, scores)
    output = build.ranked(corners, best, left, shown)
    side = batch.dim_param or batch.dim_value
    del graph.output[:], graph.value_info[:]
    graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [side, shown, 6]))
    return made


class _Nodes:
    """Writes operators behind a graph's output; `call` returns the name of what it made."""

    def __init__(self, graph: onnx.GraphProto, raw: str) -> None:
        self.graph, self.count = graph, 0
        self.final = raw
        # The output keeps its name, so what was called so before is renamed.
        self.raw = f"{raw}/raw"
        for node in graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == raw:
                        names[index] = self.raw

    def call(self, operator: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> Any:
        import onnx

        self.count += 1
        made = [name or f"nms/{self.count}_{index}" for index in range(outputs)]
        node = onnx.helper.make_node(operator, list(inputs), made, name=f"nms/{self.count}_{operator}", **attributes)
        self.graph.node.append(node)
        return made if outputs > 1 else made[0]

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        from onnx import numpy_helper

        self.count += 1
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"nms/{self.count}"))
        return f"nms/{self.count}"

    def best_class(self, nc: int) -> tuple[str, str, str]:
        """Corners (B, anchors, 4), scores (B, nc, anchors), 0 but for the best class, and that class (B, anchors)."""
        sizes = self.constant([2, 2, nc])
        centre, size, scores = self.call("Split", self.raw, sizes, outputs=3, axis=1)
        reach = self.call("Mul", size, self.constant(0.5, np.float32))
        corners = self.call("Concat", self.call("Sub", centre, reach), self.call("Add", centre, reach), axis=1)
        best = self.call("ArgMax", scores, axis=1, keepdims=1)
        chosen = self.call("Equal", self.constant(np.arange(nc).reshape(1, nc, 1)), best)
        alone = self.call("Mul", scores, self.call("Cast", chosen, to=1))
        best = self.call("Squeeze", self.call("Cast", best, to=1), self.constant([1]))
        return self.call("Transpose", corners, perm=[0, 2, 1]), alone, best

    def suppressed(self, corners: str, scores: str) -> str:
        """The scores of the boxes that are left, 0 for the others: (B, anchors)."""
        limits = (
            self.constant([IN_A_CLASS]),
            self.constant([NMS_IOU], np.float32),
            self.constant([LOWEST_SCORE], np.float32),
        )
        picked = self.call("NonMaxSuppression", corners, scores, *limits)
        image, _, anchor = self.call("Split", picked, self.constant([1, 1, 1]), outputs=3, axis=1)
        every = self.call("ReduceMax", scores, self.constant([1]), keepdims=0)
        nothing = self.call("Sub", every, every)
        where = self.call("Concat", image, anchor, axis=1)
        return str(self.call("ScatterND", nothing, where, self.call("GatherND", scores, picked)))

    def ranked(self, corners: str, best: str, left: str, shown: int) -> str:
        """(B, shown, 6), best first, the rest zeros."""
        last = self.constant([2])
        score, places = self.call("TopK", left, self.constant([shown]), outputs=2, axis=1)
        column = self.call("Unsqueeze", places, last)
        boxes = self.call("GatherElements", corners, self.call("Concat", *[column] * 4, axis=2), axis=1)
        classes = self.call("Unsqueeze", self.call("GatherElements", best, places, axis=1), last)
        score = self.call("Unsqueeze", score, last)
        rows = self.call("Concat", boxes, score, classes, axis=2)
        there = self.call("Cast", self.call("Greater", score, self.constant(0, np.float32)), to=1)
        return str(self.call("Mul", rows, there, name=self.final))
