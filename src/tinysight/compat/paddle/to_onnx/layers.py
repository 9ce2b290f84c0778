"""Convolution, pooling, normalisation, matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Unsupported, Value, known
from tinysight.graph.folding import MAX_ELEMENTS
from tinysight.graph.sides import Side, Sym, product

Single: TypeAlias = Callable[[OpContext], Value]
Ints: TypeAlias = Sequence[int]
Pads: TypeAlias = dict[str, Any]
_LAYOUTS = "NCHW AnyLayout NCDHW NCL"


def either_layout(image: str, layouts: str = _LAYOUTS) -> Callable[[Single], Single]:
    """A translation for one of `layouts` takes NHWC too: its input `image` and its result change places."""

    def wrap(function: Single) -> Single:
        def translation(v: OpContext) -> Value:
            if v.get("data_format data_layout", "NCHW") not in ("NHWC", "NDHWC", "NLC"):
                _channels_first(v, layouts)
                return function(v)
            x = v[image]
            rank = len(v.sides(x))
            first = v.emit("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])
            made = translation(v.replaced(image, first, data_format="NCHW", data_layout="NCHW"))
            return v.emit("Transpose", made, perm=[0, *range(2, rank), 1])

        return translation

    return wrap


def _channels_first(v: OpContext, layouts: str = _LAYOUTS) -> None:
    layout = v.get("data_format data_layout", "NCHW")
    if layout not in layouts.split():
        raise Unsupported(f"layout {layout}")
    if v.get("fuse_relu", False) or v.get("fuse_activation", ""):
        raise Unsupported("a program that was already fused for one engine")


def _pads(v: OpContext, x: Value, kernel: Ints, strides: Ints, dilations: Ints) -> Pads:
    """`pads` (or `auto_pad`, where sides are not known) from `paddings` and `padding_algorithm`."""
    algorithm, rank = v.get("padding_algorithm", "EXPLICIT"), len(kernel)
    if algorithm == "VALID":
        return {"pads": [0] * 2 * rank}
    if algorithm == "SAME":
        sides = v.sides(x)[2:]
        if any(isinstance(side, Sym) for side in sides):
            return {"auto_pad": "SAME_UPPER"}
        windows = zip(v.numbers(sides), kernel, strides, dilations, strict=True)
        totals = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in windows]
        # The odd one goes to the end.
        return {"pads": [n // 2 for n in totals] + [n - n // 2 for n in totals]}
    given = v.integers("paddings", [0] * rank)
    if len(given) == rank:
        return {"pads": given * 2}
    if len(given) == 2 * rank:  # before and after, axis by axis
        return {"pads": given[0::2] + given[1::2]}
    raise Unsupported(f"paddings {given}")


@op("conv2d depthwise_conv2d conv1d conv3d", "Input Filter Bias", "Output")
@either_layout("Input")
def _convolution(v: OpContext) -> Value:
    x, w = v["Input"], v["Filter"]
    kernel = v.numbers(v.sides(w)[2:])
    strides = v.integers("strides", [1] * len(kernel))
    same = v.get("padding_algorithm", "EXPLICIT") == "SAME"  # without dilations, as PaddleClas does
    dilations = [1] * len(kernel) if same else v.integers("dilations", [1] * len(kernel))
    pads = _pads(v, x, kernel, strides, dilations)
    attributes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, **pads}
    inputs = [x, w, v["Bias"]] if "Bias" in v else [x, w]
    return v.emit("Conv", *inputs, group=v.get("groups", 1) or 1, **attributes)


@op("conv2d_transpose depthwise_conv2d_transpose", "Input Filter OutputSize", "Output")
@either_layout("Input")
def _transposed_convolution(v: OpContext) -> Value:
    x, w = v["Input"], v["Filter"]
    kernel, strides = v.numbers(v.sides(w)[2:]), v.integers("strides")
    dilations = v.integers("dilations", [1, 1])
    pads = _pads(v, x, kernel, strides, dilations)
    if "pads" not in pads or v.get("padding_algorithm", "EXPLICIT") == "SAME":
        raise Unsupported("padding_algorithm SAME of a transposed convolution")
    more = v.integers("output_padding", []) or [0] * len(kernel)
    given = v.has("output_size") or "OutputSize" in v
    for i, wanted in enumerate(v.constants("output_size", "OutputSize") if given else []):
        plain = (v.side(x, 2 + i) - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1
        more[i] = wanted - (plain - pads["pads"][i] - pads["pads"][len(kernel) + i])
    attributes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, **pads}
    group = v.get("groups", 1) or 1
    return v.emit("ConvTranspose", x, w, group=group, output_padding=more, **attributes)


@op("pool2d pool3d max_pool2d_with_index max_pool3d_with_index", "X KSize")
@either_layout("X")
def _pool(v: OpContext) -> Value:
    x, average = v["X"], v.get("pooling_type", "max") == "avg"
    sides = v.sides(x)[2:]
    kernel = v.constants("kernel_size" if v.has("kernel_size") else "ksize", "KSize")
    if v.get("adaptive", False):
        return _adaptive(v, x, kernel * len(sides) if len(kernel) == 1 else kernel, average)
    whole = tuple(kernel) == sides and not any(v.integers("paddings", [0]))
    if v.get("global_pooling", False) or whole:
        return v.emit("GlobalAveragePool" if average else "GlobalMaxPool", x)
    strides = v.integers("strides", [1] * len(kernel))
    pads = _pads(v, x, kernel, strides, [1] * len(kernel))
    if v.get("ceil_mode", False):
        pads = _ceil(pads, sides, kernel, strides)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, **pads}
    if not average:
        return v.emit("MaxPool", x, **attributes)
    attributes["count_include_pad"] = int(not v.get("exclusive", True))
    return v.emit("AveragePool", x, **attributes)


def _ceil(pads: Pads, sides: Sequence[Side], kernel: Ints, strides: Ints) -> Pads:
    """Round the number of windows up by padding the end: engines differ in how they read `ceil_mode`."""
    if "pads" not in pads or any(isinstance(s, Sym) for s in sides):
        return {**pads, "ceil_mode": 1}
    more, rank = list(pads["pads"]), len(kernel)
    for i, side in enumerate(s for s in sides if not isinstance(s, Sym)):
        span = side + more[i] + more[rank + i] - kernel[i]
        more[rank + i] += -span % strides[i]
    return {"pads": more}


def _adaptive(v: OpContext, x: Value, size: Sequence[int], average: bool) -> Value:
    if all(s == 1 for s in size):
        return v.emit("GlobalAveragePool" if average else "GlobalMaxPool", x)
    both = [*zip(v.numbers(v.sides(x)[2:]), size, strict=True)]
    if all(side == out for side, out in both):
        return x
    if not all(0 < out <= 4096 for out in size):
        raise Unsupported(f"adaptive pooling to {list(size)}")
    if all(side % out == 0 for side, out in both):
        steps = [side // out for side, out in both]
        name = "AveragePool" if average else "MaxPool"
        return v.emit(name, x, kernel_shape=steps, strides=steps, pads=[0] * 2 * len(steps))
    name = "ReduceMean" if average else "ReduceMax"
    for axis, (side, out) in enumerate(both, 2):
        # Windows of uneven length; the mean over a rectangle is the mean of the means of its rows.
        ends = ((i * side // out, -(-(i + 1) * side // out)) for i in range(out))
        bands = (v.slice(x, axis, start, end) for start, end in ends)
        parts = [v.emit(name, band, np.array([axis]), keepdims=1) for band in bands]
        x = v.emit("Concat", *parts, axis=axis)
    return x


def _channelwise(v: OpContext, value: np.ndarray, x: Value) -> np.ndarray:
    """A vector over axis 1 of `x`, shaped to broadcast."""
    return value.reshape(-1, *[1] * (len(v.sides(x)) - 2))


@op("batch_norm sync_batch_norm", "X Mean Variance Scale Bias", "Y")
@either_layout("X")
def batch_norm(v: OpContext) -> Value:
    """Statistics have to be constants, or inputs of the graph."""
    x, mean, variance = v["X"], v["Mean"], v["Variance"]
    if not all(isinstance(s, np.ndarray) or s in v.graph.inputs for s in (mean, variance)):
        raise Unsupported("statistics that are computed")
    count = v.numbers(v.sides(mean))
    scale = v["Scale"] if "Scale" in v else np.ones(count, known(mean)[0])
    bias = v["Bias"] if "Bias" in v else np.zeros(count, known(mean)[0])
    epsilon = float(v.get("epsilon", 1e-05))
    parts = (scale, bias, mean, variance)
    if len(v.sides(x)) == 4 or not all(isinstance(part, np.ndarray) for part in parts):
        return v.emit("BatchNormalization", x, *parts, epsilon=epsilon)
    scale, bias, mean, variance = map(np.asarray, parts)
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    offset = bias - mean * factor
    scaled = v.emit("Mul", x, _channelwise(v, factor.astype(scale.dtype), x))
    return v.emit("Add", scaled, _channelwise(v, offset.astype(scale.dtype), x))


@op("layer_norm", "X Scale Bias", "Y")
def _layer_norm(v: OpContext) -> Value:
    x, axis = v["X"], v.axis(v.get("begin_norm_axis", 1), v["X"])
    tail = v.numbers(v.sides(x)[axis:])
    shape = np.array(tail, np.int64)
    if "Scale" not in v and np.prod(shape, dtype=float) > MAX_ELEMENTS:
        raise Unsupported(f"normalised sides {tail}")
    scale = v["Scale"] if "Scale" in v else np.ones(tail, known(x)[0])
    given = [scale, v["Bias"]] if "Bias" in v else [scale]
    parts = [v.emit("Reshape", value, shape) for value in given]
    epsilon, last = float(v.get("epsilon", 1e-05)), axis == len(v.sides(x)) - 1
    return v.emit("LayerNormalization", x, *parts, axis=-1 if last else axis, epsilon=epsilon)


@op("instance_norm group_norm", "X Scale Bias", "Y")
def _group_norm(v: OpContext) -> Value:
    _channels_first(v)
    x, epsilon, sides = v["X"], float(v.get("epsilon", 1e-05)), v.sides(v["X"])
    channels, dtype = sides[1], known(x)[0]
    if not isinstance(channels, int):
        raise Unsupported("channels that are not known")
    groups = channels if v.type == "instance_norm" else v.get("groups", 1)
    if not 0 < groups <= channels:
        raise Unsupported(f"{groups} groups of {channels} channels")
    flat = v.reshape(x, [sides[0], groups, -1])
    one, zero = np.ones(groups, dtype), np.zeros(groups, dtype)
    result = v.reshape(v.emit("InstanceNormalization", flat, one, zero, epsilon=epsilon), sides)
    for slot, name in (("Scale", "Mul"), ("Bias", "Add")):
        if slot in v:
            shape = np.array([-1, *[1] * (len(sides) - 2)])
            result = v.emit(name, result, v.emit("Reshape", v[slot], shape))
    return result


@op("norm l2_normalize", "X")
def _l2_normalise(v: OpContext) -> Value:
    x = v["X"]
    axes, epsilon = np.array([v.own_axis(x)]), v.get("epsilon", 1e-10)
    total = v.emit("ReduceSum", v.emit("Mul", x, x), axes, keepdims=1)
    return v.emit("Div", x, v.emit("Sqrt", v.emit("Add", total, v.like(epsilon, x))))


def swap_last(v: OpContext, x: Value) -> Value:
    """`x` with its last two axes exchanged; vectors stay."""
    rank = len(v.sides(x))
    return x if rank < 2 else v.emit("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])


@op("matmul matmul_v2 bmm", "X Y")
def _matmul(v: OpContext) -> Value:
    result, alpha = product_of(v), v.get("alpha", 1.0)
    return result if alpha == 1 else v.emit("Mul", result, v.like(alpha, result))


def product_of(v: OpContext) -> Value:
    """The matrix product of X and Y, each with its last two axes exchanged first where that is asked for."""
    swap_x, swap_y = (v.get(f"trans_{s} transpose_{s} transpose_{s.upper()}") for s in "xy")
    x, y = (swap_last(v, v[n]) if swap else v[n] for n, swap in (("X", swap_x), ("Y", swap_y)))
    return v.emit("MatMul", x, y)


@op("mul", "X Y")
def _flat_matmul(v: OpContext) -> Value:
    x, y = v["X"], v["Y"]
    split_x, split_y = v.get("x_num_col_dims", 1), v.get("y_num_col_dims", 1)
    head, tail = v.sides(x)[:split_x], v.sides(y)[split_y:]
    if split_y != 1 or len(v.sides(y)) != 2:
        y = _flat(v, y, split_y)
    if len(v.sides(x)) - split_x == 1:
        return v.emit("MatMul", x, y)
    return v.reshape(v.emit("MatMul", _flat(v, x, split_x), y), [*head, *tail])


def _flat(v: OpContext, x: Value, split: int) -> Value:
    sides = v.sides(x)
    return v.reshape(x, [product(sides[:split]), product(sides[split:])])


@op("dropout", "X Seed P")
def _dropout(v: OpContext) -> Value:
    x, mode = v["X"], v.get("dropout_implementation mode", "downgrade_in_infer")
    if mode == "upscale_in_train":
        return x
    if mode != "downgrade_in_infer":
        raise Unsupported(f"dropout mode {mode!r:.40}")
    keep = 1.0 - v.scalar("dropout_prob", "P")
    return x if keep == 1 else v.emit("Mul", x, v.like(keep, x))


@op("fc linear linear_v2", "Input W Bias")
def _fully_connected(v: OpContext) -> Value:
    x, columns = v["Input"], v.get("in_num_col_dims", 1)
    if v.type == "fc" and len(v.sides(x)) - columns != 1:
        x = _flat(v, x, columns)
    result, activation = v.emit("MatMul", x, v["W"]), v.get("activation_type", "")
    if "Bias" in v:
        result = v.emit("Add", result, v["Bias"])
    if activation not in ("", "relu"):
        raise Unsupported(f"activation {activation!r:.40}")
    return v.emit("Relu", result) if activation else result
