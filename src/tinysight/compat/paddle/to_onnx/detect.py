"""`multiclass_nms3`: from boxes and scores to detections, with PaddleClas' rules.

For each image and class: boxes whose score is above `score_threshold`, the `nms_top_k` best of them, of which one is
dropped if it overlaps a better one by more than `nms_threshold`; then the `keep_top_k` best of the image. Rows come
by image, then by class, then by falling score: class, score, x1, y1, x2, y2. Without `normalized` a box
spans both its border pixels, so its sides are one longer.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import FAR, Unsupported, Value, shape_of
from tinysight.graph.sides import Sym

_NEVER = np.float32(-3e38)
_Pair: TypeAlias = tuple[Value, Value]


def _column(v: OpContext, x: Value, index: int) -> Value:
    return v.emit("Gather", x, np.array(index), axis=1)


_NAMES = "multiclass_nms3 multiclass_nms2 multiclass_nms"


@op(_NAMES, "BBoxes Scores RoisNum", "Out Index NmsRoisNum")
def _multiclass_nms(v: OpContext) -> list[Value]:
    boxes, scores = v["BBoxes"], v["Scores"]
    if len(v.sides(boxes)) != 3 or len(v.sides(scores)) != 3 or "RoisNum" in v:
        raise Unsupported("boxes that are not (images, boxes, 4), scores (images, classes, boxes)")
    if v.get("nms_eta", 1.0) != 1:
        raise Unsupported("nms_eta below 1")
    best, keep = (v.get(n, -1) for n in ("nms_top_k", "keep_top_k"))
    candidates = _candidates(v, scores, best)
    limit = min(k if k > 0 else FAR for k in (best, keep))
    compared = boxes
    if not v.get("normalized", True):
        compared = v.emit("Add", boxes, np.array([0, 0, 1, 1], np.float32))
    levels = (v.get("nms_threshold", 0.3), v.get("score_threshold", 0.0))
    limits = (np.array([limit]), *(np.array([level], np.float32) for level in levels))
    chosen = v.emit("NonMaxSuppression", compared, candidates, *limits)
    value = v.emit("GatherND", scores, chosen)
    if keep > 0:
        chosen, value = _best_of_image(v, chosen, value, boxes, keep)
    image, label, index = (_column(v, chosen, i) for i in range(3))
    place = v.emit("Concat", *(v.unsqueeze(column, 1) for column in (image, index)), axis=1)
    columns = [v.unsqueeze(column, 1) for column in (v.cast(label, np.float32), value)]
    rows = v.emit("Concat", *columns, v.emit("GatherND", boxes, place), axis=1)
    counts = v.emit("ReduceSum", _one_hot(v, image, boxes), np.array([0]), keepdims=0)
    # Place of a row among all boxes of all images.
    count, flat = shape_of(boxes)[1], index
    if not isinstance(count, Sym):
        flat = v.emit("Add", v.emit("Mul", image, np.array(count)), index)
    return [rows, v.unsqueeze(v.cast(flat, np.int32), 1), v.cast(counts, np.int32)]


def _candidates(v: OpContext, scores: Value, best: int) -> Value:
    """Scores with everything out of reach that is the background or not among a class's `best`."""
    classes, count = v.sides(scores)[1:]
    background = v.get("background_label", 0)
    if isinstance(classes, int) and 0 <= background < classes:
        mask = (np.arange(classes) == background).reshape(1, -1, 1)
        scores = v.emit("Where", mask, _NEVER, scores)
    if best <= 0 or isinstance(count, int) and best >= count:
        return scores
    size = np.array([best])
    if isinstance(count, Sym):
        size = v.emit("Min", shape_of(scores)[2:], size)  # type: ignore[assignment]
    top = v.graph.emit_all("TopK", scores, size, axis=2, largest=1, sorted=1)[0]
    return v.emit("Where", v.emit("Less", scores, v.slice(top, 2, -1, FAR)), _NEVER, scores)


def _one_hot(v: OpContext, image: Value, boxes: Value) -> Value:
    """Rows to images: (rows, images) of 0 and 1."""
    batch = shape_of(boxes)[:1].reshape(())
    images = v.emit("Range", np.array(0), batch, np.array(1))
    return v.cast(v.emit("Equal", v.unsqueeze(image, 1), v.unsqueeze(images, 0)), np.int64)


def _best_of_image(v: OpContext, chosen: Value, value: Value, boxes: Value, keep: int) -> _Pair:
    """The `keep` best rows of each image, in their old order."""
    order = v.graph.emit_all("TopK", value, shape_of(value), axis=0, largest=1, sorted=1)[1]
    by_score = v.emit("Gather", chosen, order, axis=0)
    member = _one_hot(v, _column(v, by_score, 0), boxes)
    counted = v.emit("Mul", v.emit("CumSum", member, np.array(0)), member)
    rank = v.emit("ReduceSum", counted, np.array([1]), keepdims=0)
    kept = v.emit("Compress", order, v.emit("LessOrEqual", rank, np.array(keep)), axis=0)
    kept = v.graph.emit_all("TopK", kept, shape_of(kept), axis=0, largest=0, sorted=1)[0]
    return v.emit("Gather", chosen, kept, axis=0), v.emit("Gather", value, kept, axis=0)
