"""Non-maximum suppression inside the graph, in standard operators, for any batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recipebox.evaluate.postprocess import MAX_DETECTIONS, NMS_IOU

if TYPE_CHECKING:
    import onnx

LOWEST_SCORE = 0.001
"""Boxes below it are dropped inside; whoever runs the file applies the threshold that ships."""
CANDIDATES = 512
"""Boxes of the highest scores that are looked at. Evaluation looks at all that score above LOWEST_SCORE; at a threshold
that ships there are never so many."""
ROUNDS = 16


def with_nms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a detector whose output is (B, up to MAX_DETECTIONS, 6): x1, y1, x2, y2, score, class, best first.

    One class a box, and class by class, as `evaluate.postprocess.detections` does it on a line; rows without a box are
    zeros. ONNX's own operator is not used: TensorRT-RTX parses it and has nothing that runs it, and the length of its
    list is known to nobody beforehand. Instead of going through the boxes one after the other, each is asked in rounds
    whether a better one that is still there overlaps it. What the first n boxes of a chain come to is settled after n
    rounds; chains of more than ROUNDS boxes, each overlapped by the one before, do not occur.

    Args:
        model: a graph whose output is (B, 4 + nc, anchors), float32.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    raw = graph.output[0]
    batch, channels, anchors = raw.type.tensor_type.shape.dim
    candidates = min(CANDIDATES, anchors.dim_value)
    shown = min(MAX_DETECTIONS, candidates)
    build = _Nodes(graph, raw.name)
    corners, scores, classes = build.candidates(channels.dim_value - 4, candidates)
    left = build.rounds(scores, build.overlapping(corners, classes, candidates))
    output = build.ranked(corners, classes, left, shown)
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

    def number(self, value: float) -> str:
        return self.constant(value, np.float32)

    def flag(self, condition: str) -> str:
        """Truth as 0 and 1, float32."""
        return str(self.call("Cast", condition, to=1))

    def picked(self, corners: str, classes: str, places: str) -> tuple[str, str]:
        """Rows of corners (B, n, 4) and of classes (B, n, 1) at places (B, n)."""
        column = self.call("Unsqueeze", places, self.constant([2]))
        four = self.call("Concat", *[column] * 4, axis=2)
        return (
            self.call("GatherElements", corners, four, axis=1),
            self.call("GatherElements", classes, column, axis=1),
        )

    def candidates(self, nc: int, count: int) -> tuple[str, str, str]:
        """The best boxes: corners (B, count, 4), scores (B, count), best first, and classes (B, count, 1)."""
        centre, size, scores = self.call("Split", self.raw, self.constant([2, 2, nc]), outputs=3, axis=1)
        reach = self.call("Mul", size, self.number(0.5))
        corners = self.call("Concat", self.call("Sub", centre, reach), self.call("Add", centre, reach), axis=1)
        corners = self.call("Transpose", corners, perm=[0, 2, 1])
        best = self.call("ReduceMax", scores, self.constant([1]), keepdims=0)
        classes = self.flag(self.call("ArgMax", scores, axis=1, keepdims=0))
        best, places = self.call("TopK", best, self.constant([count]), outputs=2, axis=1)
        corners, classes = self.picked(corners, self.call("Unsqueeze", classes, self.constant([2])), places)
        return corners, best, classes

    def overlapping(self, corners: str, classes: str, count: int) -> str:
        """(B, count, count): 1 where the row's box is better, of the same class, and overlaps the column's too much."""
        low, high = self.call("Split", corners, self.constant([2, 2]), outputs=2, axis=2)
        rows, columns = self.constant([2]), self.constant([1])
        top = self.call("Max", self.call("Unsqueeze", low, rows), self.call("Unsqueeze", low, columns))
        bottom = self.call("Min", self.call("Unsqueeze", high, rows), self.call("Unsqueeze", high, columns))
        width, height = self.call(
            "Split", self.call("Relu", self.call("Sub", bottom, top)), self.constant([1, 1]), outputs=2, axis=3
        )
        shared = self.call("Squeeze", self.call("Mul", width, height), self.constant([3]))
        wide, tall = self.call("Split", self.call("Sub", high, low), self.constant([1, 1]), outputs=2, axis=2)
        area = self.call("Mul", wide, tall)
        both = self.call("Sub", self.call("Add", area, self.call("Transpose", area, perm=[0, 2, 1])), shared)
        much = self.flag(self.call("Greater", shared, self.call("Mul", both, self.number(NMS_IOU))))
        same = self.flag(self.call("Equal", classes, self.call("Transpose", classes, perm=[0, 2, 1])))
        better = self.constant(np.triu(np.ones((1, count, count)), 1), np.float32)
        return str(self.call("Mul", self.call("Mul", much, same), better))

    def rounds(self, scores: str, overlapping: str) -> str:
        """The scores of the boxes that are left, 0 for the others: (B, count)."""
        row = self.constant([1])
        there = self.call("Unsqueeze", self.flag(self.call("Greater", scores, self.number(LOWEST_SCORE))), row)
        left = there
        for _ in range(ROUNDS):
            gone = self.flag(self.call("Greater", self.call("MatMul", left, overlapping), self.number(0.5)))
            left = self.call("Mul", there, self.call("Sub", self.number(1.0), gone))
        return str(self.call("Mul", scores, self.call("Squeeze", left, row)))

    def ranked(self, corners: str, classes: str, left: str, shown: int) -> str:
        """(B, shown, 6), best first, the rest zeros."""
        score, places = self.call("TopK", left, self.constant([shown]), outputs=2, axis=1)
        corners, classes = self.picked(corners, classes, places)
        score = self.call("Unsqueeze", score, self.constant([2]))
        rows = self.call("Concat", corners, score, classes, axis=2)
        there = self.flag(self.call("Greater", score, self.number(0.0)))
        return str(self.call("Mul", rows, there, name=self.final))
