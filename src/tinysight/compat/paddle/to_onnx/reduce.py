"""Reductions, arg and sort operators, and look-ups by index."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Unsupported, Value, reduce_mean
from tinysight.graph.folding import MAX_ELEMENTS
from tinysight.graph.sides import Sym

_REDUCTIONS = {
    "mean": "ReduceMean",
    "sum": "ReduceSum",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "logsumexp": "ReduceLogSumExp",
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
        total, *rest = v.all("X")
        for value in rest:
            total = v.emit("Add", total, value)
        return total
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
    x = v["X"]
    order = float(v.get("porder", 2.0)) if v.type == "p_norm" else 2.0
    flat = v.get("asvector reduce_all", False)
    axes = [] if flat else _axes(v) or [-1]
    match order:
        case 1.0 | 2.0:
            return reduced(v, f"ReduceL{int(order)}", x, axes, _keep(v))
        case _ if np.isinf(order):
            return reduced(
                v, "ReduceMax" if order > 0 else "ReduceMin", v.emit("Abs", x), axes, _keep(v)
            )
    powers = v.emit("Pow", v.emit("Abs", x), v.like(order, x))
    return v.emit("Pow", reduced(v, "ReduceSum", powers, axes, _keep(v)), v.like(1 / order, x))


@op("arg_max argmax arg_min argmin", "X Axis")
def _arg(v: OpContext) -> Value:
    x = v["X"]
    axis = int(v.scalar("axis", "Axis", -1))
    keep = bool(v.get("keepdims", False))
    if v.get("flatten", False):
        x, axis = v.emit("Reshape", x, np.array([-1])), 0
    name = "ArgMax" if "max" in v.type else "ArgMin"
    found = v.emit(name, x, axis=v.axis(axis, x), keepdims=int(keep))
    wanted = v.get("dtype", "int64")
    return v.cast(found, np.int32 if wanted in (2, "int32") else np.int64)


@op("top_k top_k_v2 topk", "X K", "Out Indices")
def _top_k(v: OpContext) -> list[Value]:
    x, count = v["X"], np.array([int(v.scalar("k", "K", 1))])
    axis = v.axis(v.get("axis", -1), x)
    largest = int(v.get("largest", True))
    return v.graph.emit_all("TopK", x, count, axis=axis, largest=largest, sorted=1)


@op("argsort", "X", "Out Indices")
def _argsort(v: OpContext) -> list[Value]:
    x = v["X"]
    axis = v.axis(v.get("axis", -1), x)
    side = v.sides(x)[axis]
    count: Any = np.array([side], object if isinstance(side, Sym) else np.int64)
    largest = int(v.get("descending", False))
    return v.graph.emit_all("TopK", x, count, axis=axis, largest=largest, sorted=1)


@op("cumsum", "X Axis")
def _cumsum(v: OpContext) -> Value:
    x, axis = v["X"], int(v.scalar("axis", "Axis", -1))
    if v.get("flatten", False):
        x, axis = v.emit("Reshape", x, np.array([-1])), 0
    options = {name: int(v.get(name, False)) for name in ("exclusive", "reverse")}
    return v.emit("CumSum", x, np.array(v.axis(axis, x)), **options)


@op("gather", "X Index Axis")
def _gather(v: OpContext) -> Value:
    x, index = v["X"], v["Index"]
    axis = int(v.scalar("axis", "Axis", 0))
    if len(v.sides(index)) == 2 and v.sides(index)[1] == 1:
        index = v.reshape(index, v.sides(index)[:1])
    return v.emit("Gather", x, index, axis=v.axis(axis, x))


@op("index_select", "X Index")
def _index_select(v: OpContext) -> Value:
    return v.emit("Gather", v["X"], v["Index"], axis=v.axis(v.get("dim axis", 0), v["X"]))


@op("lookup_table_v2 lookup_table embedding", "Ids W")
def _embedding(v: OpContext) -> Value:
    index = v["Ids"]
    if v.type == "lookup_table" and v.sides(index)[-1] == 1:
        index = v.reshape(index, v.sides(index)[:-1])
    return v.emit("Gather", v["W"], index, axis=0)


@op("take_along_axis", "Input Index", "Result")
def _take_along_axis(v: OpContext) -> Value:
    axis = v.get("Axis axis", 0)
    return v.emit("GatherElements", v["Input"], v["Index"], axis=v.axis(axis, v["Input"]))


@op("einsum", "Operands")
def _einsum(v: OpContext) -> Value:
    operands = v.all("Operands")
    equation = str(v.get("equation", ""))
    ranks = [len(v.sides(operand)) for operand in operands]
    return v.emit("Einsum", *operands, equation=explicit_einsum(equation, ranks))


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
    written = [
        part.replace("...", dots[len(dots) - n :]) for part, n in zip(parts, hidden, strict=True)
    ]
    if not arrow:
        plain = "".join(parts).replace("...", "")
        result = "..." + "".join(sorted(c for c in set(plain) if plain.count(c) == 1))
    return ",".join(written) + "->" + result.replace("...", dots)


@op("repeat_interleave", "X")
def _repeat_interleave(v: OpContext) -> Value:
    x, times = v["X"], v.get("Repeats repeats", 1)
    axis = v.axis(v.get("dim axis", 0), x)
    side = v.side(x, axis)
    if not 0 < times * side <= MAX_ELEMENTS:
        raise Unsupported(f"{times} times {side}")
    return v.emit("Gather", x, np.repeat(np.arange(side), times), axis=axis)


op("gather_nd", "X Index")(lambda v: v.emit("GatherND", v["X"], v.cast(v["Index"], np.int64)))
