"""Simplifies our own ONNX exports by the folding and fusing that translated programs go through, too.

What torch's exporter writes is right, but wasteful: a mean where engines have a faster pool, factors and offsets that
belong into weights, shapes that are computed while the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from tinysight.graph import builder
from tinysight.graph.builder import NONSENSE, Graph, GraphTensor, Unsupported, Value, cast, known
from tinysight.graph.fuse import fuse
from tinysight.graph.onnx_file import DTYPES, OnnxModel

_FIRST_OPSET = 18  # reductions take their axes as an input since then, as the rules here expect
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "Conv": {"group": 1}, "HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "Pad": {"mode": "constant"},
    **dict.fromkeys(("Gather", "Split"), {"axis": 0}),
    **dict.fromkeys(("LayerNormalization", "Softmax"), {"axis": -1}),
    **dict.fromkeys(("ReduceMean", "ReduceSum"), {"keepdims": 1}),
}  # fmt: skip
_NEUTRAL = {"auto_pad": "NOTSET", "allowzero": 0, "storage_order": 0, "ceil_mode": 0}


def simplify(model: OnnxModel) -> OnnxModel:
    """The same function with fewer nodes; `model` itself where an operator of it is not supported here.

    Args:
        model: a network of opset 18 or later; sides of its inputs that are not numbers stay open.
    """
    if model.opset < _FIRST_OPSET:
        return model
    graph = Graph()
    try:
        with np.errstate(all="ignore"):
            replay(model, graph)
            fuse(graph)
            made = builder.to_model(graph)
    except (Unsupported, *NONSENSE):
        return model
    return replace(made, opset=model.opset, metadata=model.metadata)


def replay(model: OnnxModel, graph: Graph) -> None:
    """Emit every node of `model` once more; constants are folded on the way.

    Raises:
        Unsupported: an operator, or a use of one, that is not known.
    """
    values: dict[str, Value | None] = {"": None}
    for port in model.inputs:
        sides = [side if isinstance(side, int) else -1 for side in port.shape]
        values[port.name] = graph.add_input(port.name, str(port.dtype), sides)
    for name, array in model.constants.items():
        values[name] = array
        graph.name_constant(array, name)
    for node in model.nodes:
        given = {k: v for k, v in node.attributes.items() if v != _NEUTRAL.get(k, node)}
        attributes = {**_DEFAULTS.get(node.op, {}), **given}
        inputs = [values[name] for name in node.inputs]
        if node.op in _SPECIAL:
            values[node.outputs[0]] = _SPECIAL[node.op](graph, inputs, attributes)
        else:
            made = graph.emit_all(node.op, *inputs, **attributes)
            values.update(zip(node.outputs, made, strict=True))
    for port in model.outputs:
        value = values[port.name]
        assert value is not None, "an output has a name"
        tensor = value if isinstance(value, GraphTensor) else graph.emit_identity(value)
        graph.outputs.append((port.name, tensor))


def _reshape(graph: Graph, inputs: list[Any], attributes: Mapping[str, Any]) -> Value:
    x, target = inputs
    if attributes or not isinstance(target, np.ndarray):
        return graph.emit("Reshape", x, target, **attributes)
    old, wanted = known(x)[1], enumerate(target.tolist())
    sides = [old[i] if isinstance(s, int) and s == 0 else s for i, s in wanted]
    return builder.reshape(graph, x, sides)


def _squeeze(graph: Graph, inputs: list[Any], attributes: Mapping[str, Any]) -> Value:
    x, *axes = inputs
    sides = known(x)[1]
    places = axes[0] if axes else [i for i, s in enumerate(sides) if s == 1]
    gone = {int(a) % len(sides) for a in places}
    return builder.reshape(graph, x, [s for i, s in enumerate(sides) if i not in gone])


def _mean(graph: Graph, inputs: list[Any], attributes: Mapping[str, Any]) -> Value:
    """Over whole images it is a pool, with a reshape where the sides are dropped."""
    x, axes = inputs[0], inputs[1] if len(inputs) > 1 else None
    sides = known(x)[1]
    places = sorted(int(a) % len(sides) for a in axes) if axes is not None else []
    if len(sides) != 4 or places != [2, 3]:
        return graph.emit("ReduceMean", *inputs, **attributes)
    pooled = builder.reduce_mean(graph, x, places, keep=True)
    return pooled if attributes["keepdims"] else builder.reshape(graph, pooled, sides[:2])


def _gemm(graph: Graph, inputs: list[Any], attributes: Mapping[str, Any]) -> Value:
    """Without options, its weights transposed beforehand."""
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(value != plain.get(name) for name, value in attributes.items() if name != "transB"):
        raise Unsupported("a Gemm with options")
    x, weight, *bias = inputs
    if attributes.get("transB"):
        weight = graph.emit("Transpose", weight, perm=[1, 0])
    return graph.emit("Gemm", x, weight, *bias)


def _slice(graph: Graph, inputs: list[Any], attributes: Mapping[str, Any]) -> Value:
    """With all its five inputs."""
    x, starts, ends, *rest = inputs
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones(len(starts), np.int64)
    axes = np.where(axes < 0, axes + len(known(x)[1]), axes)
    return graph.emit("Slice", x, starts, ends, axes, steps)


_Special: TypeAlias = Callable[[Graph, "list[Any]", Mapping[str, Any]], Value]
_SPECIAL: Mapping[str, _Special] = {
    "Cast": lambda graph, inputs, given: cast(graph, inputs[0], DTYPES[given["to"]]),
    "Constant": lambda graph, inputs, given: given["value"],
    "Identity": lambda graph, inputs, given: inputs[0],
    "Shape": lambda graph, inputs, given: builder.shape_of(inputs[0])[given.get("start", 0) : given.get("end")],
    "Gemm": _gemm, "ReduceMean": _mean, "Reshape": _reshape, "Slice": _slice, "Squeeze": _squeeze,
}  # fmt: skip
