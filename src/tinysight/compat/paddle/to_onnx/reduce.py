"""Reductions, arg and sort operators, and look-ups by index."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np

from tinysight.compat.paddle.to_onnx.elementwise import summed
from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Unsupported, Value, reduce_mean
from tinysight.graph.folding import MAX_ELEMENTS
from tinysight.graph.sides import as_vector

_REDUCTIONS = {
    **{name: f"Reduce{name.capitalize()}" for name in ("mean", "sum", "max", "min", "prod")},
    **{"amax": "ReduceMax", "amin": "ReduceMin", "logsumexp": "ReduceLogSumExp"},
}


def reduced(v: OpContext, onnx: str, x: Value, axes: list[int], keep: bool) -> Value:
    """A reduction over `axes` (all when empty)."""
    places = sorted({v.axis(a, x) for a in axes}) or list(range(len(v.sides(x))))
    if onnx == "ReduceMean":
        return reduce_mean(v.graph, x, places, keep=keep)
    return v.emit(onnx, x, np.array(places, np.int64), keepdims=int(keep))


def _axes(v: OpContext) -> list[int]:
    if v.get("reduce_all asvector", False):
        return []
    if "Axis" in v:
        return v.constants("dim", "Axis")
    return v.integers("dim axis", [])


def _keep(v: OpContext) -> bool:
    return bool(v.get("keep_dim keepdim keepdims", False))


@op(" ".join(f"{n} reduce_{n}" for n in _REDUCTIONS), "X Axis")
def _reduce(v: OpContext) -> Value:
    if v.type == "sum" and not v.has("keepdim"):  # the legacy `sum` adds tensors
        return summed(v)
    x = v["X"]
    if v.has_dtype("out_dtype dtype"):
        x = v.cast(x, v.dtype("out_dtype dtype"))
    return reduced(v, _REDUCTIONS[v.type.removeprefix("reduce_")], x, _axes(v), _keep(v))


@op("any all reduce_any reduce_all", "X Axis")
def _reduce_bool(v: OpContext) -> Value:
    onnx = "ReduceMax" if v.type.endswith("any") else "ReduceMin"
    return v.cast(reduced(v, onnx, v.cast(v["X"], np.int32), _axes(v), _keep(v)), bool)


@op("p_norm frobenius_norm", "X Axis")
def _p_norm(v: OpContext) -> Value:
    x, order = v["X"], float(v.get("porder", 2.0)) if v.type == "p_norm" else 2.0
    axes = [] if v.get("asvector reduce_all", False) else _axes(v) or [-1]
    if order in (1, 2):
        return reduced(v, f"ReduceL{int(order)}", x, axes, _keep(v))
    if np.isinf(order):
        name = "ReduceMax" if order > 0 else "ReduceMin"
        return reduced(v, name, v.emit("Abs", x), axes, _keep(v))
    powers = v.emit("Pow", v.emit("Abs", x), v.like(order, x))
    return v.emit("Pow", reduced(v, "ReduceSum", powers, axes, _keep(v)), v.like(1 / order, x))


@op("arg_max argmax arg_min argmin", "X Axis")
def _arg(v: OpContext) -> Value:
    x, axis = _flattened(v)
    name = "ArgMax" if "max" in v.type else "ArgMin"
    found = v.emit(name, x, axis=axis, keepdims=int(v.get("keepdims", False)))
    return v.cast(found, np.int32 if v.get("dtype") in (2, "int32") else np.int64)


def _flattened(v: OpContext) -> tuple[Value, int]:
    """The input and its axis, or the input with one axis where that is asked for."""
    if v.get("flatten", False):
        return v.flat(v["X"]), 0
    return v["X"], v.axis(int(v.scalar("axis", "Axis", -1)), v["X"])


@op("top_k top_k_v2 topk", "X K", "Out Indices")
def _top_k(v: OpContext) -> list[Value]:
    return _sorted(v, np.array([int(v.scalar("k", "K", 1))]), v.get("largest", True))


def _sorted(v: OpContext, count: Value, largest: bool) -> list[Value]:
    axis, order = v.own_axis(v["X"]), int(largest)
    return v.graph.emit_all("TopK", v["X"], count, axis=axis, largest=order, sorted=1)


@op("argsort", "X", "Out Indices")
def _argsort(v: OpContext) -> list[Value]:
    side = v.sides(v["X"])[v.own_axis(v["X"])]
    return _sorted(v, as_vector([side]), v.get("descending", False))


@op("cumsum", "X Axis")
def _cumsum(v: OpContext) -> Value:
    x, axis = _flattened(v)
    options = {name: int(v.get(name, False)) for name in ("exclusive", "reverse")}
    return v.emit("CumSum", x, np.array(axis), **options)


@op("gather", "X Index Axis")
def _gather(v: OpContext) -> Value:
    x, index, axis = v["X"], v["Index"], int(v.scalar("axis", "Axis", 0))
    if len(v.sides(index)) == 2 and v.sides(index)[1] == 1:
        index = v.reshape(index, v.sides(index)[:1])
    return v.emit("Gather", x, index, axis=v.axis(axis, x))


@op("lookup_table_v2 lookup_table embedding", "Ids W")
def _embedding(v: OpContext) -> Value:
    index = v["Ids"]
    if v.type == "lookup_table" and v.sides(index)[-1] == 1:
        index = v.reshape(index, v.sides(index)[:-1])
    return v.emit("Gather", v["W"], index, axis=0)


@op("take_along_axis", "Input Index", "Result")
def _take_along_axis(v: OpContext) -> Value:
    axis = v.own_axis(v["Input"], 0, "Axis axis")
    return v.emit("GatherElements", v["Input"], v["Index"], axis=axis)


@op("einsum", "Operands")
def _einsum(v: OpContext) -> Value:
    operands = v.all("Operands")
    ranks = [len(v.sides(operand)) for operand in operands]
    return v.emit("Einsum", *operands, equation=explicit_einsum(str(v.get("equation", "")), ranks))


def explicit_einsum(equation: str, ranks: Sequence[int]) -> str:
    """`equation` with its result and every axis written out.

    Axes that "..." stands for get letters that the equation does not use, the same ones counted from the last. Without
    "->" the result has these, then in alphabetical order the letters that appear once.

    Raises:
        Unsupported: the terms do not fit the operands.
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != len(ranks) or len(ranks) > 20:
        raise Unsupported(f"equation {equation!r:.60} of {len(ranks)} operands")
    spare = [c for c in ascii_letters if c not in equation]
    hidden = [rank - len(part.replace("...", "")) for part, rank in zip(parts, ranks, strict=True)]
    if any(n < 0 or (n > 0 and "..." not in part) for n, part in zip(hidden, parts, strict=True)):
        raise Unsupported(f"equation {equation!r:.60} of operands with {list(ranks)} axes")
    if max(hidden) > len(spare):
        raise Unsupported(f"equation {equation!r:.60} with too many axes")
    dots = "".join(spare[: max(hidden)])
    written = (p.replace("...", dots[len(dots) - n :]) for p, n in zip(parts, hidden, strict=True))
    if not arrow:
        plain = "".join(parts).replace("...", "")
        result = "..." + "".join(sorted(c for c in set(plain) if plain.count(c) == 1))
    return ",".join(written) + "->" + result.replace("...", dots)


@op("repeat_interleave", "X")
def _repeat_interleave(v: OpContext) -> Value:
    x, times = v["X"], v.get("Repeats repeats", 1)
    axis = v.own_axis(x, 0, "dim axis")
    side = v.side(x, axis)
    if not 0 < times * side <= MAX_ELEMENTS:
        raise Unsupported(f"{times} times {side}")
    return v.emit("Gather", x, np.repeat(np.arange(side), times), axis=axis)


@op("index_select", "X Index")
def _index_select(v: OpContext) -> Value:
    return v.emit("Gather", v["X"], v["Index"], axis=v.own_axis(v["X"], 0, "dim axis"))


op("gather_nd", "X Index")(lambda v: v.emit("GatherND", v["X"], v.cast(v["Index"], np.int64)))
