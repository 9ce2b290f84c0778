"""Our own exports through the folding and fusing of the translator, so that both ways give the same graph.

What torch's exporter writes is right but not lean: a mean where engines have a faster pool, factors and offsets that
belong into weights, shapes computed while the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tinysight.compat.paddle.program import Op
from tinysight.compat.paddle.to_onnx.fuse import fuse
from tinysight.compat.paddle.to_onnx.graph import Graph, Tensor, Unsupported, Value, shape_of
from tinysight.compat.paddle.to_onnx.model import finished
from tinysight.compat.paddle.to_onnx.reduce import reduced
from tinysight.compat.paddle.to_onnx.shape_ops import reshape_to
from tinysight.compat.paddle.to_onnx.table import Entry, View
from tinysight.compat.paddle.to_onnx.translate import NONSENSE
from tinysight.graph.onnx_file import Node, OnnxModel, dtype_of_code

_FIRST_OPSET = 18  # reductions take their axes as an input since then, as the rules here expect
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "Conv": {"group": 1},
    "Gather": {"axis": 0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Pad": {"mode": "constant"},
    "LayerNormalization": {"axis": -1},
    "ReduceMean": {"keepdims": 1},
    "ReduceSum": {"keepdims": 1},
    "Softmax": {"axis": -1},
    "Split": {"axis": 0},
}
_SAYS_NOTHING = {"auto_pad": "NOTSET", "allowzero": 0, "storage_order": 0, "ceil_mode": 0}


def lean(model: OnnxModel) -> OnnxModel:
    """The same function with fewer nodes; `model` itself where an operator of it is not known here.

    Args:
        model: any sides of its inputs that are not numbers stay open.
    """
    if model.opset < _FIRST_OPSET:
        return model
    graph = Graph()
    try:
        with np.errstate(all="ignore"):
            _replay(model, graph)
            fuse(graph)
            made = finished(graph)
    except (Unsupported, *NONSENSE):
        return model
    return replace(made, opset=model.opset, metadata=model.metadata)


def _replay(model: OnnxModel, graph: Graph) -> None:
    """Emit every node of `model` once more; what is constant is folded on the way."""
    values: dict[str, Value | None] = {"": None}
    for port in model.inputs:
        sides = [side if isinstance(side, int) else -1 for side in port.shape]
        values[port.name] = graph.add_input(port.name, str(port.dtype), sides)
    for name, array in model.constants.items():
        values[name] = array
        graph.name_constant(array, name)
    view = View(graph, Op("", {}, {}, {}), Entry(lambda v: [], (), ()), {})
    for node in model.nodes:
        given = {k: v for k, v in node.attributes.items() if v != _SAYS_NOTHING.get(k, node)}
        attributes = {**_DEFAULTS.get(node.op, {}), **given}
        inputs = [values[name] for name in node.inputs]
        emit = _SPECIAL.get(node.op, _plain)
        made = emit(view, node, inputs, attributes)
        values.update(zip(node.outputs, made, strict=True))
    for port in model.outputs:
        value = values[port.name]
        assert value is not None, "an output has a name"
        tensor = value if isinstance(value, Tensor) else graph.emit_identity(value)
        graph.outputs.append((port.name, tensor))


def _plain(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    return v.graph.emit_all(node.op, *inputs, **attributes)


def _constant(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    return [attributes["value"]]


def _identity(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    return [inputs[0]]


def _cast(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    return [v.cast(inputs[0], dtype_of_code(attributes["to"]))]


def _shape(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    return [shape_of(inputs[0])[attributes.get("start", 0) : attributes.get("end")]]


def _reshape(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    x, target = inputs
    if attributes or not isinstance(target, np.ndarray):
        return _plain(v, node, inputs, attributes)
    old = v.sides(x)
    zero = [isinstance(side, int) and side == 0 for side in target.tolist()]
    sides = [old[i] if zero[i] else side for i, side in enumerate(target.tolist())]
    return [reshape_to(v, x, sides)]


def _squeeze(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    x, *axes = inputs
    sides = v.sides(x)
    gone = (
        {int(a) % len(sides) for a in axes[0]}
        if axes
        else {i for i, s in enumerate(sides) if s == 1}
    )
    return [reshape_to(v, x, [s for i, s in enumerate(sides) if i not in gone])]


def _mean(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    """Over whole images it is a pool, with a reshape where the sides are dropped."""
    x, axes = inputs[0], inputs[1] if len(inputs) > 1 else None
    keep = bool(attributes["keepdims"])
    places = sorted(int(a) % len(v.sides(x)) for a in axes) if axes is not None else []
    if len(v.sides(x)) != 4 or places != [2, 3]:
        return _plain(v, node, inputs, attributes)
    pooled = reduced(v, "ReduceMean", x, places, True)
    return [pooled if keep else reshape_to(v, pooled, v.sides(x)[:2])]


def _gemm(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    """Without options, its weights transposed beforehand."""
    rest = dict(attributes)
    turned = rest.pop("transB", 0)
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(value != plain.get(name) for name, value in rest.items()):
        raise Unsupported("a Gemm with options")
    x, weight, *bias = inputs
    if turned:
        weight = v.emit("Transpose", weight, perm=[1, 0])
    return [v.emit("Gemm", x, weight, *bias)]


def _slice(v: View, node: Node, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
    """With all its five inputs."""
    x, starts, ends, *rest = inputs
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones(len(starts), np.int64)
    axes = np.where(axes < 0, axes + len(v.sides(x)), axes)
    return [v.emit("Slice", x, starts, ends, axes, steps)]


_SPECIAL: Mapping[str, Callable[[View, Node, list[Any], dict[str, Any]], list[Value]]] = {
    "Cast": _cast,
    "Constant": _constant,
    "Gemm": _gemm,
    "Identity": _identity,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
}
