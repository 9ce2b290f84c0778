"""Arithmetic, comparison and activation operators."""

from __future__ import annotations

import math

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Tensor, Unsupported, Value, known

_XY = ("X", "Y")


def aligned(v: OpContext) -> tuple[Value, Value]:
    """The two operands, made to broadcast as ONNX does and brought to one data type.

    In the legacy form `axis` says where the second operand's sides stand under the first's.
    """
    x, y = v["X"], v["Y"]
    axis, rank_x, rank_y = v.attribute("axis", default=-1), len(v.sides(x)), len(v.sides(y))
    behind = rank_x - axis - rank_y
    if axis >= 0 and rank_y and behind > 0:
        ones = np.arange(rank_y, rank_y + behind)
        y = v.emit("Unsqueeze", y, ones)
    a, b = known(x)[0], known(y)[0]
    if a != b:
        wide = np.promote_types(a, b)
        x, y = v.cast(x, wide), v.cast(y, wide)
    return x, y


def _binary(onnx: str, *names: str) -> None:
    op(*names, inputs=_XY)(lambda v: v.emit(onnx, *aligned(v)))


_binary("Add", "add", "elementwise_add", "grad_add")
_binary("Sub", "subtract", "elementwise_sub")
_binary("Mul", "multiply", "elementwise_mul")
_binary("Div", "divide", "elementwise_div")
_binary("Max", "maximum", "elementwise_max", "fmax", "elementwise_fmax")
_binary("Min", "minimum", "elementwise_min", "fmin", "elementwise_fmin")
_binary("Pow", "elementwise_pow")
_binary("Equal", "equal")
_binary("Less", "less_than")
_binary("LessOrEqual", "less_equal")
_binary("Greater", "greater_than")
_binary("GreaterOrEqual", "greater_equal")
_binary("And", "logical_and")
_binary("Or", "logical_or")


def _unary(onnx: str, *names: str) -> None:
    op(*names, inputs=("X",))(lambda v: v.emit(onnx, v["X"]))


for _name in ("relu", "sigmoid", "tanh", "erf", "sqrt", "exp", "log", "abs"):
    _unary(_name.capitalize(), _name)
for _name in ("floor", "ceil", "round", "reciprocal", "sign", "sin", "cos", "softsign"):
    _unary(_name.capitalize(), _name)
_unary("Not", "logical_not")


@op("not_equal", inputs=_XY)
def _not_equal(v: OpContext) -> Value:
    return v.emit("Not", v.emit("Equal", *aligned(v)))


@op("floor_divide", "elementwise_floordiv", inputs=_XY)
def _floor_divide(v: OpContext) -> Value:
    x, y = aligned(v)
    quotient = v.emit("Div", x, y)  # of shapes and counts, which are not negative
    return v.emit("Floor", quotient) if known(x)[0].kind == "f" else quotient


@op("remainder", "elementwise_mod", inputs=_XY)
def _remainder(v: OpContext) -> Value:
    x, y = aligned(v)
    if known(x)[0].kind != "f":
        return v.emit("Mod", x, y)
    return v.emit("Sub", x, v.emit("Mul", y, v.emit("Floor", v.emit("Div", x, y))))


@op("scale", inputs=("X", "ScaleTensor"))
def _scale(v: OpContext) -> Value:
    x = v["X"]
    factor, bias = v.scalar("scale", "ScaleTensor", 1.0), v.attribute("bias", default=0.0)
    steps = [("Mul", factor, 1.0), ("Add", bias, 0.0)]
    if not v.attribute("bias_after_scale", default=True):
        steps.reverse()
    for name, number, neutral in steps:
        if number != neutral:
            x = v.emit(name, x, v.like(number, x))
    return x


@op("pow", inputs=("X", "FactorTensor"))
def _power(v: OpContext) -> Value:
    x, exponent = v["X"], v.scalar("factor" if v.has("factor") else "y", "FactorTensor", 1.0)
    if exponent == 2:
        return v.emit("Mul", x, x)
    return v.emit("Sqrt", x) if exponent == 0.5 else v.emit("Pow", x, v.like(exponent, x))


@op("square", inputs=("X",))
def _square(v: OpContext) -> Value:
    return v.emit("Mul", v["X"], v["X"])


@op("rsqrt", inputs=("X",))
def _rsqrt(v: OpContext) -> Value:
    return v.emit("Reciprocal", v.emit("Sqrt", v["X"]))


@op("log2", "log10", "log1p", inputs=("X",))
def _other_log(v: OpContext) -> Value:
    if v.type == "log1p":
        return v.emit("Log", v.emit("Add", v["X"], v.like(1, v["X"])))
    base = math.log(2 if v.type == "log2" else 10)
    return v.emit("Div", v.emit("Log", v["X"]), v.like(base, v["X"]))


@op("add_n", "sum_list", inputs=("X",))
def _add_n(v: OpContext) -> Value:
    total, *rest = v.all("X")
    for value in rest:
        total = v.emit("Add", total, value)
    return total


@op("masked_fill", inputs=("X", "Mask", "Value"))
def _masked_fill(v: OpContext) -> Value:
    return v.emit("Where", v.cast(v["Mask"], bool), v["Value"], v["X"])


@op("where", inputs=("Condition", "X", "Y"))
def _where(v: OpContext) -> Value:
    return v.emit("Where", v.cast(v["Condition"], bool), v["X"], v["Y"])


@op("cast", inputs=("X",))
def _cast(v: OpContext) -> Value:
    return v.cast(v["X"], v.dtype("out_dtype", "dtype", default=""))


@op("clip", inputs=("X", "Min", "Max"))
def _clip(v: OpContext) -> Value:
    return bounded(v, v["X"], v.scalar("min", "Min"), v.scalar("max", "Max"))


def bounded(v: OpContext, x: Value, low: float, high: float) -> Value:
    """`Clip` as a node, or folded with two comparisons."""
    if isinstance(x, Tensor):
        return v.emit("Clip", x, v.like(low, x), v.like(high, x))
    return v.emit("Min", v.emit("Max", x, v.like(low, x)), v.like(high, x))


@op("relu6", inputs=("X",))
def _relu6(v: OpContext) -> Value:
    return bounded(v, v["X"], 0.0, v.attribute("threshold", default=6.0))


@op("hardtanh", "brelu", "hard_tanh", inputs=("X",))
def _hardtanh(v: OpContext) -> Value:
    low, high = (-1.0, 1.0) if v.type != "brelu" else (0.0, 24.0)
    return bounded(
        v,
        v["X"],
        v.attribute("t_min", "min", default=low),
        v.attribute("t_max", "max", default=high),
    )


@op("hardswish", "hard_swish", inputs=("X",))
def _hardswish(v: OpContext) -> Value:
    x, given = (
        v["X"],
        [
            v.attribute(n, default=d)
            for n, d in (("threshold", 6.0), ("scale", 6.0), ("offset", 3.0))
        ],
    )
    if given == [6.0, 6.0, 3.0]:
        return v.emit("HardSwish", x)
    threshold, divisor, offset = given
    gate = bounded(v, v.emit("Add", x, v.like(offset, x)), 0.0, threshold)
    return v.emit("Div", v.emit("Mul", x, gate), v.like(divisor, x))


@op("hardsigmoid", "hard_sigmoid", inputs=("X",))
def _hardsigmoid(v: OpContext) -> Value:
    slope = v.attribute("slope", default=1 / 6 if v.type == "hardsigmoid" else 0.2)
    return v.emit(
        "HardSigmoid", v["X"], alpha=float(slope), beta=float(v.attribute("offset", default=0.5))
    )


@op("leaky_relu", inputs=("X",))
def _leaky_relu(v: OpContext) -> Value:
    return v.emit(
        "LeakyRelu", v["X"], alpha=float(v.attribute("alpha", "negative_slope", default=0.02))
    )


@op("elu", inputs=("X",))
def _elu(v: OpContext) -> Value:
    return v.emit("Elu", v["X"], alpha=float(v.attribute("alpha", default=1.0)))


@op("selu", inputs=("X",))
def _selu(v: OpContext) -> Value:
    alpha = v.attribute("alpha", default=1.6732632423543772)
    return v.emit(
        "Selu",
        v["X"],
        alpha=float(alpha),
        gamma=float(v.attribute("scale", default=1.0507009873554805)),
    )


@op("gelu", inputs=("X",))
def _gelu(v: OpContext) -> Value:
    """The spelling that ONNX Runtime joins into one kernel; opset 18 has no operator for it."""
    x = v["X"]
    half, one = v.like(0.5, x), v.like(1.0, x)
    if v.attribute("approximate", default=False):
        cube = v.emit("Mul", v.emit("Mul", x, x), x)
        inner = v.emit("Add", x, v.emit("Mul", cube, v.like(0.044715, x)))
        bent = v.emit("Tanh", v.emit("Mul", inner, v.like(math.sqrt(2 / math.pi), x)))
    else:
        bent = v.emit("Erf", v.emit("Div", x, v.like(math.sqrt(2), x)))
    return v.emit("Mul", v.emit("Mul", x, v.emit("Add", bent, one)), half)


@op("silu", "swish", inputs=("X",))
def _swish(v: OpContext) -> Value:
    x, beta = v["X"], v.attribute("beta", default=1.0)
    inner = x if beta == 1 or v.type == "silu" else v.emit("Mul", x, v.like(beta, x))
    return v.emit("Mul", x, v.emit("Sigmoid", inner))


@op("mish", inputs=("X",))
def _mish(v: OpContext) -> Value:
    return v.emit("Mul", v["X"], v.emit("Tanh", v.emit("Softplus", v["X"])))


@op("softplus", inputs=("X",))
def _softplus(v: OpContext) -> Value:
    x, beta = v["X"], float(v.attribute("beta", default=1.0))
    if beta == 1:
        return v.emit("Softplus", x)
    return v.emit("Div", v.emit("Softplus", v.emit("Mul", x, v.like(beta, x))), v.like(beta, x))


@op("prelu", inputs=("X", "Alpha"))
def _prelu(v: OpContext) -> Value:
    x, slope = v["X"], v["Alpha"]
    mode = v.attribute("mode", default="all")
    if mode == "channel":
        tail = [1] * (len(v.sides(x)) - 2)
        slope = v.emit("Reshape", slope, np.array([-1, *tail]))
    elif mode == "element" and not isinstance(slope, np.ndarray):
        raise Unsupported("prelu with a computed slope")
    return v.emit("PRelu", x, slope)


@op("softmax", "log_softmax", inputs=("X",))
def _softmax(v: OpContext) -> Value:
    x = v["X"]
    axis = v.axis(v.attribute("axis", default=-1), x)
    name = "Softmax" if v.type == "softmax" else "LogSoftmax"
    return v.emit(name, x, axis=-1 if axis == len(v.sides(x)) - 1 else axis)
