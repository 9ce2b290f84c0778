"""Non-maximum suppression inside a graph: from the boxes and scores of all cells to rows of boxes.

For each image and class: boxes whose score is above `min_score`, the `candidates` best of them, of which one is
dropped if it overlaps a better one by more than `max_iou`; then the `keep` best of the image. Rows come by image, then
by class, then by falling score: class, score, x1, y1, x2, y2. Without `normalized` a box spans both its border pixels,
so its sides are one longer. These are the rules of PaddlePaddle's `multiclass_nms3`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from tinysight.graph import builder
from tinysight.graph.builder import FAR, Graph, Value, cast, known, shape_of
from tinysight.graph.onnx_file import OnnxModel
from tinysight.graph.sides import Sym
from tinysight.graph.simplify import replay

_NEVER = np.float32(-3e38)
_Pair: TypeAlias = tuple[Value, Value]


def multiclass_nms(
    graph: Graph, boxes: Value, scores: Value, *, min_score: float = 0.025, candidates: int = 1000,
    max_iou: float = 0.6, keep: int = 100, normalized: bool = True, background: int = -1,
) -> list[Value]:  # fmt: skip
    """Rows (R, 6) float32, the place of each among all boxes of all images (R, 1) int32, rows of each image (N,) int32.

    Args:
        graph: that the nodes are added to.
        boxes: (N, A, 4), x1, y1, x2, y2.
        scores: (N, K, A).
        min_score: boxes of a lower score, or just this one, are left out.
        candidates: boxes of a class that are looked at; -1: all.
        max_iou: overlap above which the worse box is left out.
        keep: boxes of an image; -1: all.
        normalized: see above.
        background: class id that gives no boxes; -1: none.
    """
    chosen_from = _candidates(graph, scores, candidates, background)
    limit = min(k if k > 0 else FAR for k in (candidates, keep))
    compared = boxes
    if not normalized:
        compared = graph.emit("Add", boxes, np.array([0, 0, 1, 1], np.float32))
    limits = (np.array([limit]), *(np.array([v], np.float32) for v in (max_iou, min_score)))
    chosen = graph.emit("NonMaxSuppression", compared, chosen_from, *limits)
    value = graph.emit("GatherND", scores, chosen)
    if keep > 0:
        chosen, value = _best_of_image(graph, chosen, value, boxes, keep)
    image, label, index = (graph.emit("Gather", chosen, np.array(i), axis=1) for i in range(3))
    place = graph.emit("Concat", *(_column(graph, column) for column in (image, index)), axis=1)
    columns = [_column(graph, column) for column in (cast(graph, label, np.float32), value)]
    rows = graph.emit("Concat", *columns, graph.emit("GatherND", boxes, place), axis=1)
    members = _one_hot(graph, image, boxes)
    counts = graph.emit("ReduceSum", members, np.array([0]), keepdims=0)
    count, flat = shape_of(boxes)[1], index
    if not isinstance(count, Sym):
        flat = graph.emit("Add", graph.emit("Mul", image, np.array(count)), index)
    return [rows, _column(graph, cast(graph, flat, np.int32)), cast(graph, counts, np.int32)]


def suppressed(model: OnnxModel, outputs: tuple[str, str], **rule: Any) -> OnnxModel:
    """`model`, whose outputs are boxes (N, A, 4) and scores (N, K, A), with rows and counts as its outputs.

    Args:
        model: a network.
        outputs: names of the new outputs.
        rule: keywords of `multiclass_nms`.

    Raises:
        Unsupported: an operator that cannot be followed.
    """
    graph = Graph()
    replay(model, graph)
    (_, boxes), (_, scores) = graph.outputs
    rows, _, counts = multiclass_nms(graph, boxes, scores, **rule)
    ends = (rows, counts)
    tensors = (v if isinstance(v, builder.GraphTensor) else graph.emit_identity(v) for v in ends)
    graph.outputs = list(zip(outputs, tensors, strict=True))
    return replace(builder.to_model(graph), opset=model.opset, metadata=model.metadata)


def _column(graph: Graph, value: Value) -> Value:
    return graph.emit("Unsqueeze", value, np.array([1]))


def _candidates(graph: Graph, scores: Value, best: int, background: int) -> Value:
    """Scores with everything out of reach that is the background or not among a class's `best`."""
    classes, count = known(scores)[1][1:]
    if isinstance(classes, int) and 0 <= background < classes:
        mask = (np.arange(classes) == background).reshape(1, -1, 1)
        scores = graph.emit("Where", mask, _NEVER, scores)
    if best <= 0 or isinstance(count, int) and best >= count:
        return scores
    size: Any = np.array([best])
    if isinstance(count, Sym):
        size = graph.emit("Min", shape_of(scores)[2:], size)
    top = graph.emit_all("TopK", scores, size, axis=2, largest=1, sorted=1)[0]
    least = graph.emit("Slice", top, *(np.array([n]) for n in (-1, FAR, 2, 1)))
    return graph.emit("Where", graph.emit("Less", scores, least), _NEVER, scores)


def _one_hot(graph: Graph, image: Value, boxes: Value) -> Value:
    """Rows to images: (rows, images) of 0 and 1."""
    batch = shape_of(boxes)[:1].reshape(())
    images = graph.emit("Range", np.array(0), batch, np.array(1))
    row = graph.emit("Unsqueeze", images, np.array([0]))
    return cast(graph, graph.emit("Equal", _column(graph, image), row), np.int64)


def _best_of_image(graph: Graph, chosen: Value, value: Value, boxes: Value, keep: int) -> _Pair:
    """The `keep` best rows of each image, in their old order."""
    order = graph.emit_all("TopK", value, shape_of(value), axis=0, largest=1, sorted=1)[1]
    by_score = graph.emit("Gather", chosen, order, axis=0)
    image = graph.emit("Gather", by_score, np.array(0), axis=1)
    member = _one_hot(graph, image, boxes)
    counted = graph.emit("Mul", graph.emit("CumSum", member, np.array(0)), member)
    rank = graph.emit("ReduceSum", counted, np.array([1]), keepdims=0)
    kept = graph.emit("Compress", order, graph.emit("LessOrEqual", rank, np.array(keep)), axis=0)
    kept = graph.emit_all("TopK", kept, shape_of(kept), axis=0, largest=0, sorted=1)[0]
    return graph.emit("Gather", chosen, kept, axis=0), graph.emit("Gather", value, kept, axis=0)
