"""The operators of ONNX as functions of torch: of the tensors that go in, and the attributes.

Whole numbers that steer (shapes, axes, places) are lists. What is not supported is an `ExportError`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinysight.errors import ExportError

Attributes = Mapping[str, Any]
UNSUPPORTED = "ONNX-to-torch conversion does not support"


def _padded(x: Tensor, a: Attributes, fill: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """The image with its asymmetric padding added, and the symmetric padding that remains to be done."""
    if a.get("auto_pad", "NOTSET") != "NOTSET":
        raise ExportError("model.onnx", f"{UNSUPPORTED} auto_pad {a['auto_pad']}")
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def _conv(v: list[Any], a: Attributes) -> Tensor:
    x, padding = _padded(v[0], a)
    stride, dilation = list(a.get("strides", (1, 1))), list(a.get("dilations", (1, 1)))
    bias = v[2] if len(v) > 2 else None
    return F.conv2d(x, v[1], bias, stride, list(padding), dilation, a.get("group", 1))


def _max_pool(v: list[Any], a: Attributes) -> Tensor:
    # Where the padding is one-sided it is written out, with what no maximum notices.
    x, padding = _padded(v[0], a, -math.inf)
    return F.max_pool2d(
        x, list(a["kernel_shape"]), list(a.get("strides", (1, 1))), list(padding),
        list(a.get("dilations", (1, 1))), bool(a.get("ceil_mode", 0)),
    )  # fmt: skip


def _average_pool(v: list[Any], a: Attributes) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise ExportError("model.onnx", f"{UNSUPPORTED} one-sided padding of means")
    return F.avg_pool2d(
        v[0], list(a["kernel_shape"]), list(a.get("strides", (1, 1))), [top, left],
        bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)),
    )  # fmt: skip


def _gemm(v: list[Any], a: Attributes) -> Tensor:
    x = v[0].t() if a.get("transA") else v[0]
    weight = v[1] if a.get("transB") else v[1].t()
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    bias = v[2] if len(v) > 2 else None
    bias = bias if bias is None or beta == 1 else bias * beta
    return F.linear(x, weight * alpha if alpha != 1 else weight, bias)


def _hard_sigmoid(v: list[Any], a: Attributes) -> Tensor:
    return torch.clamp(v[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0)


def named_hard_sigmoid(v: list[Any], a: Attributes) -> Tensor:
    """The one that converters know by its name, where the slope is nearly that; Paddle writes 0.1666667."""
    if math.isclose(a.get("alpha", 0.2), 1 / 6, rel_tol=1e-6) and a.get("beta", 0.5) == 0.5:
        return F.hardsigmoid(v[0])
    return _hard_sigmoid(v, a)


def _reshape(v: list[Any], a: Attributes) -> Tensor:
    keep = not a.get("allowzero")  # a side of 0 stays as it is
    sides = [v[0].shape[i] if keep and side == 0 else side for i, side in enumerate(v[1])]
    return torch.reshape(v[0], sides)


def _reduced(kind: Callable[..., Tensor], v: list[Any], a: Attributes) -> Tensor:
    axes = v[1] if len(v) > 1 else list(a["axes"])
    return kind(v[0], axes, keepdim=bool(a.get("keepdims", 1)))


def _cast(v: list[Any], a: Attributes) -> Any:
    if isinstance(v[0], list):
        return v[0]  # sides
    if a["to"] != np.float32:
        raise ExportError("model.onnx", f"{UNSUPPORTED} a cast to {a['to']}")
    return v[0].float()


def _expand(v: list[Any], a: Attributes) -> Tensor:
    own = [1] * (len(v[1]) - v[0].ndim) + list(v[0].shape)
    return v[0].expand([o if side == 1 else side for o, side in zip(own, v[1], strict=True)])  # type: ignore[no-any-return]


def _gather(v: list[Any], a: Attributes) -> Any:
    axis = a.get("axis", 0)
    if isinstance(v[0], list):
        return [v[0][i] for i in v[1]]
    if isinstance(v[1], list):
        raise ExportError("model.onnx", f"{UNSUPPORTED} places that are computed")
    picked = torch.index_select(v[0], axis, v[1].reshape(-1))
    return picked.reshape(*v[0].shape[:axis], *v[1].shape, *v[0].shape[axis + 1 :])


def _layer_norm(v: list[Any], a: Attributes) -> Tensor:
    sides = v[0].shape[a.get("axis", -1) :]
    return F.layer_norm(v[0], sides, v[1], v[2] if len(v) > 2 else None, a.get("epsilon", 1e-5))


def _pad(v: list[Any], a: Attributes) -> Tensor:
    if a.get("mode", "constant") != "constant":
        raise ExportError("model.onnx", f"{UNSUPPORTED} padding by {a['mode']}")
    count, pads = v[0].ndim, v[1]
    pairs = [(pads[i], pads[i + count]) for i in range(count - 1, -1, -1)]
    return F.pad(v[0], [side for pair in pairs for side in pair], value=_number(v[2:]))


def _number(given: list[Any]) -> float:
    return float(given[0]) if given and given[0] is not None else 0.0


def _resize(v: list[Any], a: Attributes) -> Tensor:
    mode, kind = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    sides = (
        v[3] if len(v) > 3 else [int(s * f) for s, f in zip(v[0].shape, v[2].tolist(), strict=True)]
    )
    if mode == "linear" and kind in ("half_pixel", "align_corners"):
        return F.interpolate(
            v[0], list(sides[2:]), mode="bilinear", align_corners=kind == "align_corners"
        )
    if mode == "nearest" and kind == "asymmetric" and a.get("nearest_mode") == "floor":
        return F.interpolate(v[0], list(sides[2:]), mode="nearest")
    raise ExportError("model.onnx", f"{UNSUPPORTED} resizing {mode}, {kind}")


def _slice(v: list[Any], a: Attributes) -> Any:
    starts, ends = v[1:3]
    axes = v[3] if len(v) > 3 else range(len(starts))
    steps = v[4] if len(v) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ExportError("model.onnx", f"{UNSUPPORTED} slices backwards")
        v = [v[0][(slice(None),) * (axis % v[0].ndim) + (slice(start, end, step),)]]
    return v[0]


def _split(v: list[Any], a: Attributes) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    if len(v) > 1 and v[1] is not None:
        return torch.split(v[0], v[1], axis)
    return torch.tensor_split(v[0], a["num_outputs"], axis)


def _unsqueeze(v: list[Any], a: Attributes) -> Tensor:
    x, axes = v[0], v[1]
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


OPERATORS: Mapping[str, Callable[[list[Any], Attributes], Any]] = {
    "Add": lambda v, a: v[0] + v[1],
    "AveragePool": _average_pool,
    "Clip": lambda v, a: torch.clamp(*v),
    "Cast": _cast,
    "Concat": lambda v, a: sum(v, []) if isinstance(v[0], list) else torch.cat(v, a["axis"]),
    "Conv": _conv,
    "Div": lambda v, a: v[0] / v[1],
    "Erf": lambda v, a: torch.erf(v[0]),
    "Expand": _expand,
    "Flatten": lambda v, a: torch.flatten(v[0], a.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda v, a: F.adaptive_avg_pool2d(v[0], 1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda v, a: F.hardswish(v[0]),
    "Identity": lambda v, a: v[0],
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda v, a: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "MatMul": lambda v, a: torch.matmul(*v),
    "Max": lambda v, a: functools.reduce(torch.maximum, v),
    "MaxPool": _max_pool,
    "Mul": lambda v, a: (
        [x * y for x, y in zip(*v, strict=True)] if isinstance(v[0], list) else v[0] * v[1]
    ),
    "Pad": _pad,
    "ReduceMean": lambda v, a: _reduced(torch.mean, v, a),
    "ReduceSum": lambda v, a: _reduced(torch.sum, v, a),
    "Relu": lambda v, a: F.relu(v[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda v, a: list(v[0].shape),
    "Sigmoid": lambda v, a: torch.sigmoid(v[0]),
    "Slice": _slice,
    "Softmax": lambda v, a: torch.softmax(v[0], a.get("axis", -1)),
    "Split": _split,
    "Sqrt": lambda v, a: torch.sqrt(v[0]),
    "Sub": lambda v, a: v[0] - v[1],
    "Transpose": lambda v, a: v[0].permute(*a["perm"]),
    "Unsqueeze": _unsqueeze,
}
