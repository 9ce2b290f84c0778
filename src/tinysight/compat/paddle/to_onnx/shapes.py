"""Data type and sides of what an ONNX node makes, from those of its inputs.

One rule per operator that the translator emits. A side that cannot be known is None; the graph then names it after the
tensor itself, and it is asked for while the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.symbols import Side, Sym, product, quotient
from tinysight.compat.paddle.to_onnx.windows import (
    Known,
    Made,
    conv,
    conv_transpose,
    global_pool,
    pool,
    text,
)

_BOOL = np.dtype(bool)
_INT64 = np.dtype(np.int64)


def broadcast(*shapes: Sequence[Side]) -> tuple[Side, ...]:
    """The common shape of several; an unknown side gives way to a known one above 1."""
    rank = max(len(s) for s in shapes)
    result: list[Side] = [1] * rank
    for shape in shapes:
        for axis, side in enumerate(shape, rank - len(shape)):
            old = result[axis]
            if side == 1 or side == old:
                continue
            if isinstance(side, Sym):
                if old == 1:
                    result[axis] = side
            elif old == 1 or isinstance(old, Sym):
                result[axis] = side
            else:
                raise ValueError(f"shapes {text(shapes)} do not go together")
    return tuple(result)


def _same(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [inputs[0]]


def _batch_norm(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    (dtype, x), *statistics = inputs
    if any(shape != (x[1],) for _dtype, shape in statistics):
        raise ValueError("statistics of another number of channels")
    return [(dtype, x)]


def _elementwise(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(inputs[0][0], broadcast(*(s for _dtype, s in inputs)))]


def _comparison(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(_BOOL, broadcast(*(s for _dtype, s in inputs)))]


def _where(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(inputs[1][0], broadcast(*(s for _dtype, s in inputs)))]


def _cast(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    return [(np.dtype(attributes["to"]), inputs[0][1])]


def _matmul(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    (dtype, a), (_dtype, b) = inputs
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2] and isinstance(left[-1], int) and isinstance(right[-2], int):
        raise ValueError(f"a product of {text([a, b])}")
    core = [left[-2]] * (len(a) > 1) + [right[-1]] * (len(b) > 1)
    return [(dtype, (*broadcast(left[:-2], right[:-2]), *core))]


def _gemm(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(inputs[0][0], (inputs[0][1][0], inputs[1][1][1]))]


def _transpose(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    return [(inputs[0][0], tuple(inputs[0][1][i] for i in attributes["perm"]))]


def _reshape(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    (dtype, x), target = inputs[0], values[1]
    if not isinstance(target, np.ndarray):
        [length] = inputs[1][1]
        return [(dtype, (None,) * int(length))]  # type: ignore[arg-type]  # ranks are known
    sides: list[Side] = list(target.tolist())
    sides = [x[i] if s == 0 and i < len(x) and product(x) != 0 else s for i, s in enumerate(sides)]
    if -1 not in sides:
        if quotient(product(x), product(sides)) not in (1, None):
            raise ValueError(f"a reshape of {text([x])} to {text([sides])}")
        return [(dtype, tuple(sides))]
    known = product(s for s in sides if s != -1)
    rest = quotient(product(x), known)
    if rest is None and isinstance(product(x), int) and isinstance(known, int):
        raise ValueError(f"a reshape of {text([x])} to {text([sides])}")
    return [(dtype, tuple(rest if s == -1 else s for s in sides))]


def _concat(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    axis = attributes["axis"]
    total: Side = 0
    for _dtype, shape in inputs:
        total = total + shape[axis]
    first = list(inputs[0][1])
    for _dtype, shape in inputs[1:]:  # another part may know a side that the first does not
        first = [b if isinstance(a, Sym) else a for a, b in zip(first, shape, strict=True)]
    first[axis] = total
    return [(inputs[0][0], tuple(first))]


def _split(inputs: list[Known], values: list[Any], attributes: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    axis = attributes["axis"]
    return [(dtype, (*x[:axis], int(s), *x[axis + 1 :])) for s in values[1]]


def _slice(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    sides: list[Side | None] = list(x)
    bounds = values[1:3]
    axes, steps = values[3].tolist(), values[4].tolist()
    for i, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        side, plain = x[axis], all(isinstance(v, np.ndarray) for v in bounds)
        start, end = (v[i] if isinstance(v, np.ndarray) else None for v in bounds)
        if isinstance(side, Sym) or not plain or isinstance(start, Sym) or isinstance(end, Sym):
            whole = plain and start == 0 and step == 1 and (end == side or _beyond(end))
            fixed = plain and step == 1 and _span(start, end)
            sides[axis] = side if whole else (fixed or None)
        else:
            span = slice(int(start or 0), _end(end, step), step)
            sides[axis] = len(range(*span.indices(side)))
    return [(dtype, tuple(sides))]


def _end(end: Any, step: int) -> int | None:
    """A slice's end for Python, where counting down to before the first element is written None."""
    return None if step < 0 and end <= -(2**31) else int(end)


def _beyond(end: Any) -> bool:
    return not isinstance(end, Sym) and end >= 2**31 - 1


def _span(start: Any, end: Any) -> int | None:
    """Length of a slice of an unknown side when both ends are counted from one side: `x[:1]`, `x[-2:-1]`."""
    if isinstance(start, Sym) or isinstance(end, Sym):
        length = end - start
        return length if isinstance(length, int) and length > 0 else None
    return (
        int(end - start) if (start == 0 and end == 1) or (start < 0 and start < end < 0) else None
    )


def _gather(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    (dtype, x), (_dtype, indices) = inputs
    axis = attributes["axis"]
    return [(dtype, (*x[:axis], *indices, *x[axis + 1 :]))]


def _gather_nd(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    (dtype, x), (_dtype, indices) = inputs
    return [(dtype, (*indices[:-1], *x[int(indices[-1]) :]))]  # type: ignore[arg-type]


def _unsqueeze(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    rank = len(x) + len(values[1])
    places, rest = {int(a) % rank for a in values[1]}, iter(x)
    return [(dtype, tuple(1 if i in places else next(rest) for i in range(rank)))]


def _squeeze(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    places = {int(a) % len(x) for a in values[1]}
    return [(dtype, tuple(s for i, s in enumerate(x) if i not in places))]


def _expand(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    if not isinstance(values[1], np.ndarray):
        return [(dtype, (None,) * int(inputs[1][1][0]))]  # type: ignore[arg-type]
    return [(dtype, broadcast(x, values[1].tolist()))]


def _tile(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    if not isinstance(values[1], np.ndarray):
        return [(dtype, (None,) * len(x))]
    return [(dtype, tuple(s * r for s, r in zip(x, values[1].tolist(), strict=True)))]


def _reduce(inputs: list[Known], values: list[Any], attributes: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    axes = attributes.get("axes") if len(values) < 2 else values[1].tolist()
    keep = attributes["keepdims"]
    places = {a % len(x) for a in axes} if axes is not None else set(range(len(x)))
    sides = [1 if i in places else s for i, s in enumerate(x)]
    return [(dtype, tuple(s for i, s in enumerate(sides) if keep or i not in places))]


def _arg(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    _dtype, x = inputs[0]
    axis, keep = attributes["axis"], attributes["keepdims"]
    return [(_INT64, (*x[:axis], *[1] * keep, *x[axis + 1 :]))]


def _pad(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    pads = values[1].tolist()
    more = [pads[i] + pads[len(x) + i] for i in range(len(x))]
    sides = (
        s if m == 0 else (s + m if isinstance(s, int) else None)
        for s, m in zip(x, more, strict=True)
    )
    return [(dtype, tuple(sides))]


def _resize(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    scales, sizes = values[2], values[3] if len(values) > 3 else None
    if isinstance(sizes, np.ndarray):
        return [(dtype, tuple(sizes.tolist()))]
    if not isinstance(scales, np.ndarray):
        return [(dtype, (*x[:2], *[None] * (len(x) - 2)))]
    sides = (
        s if f == 1 else (int(np.floor(np.float64(s) * float(f))) if isinstance(s, int) else None)
        for s, f in zip(x, scales.tolist(), strict=True)
    )
    return [(dtype, tuple(sides))]


def _shape(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(_INT64, (len(inputs[0][1]),))]


def _top_k(inputs: list[Known], values: list[Any], attributes: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    axis = attributes["axis"] % len(x)
    k = (
        int(values[1][0])
        if isinstance(values[1], np.ndarray) and values[1].dtype != object
        else None
    )
    sides = (*x[:axis], k, *x[axis + 1 :])
    return [(dtype, sides), (_INT64, sides)]


def _nms(_: list[Known], __: list[Any], ___: Mapping[str, Any]) -> Made:
    return [(_INT64, (None, 3))]


def _compress(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    return [(dtype, (*x[: attributes["axis"]], None, *x[attributes["axis"] + 1 :]))]


def _one_hot(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(inputs[2][0], (*inputs[0][1], None))]


def _range(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    if all(isinstance(v, np.ndarray) and v.dtype != object for v in values):
        start, stop, step = (v.item() for v in values)
        return [(inputs[0][0], (max(0, int(np.ceil((stop - start) / step))),))] if step else []
    return [(inputs[0][0], (None,))]


def _gather_elements(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(inputs[0][0], inputs[1][1])]


def _col2im(inputs: list[Known], values: list[Any], _: Mapping[str, Any]) -> Made:
    dtype, x = inputs[0]
    (h, w), (kh, kw) = values[1].tolist(), values[2].tolist()
    return [(dtype, (x[0], x[1] // (kh * kw), h, w))]


def _grid_sample(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    (dtype, x), (_dtype, grid) = inputs
    return [(dtype, (*x[:2], *grid[1:3]))]


def _nonzero(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    return [(_INT64, (len(inputs[0][1]), None))]


def _einsum(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    terms, _arrow, result = attributes["equation"].partition("->")
    sides: dict[str, Side] = {}
    for term, (_dtype, shape) in zip(terms.split(","), inputs, strict=True):
        sides.update(zip(term, shape, strict=True))
    return [(inputs[0][0], tuple(sides[letter] for letter in result))]


def _depth_to_space(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    dtype, (n, c, h, w) = inputs[0]
    b = attributes["blocksize"]
    return [(dtype, (n, c // (b * b), h * b, w * b))]


Rule = Callable[[list[Known], list[Any], Mapping[str, Any]], Made]


def _names(text: str) -> list[str]:
    return text.split()


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        _names(
            "Relu Sigmoid Tanh Erf Sqrt Exp Log Abs Neg Floor Ceil Round Reciprocal Sign Not Softmax LogSoftmax"
            " HardSwish HardSigmoid LeakyRelu Elu Selu Celu Softplus Softsign Mish ThresholdedRelu Clip Sin Cos"
            " InstanceNormalization LayerNormalization CumSum LRN Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh"
            " Shrink BitwiseNot ScatterND ScatterElements"
        ),
        _same,
    ),
    **dict.fromkeys(
        _names("Add Sub Mul Div Pow Max Min Mod And Or Xor PRelu BitwiseAnd BitwiseOr BitwiseXor"),
        _elementwise,
    ),
    **dict.fromkeys(_names("Equal Less Greater LessOrEqual GreaterOrEqual"), _comparison),
    **dict.fromkeys(
        _names(
            "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp"
        ),
        _reduce,
    ),
    **dict.fromkeys(_names("ArgMax ArgMin"), _arg),
    **dict.fromkeys(_names("MaxPool AveragePool"), pool),
    **dict.fromkeys(_names("GlobalAveragePool GlobalMaxPool"), global_pool),
    "BatchNormalization": _batch_norm,
    "Where": _where,
    "Cast": _cast,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Resize": _resize,
    "Shape": _shape,
    "TopK": _top_k,
    "NonMaxSuppression": _nms,
    "Compress": _compress,
    "OneHot": _one_hot,
    "Range": _range,
    "GatherElements": _gather_elements,
    "Einsum": _einsum,
    "Col2Im": _col2im,
    "GridSample": _grid_sample,
    "NonZero": _nonzero,
    "DepthToSpace": _depth_to_space,
}
