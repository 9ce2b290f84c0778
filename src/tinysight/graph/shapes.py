"""Data type and sides of the outputs of an ONNX node, from those of its inputs.

One rule per operator. A side that cannot be known is None; the graph then names it after the tensor itself, and the
model computes it when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, TypeAlias

import numpy as np

from tinysight.graph.sides import Side, Sym, product, quotient

Sides: TypeAlias = "tuple[Side | None, ...]"
Known: TypeAlias = "tuple[np.dtype[Any], tuple[Side, ...]]"
Made: TypeAlias = "list[tuple[np.dtype[Any], Sides]]"

_BOOL, _INT64 = np.dtype(bool), np.dtype(np.int64)


def text(*shapes: Sequence[Side]) -> str:
    """Shapes for a message, unknown sides as N."""
    return " and ".join(str([s if isinstance(s, int) else "N" for s in shape]) for shape in shapes)


def broadcast(*shapes: Sequence[Side]) -> tuple[Side, ...]:
    """The common shape of several; an unknown side gives way to a known one above 1.

    Raises:
        ValueError: two known sides differ and neither is 1.
    """
    rank = max(len(s) for s in shapes)
    result: list[Side] = [1] * rank
    for shape in shapes:
        for axis, side in enumerate(shape, rank - len(shape)):
            old = result[axis]
            if old == 1 or (isinstance(old, Sym) and side != 1 and not isinstance(side, Sym)):
                result[axis] = side
            elif not isinstance(side, Sym) and side not in (1, old):
                raise ValueError(f"shapes {text(*shapes)} do not go together")
    return tuple(result)


@dataclass(frozen=True)
class Applied:
    """An operator applied to its inputs: what a rule sees.

    Attributes:
        known: data type and sides of the inputs that are present.
        values: the inputs; an array where the value is known, None where an input is absent.
        attributes: attributes of the node by name.
    """

    known: list[Known]
    values: list[Any]
    attributes: Mapping[str, Any]

    @property
    def x(self) -> tuple[Side, ...]:
        """Shape of the first input."""
        return self.known[0][1]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def shape(self, index: int) -> tuple[Side, ...]:
        """Shape of an input."""
        return self.known[index][1]

    def array(self, index: int) -> np.ndarray | None:
        """Value of an input where it is known."""
        value = self.values[index] if index < len(self.values) else None
        return value if isinstance(value, np.ndarray) else None

    def unknown(self, index: int) -> Sides:
        """A shape of which only the rank is known: the length of input `index`, which computes it."""
        length: Any = self.shape(index)[0]  # ranks are known
        return (None,) * int(length)

    def broadcast(self) -> Sides:
        """Common shape of all inputs."""
        return broadcast(*(shape for _, shape in self.known))

    def replace(self, axis: int, *sides: Side | None) -> Sides:
        """Shape of the first input with `sides` in the place of `axis`."""
        return (*self.x[:axis], *sides, *self.x[axis + 1 :])


def _batch_norm(a: Applied) -> Sides:
    if any(shape != (a.x[1],) for _, shape in a.known[1:]):
        raise ValueError("statistics of another number of channels")
    return a.x


def _matmul(a: Applied) -> Sides:
    x, y = a.x, a.shape(1)
    left, right = (x if len(x) > 1 else (1, *x)), (y if len(y) > 1 else (*y, 1))
    if left[-1] != right[-2] and isinstance(left[-1], int) and isinstance(right[-2], int):
        raise ValueError(f"a product of {text(x, y)}")
    core = [left[-2]] * (len(x) > 1) + [right[-1]] * (len(y) > 1)
    return (*broadcast(left[:-2], right[:-2]), *core)


def _reshape(a: Applied) -> Sides:
    x, target = a.x, a.array(1)
    if target is None:
        return a.unknown(1)
    sides: list[Side] = target.tolist()
    sides = [x[i] if s == 0 and i < len(x) and product(x) != 0 else s for i, s in enumerate(sides)]
    known = product(s for s in sides if s != -1)
    rest = quotient(product(x), known)
    wrong = rest not in (1, None) if -1 not in sides else rest is None
    if wrong and (-1 not in sides or (isinstance(product(x), int) and isinstance(known, int))):
        raise ValueError(f"a reshape of {text(x)} to {text(sides)}")
    return tuple(rest if s == -1 else s for s in sides)


def _concat(a: Applied) -> Sides:
    axis, total = a["axis"], a.x[a["axis"]]
    first = list(a.x)
    for _, shape in a.known[1:]:  # another part may know a side that the first does not
        total = total + shape[axis]
        first = [b if isinstance(s, Sym) else s for s, b in zip(first, shape, strict=True)]
    first[axis] = total
    return tuple(first)


def _slice(a: Applied) -> Sides:
    sides: list[Side | None] = list(a.x)
    starts, ends = a.array(1), a.array(2)
    for i, (axis, step) in enumerate(zip(a.values[3].tolist(), a.values[4].tolist(), strict=True)):
        side: Side = a.x[axis]
        if starts is None or ends is None:
            sides[axis] = None
            continue
        start, end = starts[i], ends[i]
        if isinstance(side, Sym) or isinstance(start, Sym) or isinstance(end, Sym):
            far = not isinstance(end, Sym) and end >= 2**31 - 1
            whole = start == 0 and step == 1 and (end == side or far)
            sides[axis] = side if whole else _span(start, end) if step == 1 else None
        else:
            stop = None if step < 0 and end <= -(2**31) else int(end)
            sides[axis] = len(range(side)[int(start) : stop : step])
    return tuple(sides)


def _span(start: Any, end: Any) -> int | None:
    """Length of a slice of an unknown side when both ends are counted from one side: `x[:1]`, `x[-2:-1]`."""
    if isinstance(start, Sym) or isinstance(end, Sym):
        length = end - start
        return length if isinstance(length, int) and length > 0 else None
    counted = (start == 0 and end == 1) or (start < 0 and start < end < 0)
    return int(end - start) if counted else None


def _unsqueeze(a: Applied) -> Sides:
    rank = len(a.x) + len(a.values[1])
    places, rest = {int(n) % rank for n in a.values[1]}, iter(a.x)
    return tuple(1 if i in places else next(rest) for i in range(rank))


def _tile(a: Applied) -> Sides:
    if (times := a.array(1)) is None:
        return (None,) * len(a.x)
    return tuple(s * r for s, r in zip(a.x, times.tolist(), strict=True))


def _reduce(a: Applied) -> Sides:
    axes = a.attributes.get("axes") if len(a.values) < 2 else a.values[1].tolist()
    return _dropped(a, range(len(a.x)) if axes is None else axes, *[1] * a["keepdims"])


def _dropped(a: Applied, axes: Iterable[int], *left: int) -> Sides:
    """The sides but for those of `axes`, in the place of each of which stands `left`."""
    places = {int(n) % len(a.x) for n in axes}
    return tuple(s for i, side in enumerate(a.x) for s in (left if i in places else (side,)))


def _pad(a: Applied) -> Sides:
    more = np.sum(np.split(a.values[1], 2), axis=0).tolist()
    sides = zip(a.x, more, strict=True)
    return tuple(s if m == 0 else s + m if isinstance(s, int) else None for s, m in sides)


def _resize(a: Applied) -> Sides:
    sizes, scales = a.array(3), a.array(2)
    if sizes is not None:
        return tuple(sizes.tolist())
    if scales is None:
        return (*a.x[:2], *[None] * (len(a.x) - 2))
    sides = zip(a.x, scales.tolist(), strict=True)
    return tuple(s if f == 1 else int(s * f) if isinstance(s, int) else None for s, f in sides)


def _top_k(a: Applied) -> Made:
    count = a.array(1)
    k = int(count[0]) if count is not None and count.dtype != object else None
    sides = a.replace(a["axis"] % len(a.x), k)
    return [(a.known[0][0], sides), (_INT64, sides)]


def _range(a: Applied) -> Sides:
    if any(not isinstance(v, np.ndarray) or v.dtype == object for v in a.values):
        return (None,)
    start, stop, step = (v.item() for v in a.values)
    return (max(0, int(np.ceil((stop - start) / step))),)


def _einsum(a: Applied) -> Sides:
    terms, _, result = a["equation"].partition("->")
    sides: dict[str, Side] = {}
    for term, (_, shape) in zip(terms.split(","), a.known, strict=True):
        sides.update(zip(term, shape, strict=True))
    return tuple(sides[letter] for letter in result)


def _col2im(a: Applied) -> Sides:
    (h, w), (kh, kw) = a.values[1].tolist(), a.values[2].tolist()
    return (a.x[0], a.x[1] // (kh * kw), h, w)


def _depth_to_space(a: Applied) -> Sides:
    (n, c, h, w), b = a.x, a["blocksize"]
    return (n, c // (b * b), h * b, w * b)


# Sliding windows.


def _window(side: Side, kernel: int, stride: int, pads: int, dilation: int) -> Side | None:
    reach = dilation * (kernel - 1) + 1
    if isinstance(side, Sym):
        return side if stride == 1 and pads == reach - 1 else None
    return (side + pads - reach) // stride + 1


def _windows(a: Applied, channels: Side, kernel: Sequence[int]) -> Sides:
    """Sides are left open where the engine rounds or pads by its own rule."""
    rank = len(kernel)
    if len(a.x) < 3 or rank != len(a.x) - 2:
        raise ValueError(f"windows of {rank} axes over {text(a.x)}")
    if a.attributes.get("ceil_mode") or "auto_pad" in a.attributes:
        return (a.x[0], channels, *[None] * rank)
    usual = {"pads": [0] * 2 * rank, "strides": [1] * rank, "dilations": [1] * rank}
    pads, strides, dilations = (a.attributes.get(name, values) for name, values in usual.items())
    both = np.sum(np.split(np.array(pads), 2), axis=0).tolist()
    windows = zip(a.x[2:], kernel, strides, both, dilations, strict=True)
    return (a.x[0], channels, *starmap(_window, windows))


def _conv(a: Applied) -> Sides:
    w = a.shape(1)
    if len(a.x) != len(w) or quotient(a.x[1], a["group"]) != w[1]:
        raise ValueError(f"a convolution of {text(a.x)} by {text(w)}")
    return _windows(a, w[0], [int(k) for k in w[2:]])  # type: ignore[arg-type]  # weights are constants


def _conv_transpose(a: Applied) -> Sides:
    w, rank = a.shape(1), len(a.x) - 2
    if rank < 1 or len(a.x) != len(w):
        raise ValueError(f"a convolution of {text(a.x)} by {text(w)}")
    sides: list[Side | None] = []
    for i, side in enumerate(a.x[2:]):
        reach = a["dilations"][i] * (int(w[2 + i]) - 1) + 1  # type: ignore[arg-type]
        more = reach - a["pads"][i] - a["pads"][rank + i] + a["output_padding"][i]
        sides.append((side - 1) * a["strides"][i] + more if isinstance(side, int) else None)
    return (a.x[0], w[1] * a["group"], *sides)


Rule: TypeAlias = "Callable[[Applied], Sides | Made]"

_UNCHANGED = """Relu Sigmoid Tanh Erf Sqrt Exp Log Abs Neg Floor Ceil Round Reciprocal Sign Not Softmax LogSoftmax
    HardSwish HardSigmoid LeakyRelu Elu Selu Celu Softplus Softsign Mish ThresholdedRelu Clip Sin Cos
    InstanceNormalization LayerNormalization CumSum LRN ScatterND ScatterElements"""
_BROADCAST = "Add Sub Mul Div Pow Max Min Mod And Or Xor PRelu"
_COMPARE = "Equal Less Greater LessOrEqual GreaterOrEqual"
_REDUCE = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp"
RULES: dict[str, Rule] = {  # sides alone: one output of the first input's data type
    **dict.fromkeys(_UNCHANGED.split(), lambda a: a.x),
    **dict.fromkeys(_BROADCAST.split(), lambda a: a.broadcast()),
    **dict.fromkeys(_COMPARE.split(), lambda a: [(_BOOL, a.broadcast())]),
    **dict.fromkeys(_REDUCE.split(), _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), lambda a: [(_INT64, _dropped(a, [a["axis"]], *[1] * a["keepdims"]))]),
    **dict.fromkeys(("MaxPool", "AveragePool"), lambda a: _windows(a, a.x[1], list(a["kernel_shape"]))),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), lambda a: (*a.x[:2], *[1] * (len(a.x) - 2))),
    "BatchNormalization": _batch_norm, "Col2Im": _col2im, "Concat": _concat, "Conv": _conv,
    "ConvTranspose": _conv_transpose, "DepthToSpace": _depth_to_space, "Einsum": _einsum, "MatMul": _matmul,
    "Pad": _pad, "Range": _range, "Reshape": _reshape, "Resize": _resize, "Slice": _slice, "Tile": _tile,
    "TopK": _top_k, "Unsqueeze": _unsqueeze,
    "Cast": lambda a: [(np.dtype(a["to"]), a.x)],
    "Compress": lambda a: a.replace(a["axis"], None),
    "Expand": lambda a: a.unknown(1) if a.array(1) is None else broadcast(a.x, a.values[1].tolist()),
    "Gather": lambda a: a.replace(a["axis"], *a.shape(1)),
    "GatherElements": lambda a: a.shape(1),
    "GatherND": lambda a: (*a.shape(1)[:-1], *a.x[int(a.shape(1)[-1]) :]),  # type: ignore[arg-type]
    "Gemm": lambda a: (a.x[0], a.shape(1)[1]),
    "GridSample": lambda a: (*a.x[:2], *a.shape(1)[1:3]),
    "NonMaxSuppression": lambda a: [(_INT64, (None, 3))],
    "NonZero": lambda a: [(_INT64, (len(a.x), None))],
    "Shape": lambda a: [(_INT64, (len(a.x),))],
    "Split": lambda a: [(a.known[0][0], a.replace(a["axis"], int(size))) for size in a.values[1]],
    "Squeeze": lambda a: _dropped(a, a.values[1]),
    "Transpose": lambda a: tuple(a.x[i] for i in a["perm"]),
    "Where": lambda a: [(a.known[1][0], a.broadcast())],
}  # fmt: skip


def infer(op: str, known: list[Known], values: list[Any], attributes: Mapping[str, Any]) -> Made:
    """Data type and sides of every output of a node.

    Raises:
        KeyError: no rule for `op`.
        ValueError: the shapes do not fit the operator.
    """
    made = RULES[op](Applied(known, values, attributes))
    return made if isinstance(made, list) else [(known[0][0], made)]
