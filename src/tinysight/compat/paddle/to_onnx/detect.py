"""`multiclass_nms3`, and what turns a detector's other exports into rows of boxes.

Exports of PaddleDetection end in rows and counts, in boxes and scores of all cells, or in the raw scores and
distances of each level; the last two get the suppression here that the first has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph import builder
from tinysight.graph.builder import Graph, GraphTensor, Unsupported, Value
from tinysight.graph.onnx_file import OnnxModel
from tinysight.graph.simplify import replay
from tinysight.graph.suppression import multiclass_nms, suppressed

_NAMES = "multiclass_nms3 multiclass_nms2 multiclass_nms"
_FIRST_STRIDE = 8


@op(_NAMES, "BBoxes Scores RoisNum", "Out Index NmsRoisNum")
def _multiclass_nms(v: OpContext) -> list[Value]:
    boxes, scores = v["BBoxes"], v["Scores"]
    if len(v.sides(boxes)) != 3 or len(v.sides(scores)) != 3 or "RoisNum" in v:
        raise Unsupported("boxes that are not (images, boxes, 4), scores (images, classes, boxes)")
    if v.get("nms_eta", 1.0) != 1:
        raise Unsupported("nms_eta below 1")
    return multiclass_nms(
        v.graph, boxes, scores, min_score=v.get("score_threshold", 0.0),
        candidates=v.get("nms_top_k", -1), max_iou=v.get("nms_threshold", 0.3),
        keep=v.get("keep_top_k", -1), normalized=v.get("normalized", True),
        background=v.get("background_label", 0),
    )  # fmt: skip


def end_in_rows(model: OnnxModel, form: str, size: tuple[int, int], **rule: Any) -> OnnxModel:
    """A translated detector with rows (R, 6) and counts (N,) as its outputs.

    Args:
        model: whose outputs are boxes and scores ("cells"), or scores and distances of each level ("raw").
        form: which of the two.
        size: height and width of its input, pixels.
        rule: keywords of `multiclass_nms`.

    Raises:
        Unsupported: the levels do not fit the size.
    """
    names = ("boxes", "counts")
    return suppressed(model if form == "cells" else _decoded(model, size), names, **rule)


def _decoded(model: OnnxModel, size: tuple[int, int]) -> OnnxModel:
    """Boxes (N, A, 4) and scores (N, K, A) of raw heads: distances are expectations over their bins, in strides."""
    graph = Graph()
    image, *rest = model.inputs
    fixed = image._replace(shape=(1, 3, *size))  # such an export is made for one image
    replay(replace(model, inputs=(fixed, *rest)), graph)
    values = [value for _, value in graph.outputs]
    half = len(values) // 2
    scores = graph.emit("Concat", *values[:half], axis=1)
    distances = graph.emit("Concat", *values[half:], axis=1)
    centres, strides = _cells(size, half)
    bins = builder.known(distances)[1][2]
    if not isinstance(bins, int) or bins % 4 or builder.known(scores)[1][1] != len(centres):
        raise Unsupported(f"{len(centres)} cells of four sides each at {size[1]} x {size[0]}")
    parts = graph.emit("Reshape", distances, np.array([0, len(centres), 4, bins // 4]))
    shares = graph.emit("Softmax", parts, axis=-1)
    steps = np.arange(bins // 4, dtype=np.float32)[:, None]
    means = graph.emit("MatMul", shares, steps)
    sides = graph.emit("Reshape", means, np.array([0, len(centres), 4]))
    signed = graph.emit("Mul", sides, strides[:, None] * np.array([-1, -1, 1, 1], np.float32))
    boxes = graph.emit("Add", signed, np.tile(centres, 2))
    ends = boxes, graph.emit("Transpose", scores, perm=[0, 2, 1])
    tensors = [v if isinstance(v, GraphTensor) else graph.emit_identity(v) for v in ends]
    graph.outputs = list(zip(("cells", "scores"), tensors, strict=True))
    return builder.to_model(graph)


def _cells(size: tuple[int, int], levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (A, 2), x and y, and strides (A,), level by level, row by row."""
    centres, strides = [], []
    for level in range(levels):
        stride = _FIRST_STRIDE << level
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        centres.append((np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full(len(centres[-1]), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)
