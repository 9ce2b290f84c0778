"""Constant folding: the value of a node whose inputs are all known, in NumPy.

Works on plain arrays and, for the operators in `_OF_SIDES`, on object arrays of sides (see `sides`). An operator
without an entry here stays in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Of one constant that is not about as large as the weights; known tables have a tenth.
MAX_ELEMENTS = 2**24
_OF_SIDES = frozenset((
    "Add", "Sub", "Mul", "Div", "Mod", "Neg", "Cast", "Reshape", "Transpose", "Concat",
    "Split", "Slice", "Gather", "Unsqueeze", "Squeeze", "Expand", "Tile", "ReduceProd",
))  # fmt: skip


def fold(op: str, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> list[Any]:
    """The outputs of a node.

    Raises:
        TypeError: the operator needs to know a side that is not known yet.
        ValueError, IndexError: the arrays do not fit together.
    """
    if op not in _OF_SIDES and any(a.dtype == object for a in arrays):
        raise TypeError(f"{op} of sides that are not known")
    with np.errstate(all="ignore"):
        made = FOLDS[op](*arrays, **attributes)
    return made if isinstance(made, list) else [made]


def _div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype == object or b.dtype == object:
        return np.asarray(a // b, object)
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if not np.all(b):
        raise ValueError("a division of whole numbers by zero")
    return np.asarray(np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b))


def _slice(x: np.ndarray, starts: Any, ends: Any, axes: Any, steps: Any) -> np.ndarray:
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end <= -(2**31) else int(end)
        index[axis] = slice(int(start), stop, int(step))
    return x[tuple(index)]


def _reshape(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([x.shape[i] if s == 0 and x.size else s for i, s in enumerate(shape.tolist())])


def _cast(x: np.ndarray, *, to: Any) -> np.ndarray:
    if x.dtype != object:
        return x.astype(to)
    if not np.issubdtype(np.dtype(to), np.integer):
        raise TypeError("a side as a fraction")
    return x


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(x: np.ndarray, given: Any = None, *, keepdims: int, axes: Any = None) -> Any:
        over = axes if given is None else given.tolist()
        return function(x, axis=None if over is None else tuple(over), keepdims=bool(keepdims))

    return reduce


def _gather(x: np.ndarray, indices: np.ndarray, *, axis: int) -> Any:
    try:
        return np.take(x, indices.astype(np.int64), axis=axis)
    except IndexError:
        raise ValueError("an index outside its axis") from None


_SAME_NAME = "Add Abs Sqrt Exp Log Reciprocal Floor Ceil Tanh Equal Less Greater Where"
_REDUCTIONS = "Sum Mean Max Min Prod"
FOLDS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(np, name.lower()) for name in _SAME_NAME.split()},
    **{name: getattr(np, f"logical_{name.lower()}") for name in ("Not", "And", "Or")},
    **{f"Reduce{name}": _reduce(getattr(np, name.lower())) for name in _REDUCTIONS.split()},
    "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power, "Neg": np.negative, "Max": np.maximum, "Min": np.minimum,
    "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal, "MatMul": np.matmul, "Range": np.arange,
    "Cast": _cast, "Div": _div, "Gather": _gather, "Reshape": _reshape, "Slice": _slice,
    "Mod": lambda a, b, fmod=0: np.fmod(a, b) if fmod else a % b,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: (1 / (1 + np.exp(-x))).astype(x.dtype),
    "Transpose": lambda x, *, perm: np.transpose(x, perm),
    "Concat": lambda *xs, axis: np.concatenate(xs, axis),
    "Split": lambda x, sizes, *, axis: np.split(x, np.cumsum(sizes)[:-1].tolist(), axis),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Squeeze": lambda x, axes: np.squeeze(x, tuple(axes.tolist())),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))),
    "Tile": lambda x, repeats: np.tile(x, repeats.tolist()),
}  # fmt: skip
