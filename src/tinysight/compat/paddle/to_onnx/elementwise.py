"""Arithmetic, comparison and activation operators."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import GraphTensor, Unsupported, Value, known


def aligned(v: OpContext) -> tuple[Value, Value]:
    """The two operands, made to broadcast as ONNX does and brought to one data type.

    In the legacy form `axis` says where the second operand's sides stand under the first's.
    """
    x, y = v["X"], v["Y"]
    axis, rank_x, rank_y = v.get("axis", -1), len(v.sides(x)), len(v.sides(y))
    behind = rank_x - axis - rank_y
    if axis >= 0 and rank_y and behind > 0:
        y = v.unsqueeze(y, *range(rank_y, rank_y + behind))
    wide = np.promote_types(known(x)[0], known(y)[0])
    return v.cast(x, wide), v.cast(y, wide)


_BINARY = {
    "Add": "add elementwise_add grad_add", "Sub": "subtract elementwise_sub", "Mul": "multiply elementwise_mul",
    "Div": "divide elementwise_div", "Max": "maximum elementwise_max fmax elementwise_fmax",
    "Min": "minimum elementwise_min fmin elementwise_fmin", "Pow": "elementwise_pow", "Equal": "equal",
    "Less": "less_than", "LessOrEqual": "less_equal", "Greater": "greater_than", "GreaterOrEqual": "greater_equal",
    "And": "logical_and", "Or": "logical_or",
}  # fmt: skip
_UNARY = "Relu Sigmoid Tanh Erf Sqrt Exp Log Abs Floor Ceil Round Reciprocal Sign Sin Cos Softsign"
for _onnx, _names in _BINARY.items():
    op(_names, "X Y")(lambda v, onnx=_onnx: v.emit(onnx, *aligned(v)))
for _onnx in _UNARY.split():
    op(_onnx.lower(), "X")(lambda v, onnx=_onnx: v.emit(onnx, v["X"]))
op("logical_not", "X")(lambda v: v.emit("Not", v["X"]))


@op("floor_divide elementwise_floordiv", "X Y")
def _floor_divide(v: OpContext) -> Value:
    x, y = aligned(v)
    quotient = v.emit("Div", x, y)  # of shapes and counts, which are not negative
    return v.emit("Floor", quotient) if known(x)[0].kind == "f" else quotient


@op("remainder elementwise_mod", "X Y")
def _remainder(v: OpContext) -> Value:
    x, y = aligned(v)
    if known(x)[0].kind != "f":
        return v.emit("Mod", x, y)
    return v.emit("Sub", x, v.emit("Mul", y, v.emit("Floor", v.emit("Div", x, y))))


@op("scale", "X ScaleTensor")
def _scale(v: OpContext) -> Value:
    x, factor = v["X"], v.scalar("scale", "ScaleTensor", 1.0)
    steps = [("Mul", factor, 1.0), ("Add", v.get("bias", 0.0), 0.0)]
    for name, number, neutral in steps if v.get("bias_after_scale", True) else steps[::-1]:
        if number != neutral:
            x = v.emit(name, x, v.like(number, x))
    return x


@op("pow", "X FactorTensor")
def _power(v: OpContext) -> Value:
    x, exponent = v["X"], v.scalar("factor" if v.has("factor") else "y", "FactorTensor", 1.0)
    if exponent == 2:
        return v.emit("Mul", x, x)
    return v.emit("Sqrt", x) if exponent == 0.5 else v.emit("Pow", x, v.like(exponent, x))


@op("log2 log10 log1p", "X")
def _other_log(v: OpContext) -> Value:
    if v.type == "log1p":
        return v.emit("Log", v.emit("Add", v["X"], v.like(1, v["X"])))
    base = math.log(2 if v.type == "log2" else 10)
    return v.emit("Div", v.emit("Log", v["X"]), v.like(base, v["X"]))


@op("add_n sum_list", "X")
def summed(v: OpContext) -> Value:
    """The sum of several tensors."""
    return reduce(lambda total, value: v.emit("Add", total, value), v.all("X"))


def bounded(v: OpContext, x: Value, low: float, high: float) -> Value:
    """`Clip` as a node, or folded with two comparisons."""
    if isinstance(x, GraphTensor):
        return v.emit("Clip", x, v.like(low, x), v.like(high, x))
    return v.emit("Min", v.emit("Max", x, v.like(low, x)), v.like(high, x))


@op("hardtanh brelu hard_tanh", "X")
def _hardtanh(v: OpContext) -> Value:
    low, high = (-1.0, 1.0) if v.type != "brelu" else (0.0, 24.0)
    return bounded(v, v["X"], v.get("t_min min", low), v.get("t_max max", high))


@op("hardswish hard_swish", "X")
def _hardswish(v: OpContext) -> Value:
    x, threshold = v["X"], v.get("threshold", 6.0)
    divisor, offset = v.get("scale", 6.0), v.get("offset", 3.0)
    if (threshold, divisor, offset) == (6, 6, 3):
        return v.emit("HardSwish", x)
    gate = bounded(v, v.emit("Add", x, v.like(offset, x)), 0.0, threshold)
    return v.emit("Div", v.emit("Mul", x, gate), v.like(divisor, x))


@op("gelu", "X")
def _gelu(v: OpContext) -> Value:
    """The spelling that ONNX Runtime joins into one kernel; opset 18 has no operator for it."""
    x = v["X"]
    half, one = v.like(0.5, x), v.like(1.0, x)
    if v.get("approximate", False):
        cube = v.emit("Mul", v.emit("Mul", x, x), x)
        inner = v.emit("Add", x, v.emit("Mul", cube, v.like(0.044715, x)))
        bent = v.emit("Tanh", v.emit("Mul", inner, v.like(math.sqrt(2 / math.pi), x)))
    else:
        bent = v.emit("Erf", v.emit("Div", x, v.like(math.sqrt(2), x)))
    return v.emit("Mul", v.emit("Mul", x, v.emit("Add", bent, one)), half)


@op("silu swish", "X")
def _swish(v: OpContext) -> Value:
    x, beta = v["X"], v.get("beta", 1.0)
    inner = x if beta == 1 or v.type == "silu" else v.emit("Mul", x, v.like(beta, x))
    return v.emit("Mul", x, v.emit("Sigmoid", inner))


@op("softplus", "X")
def _softplus(v: OpContext) -> Value:
    x, beta = v["X"], float(v.get("beta", 1.0))
    if beta == 1:
        return v.emit("Softplus", x)
    return v.emit("Div", v.emit("Softplus", v.emit("Mul", x, v.like(beta, x))), v.like(beta, x))


@op("prelu", "X Alpha")
def _prelu(v: OpContext) -> Value:
    x, slope, mode = v["X"], v["Alpha"], v.get("mode", "all")
    if mode == "channel":
        slope = v.emit("Reshape", slope, np.array([-1, *[1] * (len(v.sides(x)) - 2)]))
    elif mode == "element" and not isinstance(slope, np.ndarray):
        raise Unsupported("prelu with a computed slope")
    return v.emit("PRelu", x, slope)


@op("softmax log_softmax", "X")
def _softmax(v: OpContext) -> Value:
    axis, name = v.own_axis(v["X"]), "Softmax" if v.type == "softmax" else "LogSoftmax"
    return v.emit(name, v["X"], axis=-1 if axis == len(v.sides(v["X"])) - 1 else axis)


def _where(v: OpContext, condition: str, yes: str, no: str) -> Value:
    return v.emit("Where", v.cast(v[condition], bool), v[yes], v[no])


op("masked_fill", "X Mask Value")(lambda v: _where(v, "Mask", "Value", "X"))
op("where", "Condition X Y")(lambda v: _where(v, "Condition", "X", "Y"))
op("not_equal", "X Y")(lambda v: v.emit("Not", v.emit("Equal", *aligned(v))))
op("clip", "X Min Max")(
    lambda v: bounded(v, v["X"], v.scalar("min", "Min"), v.scalar("max", "Max"))
)
op("square", "X")(lambda v: v.emit("Mul", v["X"], v["X"]))
op("rsqrt", "X")(lambda v: v.emit("Reciprocal", v.emit("Sqrt", v["X"])))
op("cast", "X")(lambda v: v.cast(v["X"], v.dtype("out_dtype dtype", "")))
op("relu6", "X")(lambda v: bounded(v, v["X"], 0.0, v.get("threshold", 6.0)))
op("mish", "X")(lambda v: v.emit("Mul", v["X"], v.emit("Tanh", v.emit("Softplus", v["X"]))))


def _with_options(onnx: str, name: str, **options: tuple[str, float]) -> None:
    """An activation whose ONNX attributes are Paddle's under other names, with Paddle's defaults."""

    @op(name, "X")
    def translation(v: OpContext) -> Value:
        return v.emit(onnx, v["X"], **{k: float(v.get(*given)) for k, given in options.items()})


_with_options("Elu", "elu", alpha=("alpha", 1.0))
_with_options("LeakyRelu", "leaky_relu", alpha=("alpha negative_slope", 0.02))
_with_options("HardSigmoid", "hardsigmoid", alpha=("slope", 1 / 6), beta=("offset", 0.5))
_with_options("HardSigmoid", "hard_sigmoid", alpha=("slope", 0.2), beta=("offset", 0.5))
_SELU = ("alpha", 1.6732632423543772), ("scale", 1.0507009873554805)
_with_options("Selu", "selu", alpha=_SELU[0], gamma=_SELU[1])
