"""Operators that create constant tensors, and those that write into one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import FAR, Unsupported, Value, known, shape_of
from tinysight.graph.folding import MAX_ELEMENTS
from tinysight.graph.sides import Sym, as_vector


def filled(v: OpContext, shape: Value, value: float, dtype: np.dtype[Any]) -> Value:
    """A tensor of one value; computed by the model where its shape is."""
    with np.errstate(all="ignore"):
        one: np.ndarray = np.asarray(value).astype(dtype)
    if not isinstance(shape, np.ndarray) or shape.dtype == object:
        return v.emit("Expand", one, shape)
    size = math.prod(shape.ravel().tolist())
    if not 0 <= size <= MAX_ELEMENTS or shape.ndim != 1 or len(shape) > 16:
        raise Unsupported(f"a constant of shape {shape.tolist()!r:.60}")
    return np.full(shape.tolist(), one, dtype)


@op("full fill_constant full_with_tensor", "ValueTensor ShapeTensor")
def _full(v: OpContext) -> Value:
    shape, dtype = v.vector("shape", "ShapeTensor", "ShapeTensorList"), v.dtype("dtype")
    if "ValueTensor" in v:
        value = v.cast(v["ValueTensor"], dtype)
        return v.emit("Expand", v.emit("Reshape", value, np.array([], np.int64)), shape)
    text = v.get("str_value", "")
    try:
        number = float(text) if text else float(v.get("value", 0.0))
    except (TypeError, ValueError):
        raise Unsupported(f"value {text!r:.40}") from None
    return filled(v, shape, number, dtype)


@op("full_like fill_any_like fill_zeros_like", "X Value")
def _full_like(v: OpContext) -> Value:
    x = v["X"]
    dtype = v.dtype("dtype") if v.has_dtype("dtype") else known(x)[0]
    return filled(v, shape_of(x), v.scalar("value", "Value", 0.0), dtype)


@op("full_batch_size_like fill_constant_batch_size_like", "Input")
def _full_batch_size_like(v: OpContext) -> Value:
    sides: list[Any] = v.integers("shape")
    sides[v.get("output_dim_idx", 0)] = v.sides(v["Input"])[v.get("input_dim_idx", 0)]
    value = float(v.get("str_value", "") or v.get("value", 0.0))
    return filled(v, as_vector(sides), value, v.dtype("dtype"))


@op("assign_value", "")
def _assign_value(v: OpContext) -> Value:
    return np.array(_numbers(v), v.dtype("dtype")).reshape(v.integers("shape"))


def _numbers(v: OpContext) -> list[Any]:
    names = ("values", "fp32_values", "fp64_values", "int32_values", "int64_values", "bool_values")
    found: list[Any] = next((v.attributes[n] for n in names if v.attributes.get(n)), [])
    return [float(n) if isinstance(n, str) else n for n in found]


@op("range arange", "Start End Step")
def _arange(v: OpContext) -> Value:
    dtype = known(v["Start"])[0] if not v.has("dtype") else v.dtype("dtype")
    scalars = (v.emit("Reshape", v[n], np.array([], np.int64)) for n in ("Start", "End", "Step"))
    return v.emit("Range", *(v.cast(scalar, dtype) for scalar in scalars))


@op("linspace", "Start Stop Num")
def _linspace(v: OpContext) -> Value:
    start, stop, count = (v.scalar(n, n) for n in ("Start", "Stop", "Num"))
    if not 0 < count < MAX_ELEMENTS:
        raise Unsupported(f"{count} steps")
    return np.linspace(start, stop, int(count)).astype(v.dtype("dtype"))


@op("tril_triu tril triu", "X")
def _triangle(v: OpContext) -> Value:
    x, shift = v["X"], v.get("diagonal", 0)
    rows, columns = v.numbers(v.sides(x)[-2:])
    if rows * columns > MAX_ELEMENTS:
        raise Unsupported(f"a table of {rows} x {columns}")
    part = np.tril if v.get("lower", v.type == "tril") else np.triu
    keep = part(np.ones((rows, columns), bool), shift)
    return v.emit("Where", keep, x, v.like(0, x))


@op("one_hot one_hot_v2", "X depth_tensor")
def _one_hot(v: OpContext) -> Value:
    depth = int(v.scalar("depth", "depth_tensor"))
    if not 0 < depth <= MAX_ELEMENTS:
        raise Unsupported(f"depth {depth}")
    places = v.unsqueeze(v.cast(v["X"], np.int64), len(v.sides(v["X"])))
    return v.cast(v.emit("Equal", places, np.arange(depth)), np.float32)


@op("set_value", "Input StartsTensor EndsTensor StepsTensor")
def _set_value(v: OpContext) -> Value:
    x = v["Input"]
    if "ValueTensor" in v:
        return _write(v, x, v["ValueTensor"])
    numbers = np.array(_numbers(v), known(x)[0])
    return _write(v, x, numbers.reshape(v.integers("shape", []) if numbers.size != 1 else []))


op("set_value_with_tensor", "Input ValueTensor StartsTensor EndsTensor StepsTensor")(_set_value)


def _write(v: OpContext, x: Value, value: Value) -> Value:
    if v.integers("none_axes", []):
        raise Unsupported("an assignment with None among its indices")
    axes = [v.axis(a, x) for a in v.integers("axes")]
    kinds = (f"{name}Tensor" for name in ("Starts", "Ends", "Steps"))
    starts, ends, steps = (v.constants(k[:-6].lower(), k, f"{k}List") for k in kinds)
    value = v.cast(value, known(x)[0])
    for axis in sorted(v.axis(a, x) for a in v.integers("decrease_axes", [])):
        # The value lacks this axis; those behind it stay aligned.
        behind, rank = len(v.sides(x)) - axis - 1, len(v.sides(value))
        if rank > behind:
            value = v.unsqueeze(value, rank - behind)
    spans, place = {}, [slice(None)] * len(v.sides(x))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        side, place[axis] = v.sides(x)[axis], slice(start, end, step)
        if not isinstance(side, Sym):
            spans[axis] = range(side)[place[axis]]
        elif start != 0 or end < FAR or step != 1:
            raise Unsupported("an assignment to part of a side that is not known")
    if all(isinstance(a, np.ndarray) and a.dtype != object for a in (x, value)):
        result: np.ndarray = np.array(x)
        result[tuple(place)] = value
        return result
    if any(span.step != 1 for span in spans.values()):
        raise Unsupported("an assignment with a step")
    return _overlay(v, x, value, sorted(spans.items()))


def _overlay(v: OpContext, x: Value, value: Value, spans: Sequence[tuple[int, range]]) -> Value:
    """`x` with `value` in the box `spans`, axis by axis: what is before, the changed slab, what is behind."""
    partial = [(a, s) for a, s in spans if len(s) != v.sides(x)[a]]
    if any(len(span) == 0 for _, span in partial):
        return x
    if not partial:
        extra = len(v.sides(value)) - len(v.sides(x))
        if extra > 0:
            value = v.reshape(value, v.sides(value)[extra:])
        elif v.sides(value) == v.sides(x):
            return value
        return v.emit("Expand", value, shape_of(x))
    (axis, span), *rest = partial
    ends: Any = ((0, span.start), (span.start, span.stop), (span.stop, v.sides(x)[axis]))
    parts = [v.slice(x, axis, start, end) for start, end in ends if start < end]
    middle = int(span.start > 0)
    parts[middle] = _overlay(v, parts[middle], value, rest)
    return v.emit("Concat", *parts, axis=axis)


op("full_int_array", "")(lambda v: np.array(v.integers("value"), v.dtype("dtype", "int64")))
