"""Functions that few networks use, element by element or along one axis."""

from __future__ import annotations

import numpy as np

from tinysight.compat.paddle.to_onnx.elementwise import aligned
from tinysight.compat.paddle.to_onnx.graph import Unsupported, Value, known
from tinysight.compat.paddle.to_onnx.shape_ops import reshape_to
from tinysight.compat.paddle.to_onnx.symbols import Sym
from tinysight.compat.paddle.to_onnx.table import View, op

_XY = ("X", "Y")
_PLAIN = ("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")


@op(*_PLAIN, inputs=("X",))
def _plain(v: View) -> Value:
    return v.emit(v.type.capitalize(), v["X"])


@op("expm1", inputs=("X",))
def _expm1(v: View) -> Value:
    return v.emit("Sub", v.emit("Exp", v["X"]), v.like(1, v["X"]))


@op("trunc", inputs=("X",))
def _trunc(v: View) -> Value:
    x = v["X"]
    return v.emit("Mul", v.emit("Sign", x), v.emit("Floor", v.emit("Abs", x)))


@op("isinf", "isinf_v2", "isfinite", "isfinite_v2", inputs=("X",))
def _finite(v: View) -> Value:
    size = v.emit("Abs", v["X"])
    name = "Equal" if v.type.startswith("isinf") else "Less"  # nan is neither
    return v.emit(name, size, v.like(np.inf, size))


@op("stanh", inputs=("X",))
def _scaled_tanh(v: View) -> Value:
    x = v["X"]
    inner, outer = (v.attribute(n, default=d) for n, d in (("scale_a", 0.67), ("scale_b", 1.7159)))
    bent = v.emit("Tanh", v.emit("Mul", x, v.like(inner, x)))
    return v.emit("Mul", bent, v.like(outer, x))


@op("softshrink", "soft_shrink", "hard_shrink", "hardshrink", inputs=("X",))
def _shrink(v: View) -> Value:
    limit = float(v.attribute("threshold", "lambda", default=0.5))
    return v.emit("Shrink", v["X"], bias=limit if v.type.startswith("soft") else 0.0, lambd=limit)


@op("logit", inputs=("X",))
def _logit(v: View) -> Value:
    x, eps = v["X"], float(v.attribute("eps", default=0.0))
    if eps:
        x = v.emit("Clip", x, v.like(eps, x), v.like(1 - eps, x))
    return v.emit("Log", v.emit("Div", x, v.emit("Sub", v.like(1, x), x)))


@op("lerp", inputs=("X", "Y", "Weight"))
def _between(v: View) -> Value:
    x = v["X"]
    return v.emit("Add", x, v.emit("Mul", v["Weight"], v.emit("Sub", v["Y"], x)))


@op("increment", inputs=("X",))
def _increment(v: View) -> Value:
    x = v["X"]
    return v.emit("Add", x, v.like(v.attribute("step", "value", default=1.0), x))


@op("mean_all", inputs=("X",))
def _mean_of_all(v: View) -> Value:
    x = v["X"]
    return v.emit("ReduceMean", x, np.arange(len(v.sides(x))), keepdims=0)


@op("maxout", inputs=("X",))
def _maxout(v: View) -> Value:
    x, groups = v["X"], v.attribute("groups", default=1)
    axis, sides = v.axis(v.attribute("axis", default=1), x), list(v.sides(x))
    if isinstance(sides[axis], Sym) or groups < 1 or sides[axis] % groups:
        raise Unsupported(f"{groups} groups")
    split = reshape_to(v, x, [*sides[:axis], sides[axis] // groups, groups, *sides[axis + 1 :]])
    return v.emit("ReduceMax", split, np.array([axis + 1]), keepdims=0)


@op("bitwise_and", "bitwise_or", "bitwise_xor", inputs=_XY)
def _bitwise(v: View) -> Value:
    x, y = aligned(v)
    name = v.type.removeprefix("bitwise_").capitalize()
    return v.emit(name if known(x)[0].kind == "b" else f"Bitwise{name}", x, y)


@op("bitwise_not", inputs=("X",))
def _bitwise_not(v: View) -> Value:
    return v.emit("Not" if known(v["X"])[0].kind == "b" else "BitwiseNot", v["X"])


@op("dot", inputs=_XY)
def _dot(v: View) -> Value:
    product = v.emit("Mul", v["X"], v["Y"])
    return v.emit("ReduceSum", product, np.array([len(v.sides(product)) - 1]), keepdims=0)


@op("mv", inputs=("X", "Vec"))
def _matrix_by_vector(v: View) -> Value:
    return v.emit("MatMul", v["X"], v["Vec"])
