"""Writing into tensors by index, and grids of indices."""

from __future__ import annotations

import numpy as np

from tinysight.compat.paddle.to_onnx.graph import Unsupported, Value, known, shape_of
from tinysight.compat.paddle.to_onnx.shape_ops import reshape_to
from tinysight.compat.paddle.to_onnx.shapes import broadcast
from tinysight.compat.paddle.to_onnx.symbols import as_vector
from tinysight.compat.paddle.to_onnx.table import View, op

_REDUCE = {
    "assign": "none",
    "add": "add",
    "mul": "mul",
    "multiply": "mul",
    "amin": "min",
    "amax": "max",
}


@op("scatter", inputs=("X", "Ids", "Updates"))
def _scatter(v: View) -> Value:
    """Rows of `X`; without `overwrite` rows that are named several times are summed."""
    x, index, updates = v["X"], v.cast(v["Ids"], np.int64), v["Updates"]
    places = reshape_to(v, index, [v.sides(index)[0], 1])
    if v.attribute("overwrite", default=True):
        return v.emit("ScatterND", x, places, updates)
    nothing = v.emit("Expand", v.like(0, x), shape_of(updates))
    return v.emit(
        "ScatterND", v.emit("ScatterND", x, places, nothing), places, updates, reduction="add"
    )


@op("scatter_nd_add", inputs=("X", "Index", "Updates"))
def _scatter_nd_add(v: View) -> Value:
    return v.emit("ScatterND", v["X"], v.cast(v["Index"], np.int64), v["Updates"], reduction="add")


@op("put_along_axis", inputs=("Input", "Index", "Value"), outputs=("Result",))
def _put_along_axis(v: View) -> Value:
    x, index = v["Input"], v.cast(v["Index"], np.int64)
    mode = _REDUCE.get(str(v.attribute("Reduce", "reduce", default="assign")))
    if mode is None or not (
        mode == "none" or v.attribute("Include_self", "include_self", default=True)
    ):
        raise Unsupported("this way of joining values")
    value = v.emit("Expand", v["Value"], shape_of(index))
    axis = v.axis(v.attribute("Axis", "axis", default=0), x)
    return v.emit("ScatterElements", x, index, value, axis=axis, reduction=mode)


@op("where_index", "nonzero", inputs=("Condition",))
def _nonzero(v: View) -> Value:
    """(places, axes) of what is not zero, in the order of the tensor."""
    return v.emit("Transpose", v.emit("NonZero", v["Condition"]), perm=[1, 0])


@op("meshgrid", inputs=("X",))
def _meshgrid(v: View) -> list[Value]:
    parts = v.all("X")
    sides = [v.sides(part)[0] if v.sides(part) else 1 for part in parts]
    target = as_vector(sides)
    made = []
    for axis, part in enumerate(parts):
        shape = [side if i == axis else 1 for i, side in enumerate(sides)]
        made.append(v.emit("Expand", reshape_to(v, part, shape), target))
    return made


@op("broadcast_tensors", inputs=("X",))
def _broadcast_tensors(v: View) -> list[Value]:
    parts = v.all("X")
    target = as_vector(broadcast(*(known(part)[1] for part in parts)))
    return [v.emit("Expand", part, target) for part in parts]
