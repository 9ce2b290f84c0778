"""Constant folding: what a node makes of inputs that are all known, in NumPy.

Works on plain arrays and on object arrays of sides alike (see `symbols`); an operator without a rule here, or one that
symbols cannot go through, stays in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Fold = Callable[..., Any]
MAX_ELEMENTS = (
    2**24
)  # of one constant that is not about as large as the weights; known tables have a tenth


def _div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype == object or b.dtype == object:
        return np.asarray(a // b, object)
    if np.issubdtype(a.dtype, np.integer):
        if not np.all(b):
            raise ValueError("a division of whole numbers by zero")
        quotient: np.ndarray = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)
        return quotient
    with np.errstate(all="ignore"):
        return np.asarray(a / b)


def _slice(x: np.ndarray, starts: Any, ends: Any, axes: Any, steps: Any) -> np.ndarray:
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end <= -(2**31) else int(end)
        index[axis] = slice(int(start), stop, int(step))
    return x[tuple(index)]


def _reshape(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([x.shape[i] if s == 0 and x.size else s for i, s in enumerate(shape.tolist())])


def _cast(x: np.ndarray, *, to: Any) -> np.ndarray:
    if x.dtype == object:
        if not np.issubdtype(np.dtype(to), np.integer):
            raise TypeError("a side as a fraction")
        return x
    return x.astype(to)


def _reduce(function: Callable[..., Any]) -> Fold:
    def fold(x: np.ndarray, axes: Any = None, *, keepdims: int, **given: Any) -> Any:
        where = given.get("axes") if axes is None else axes.tolist()
        over = None if where is None else tuple(where)
        if x.dtype == object and function is not np.prod:
            raise TypeError("a reduction of sides")
        return function(x, axis=over, keepdims=bool(keepdims))

    return fold


def _quiet(function: Callable[..., Any]) -> Fold:
    def fold(*arrays: np.ndarray, **_: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arrays)

    return fold


def _numbers(function: Callable[..., Any]) -> Fold:
    """A fold for plain numbers only: comparing a side that is not known yet would be a guess."""

    def fold(*arrays: np.ndarray, **_: Any) -> Any:
        if any(a.dtype == object for a in arrays):
            raise TypeError("a comparison of sides")
        return function(*arrays)

    return fold


def _where(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(condition, a, b)


def _gather(x: np.ndarray, indices: np.ndarray, *, axis: int) -> Any:
    try:
        return np.take(x, indices.astype(np.int64), axis=axis)
    except IndexError:
        raise ValueError("an index outside its axis") from None


def _split(x: np.ndarray, sizes: np.ndarray, *, axis: int) -> list[np.ndarray]:
    return np.split(x, np.cumsum(sizes)[:-1].tolist(), axis)


FOLDS: Mapping[str, Fold] = {
    "Add": _quiet(np.add),
    "Sub": _quiet(np.subtract),
    "Mul": _quiet(np.multiply),
    "Div": lambda a, b: _div(a, b),
    "Mod": lambda a, b, fmod=0: np.fmod(a, b) if fmod else a % b,
    "Pow": _numbers(_quiet(np.power)),
    "Neg": _quiet(np.negative),
    "Abs": _numbers(np.abs),
    "Sqrt": _numbers(_quiet(np.sqrt)),
    "Exp": _numbers(_quiet(np.exp)),
    "Log": _numbers(_quiet(np.log)),
    "Reciprocal": _numbers(_quiet(np.reciprocal)),
    "Floor": _numbers(np.floor),
    "Ceil": _numbers(np.ceil),
    "Relu": _numbers(lambda x: np.maximum(x, 0)),
    "Sigmoid": _numbers(_quiet(lambda x: (1 / (1 + np.exp(-x))).astype(x.dtype))),
    "Tanh": _numbers(np.tanh),
    "Max": _numbers(np.maximum),
    "Min": _numbers(np.minimum),
    "Equal": _numbers(np.equal),
    "Less": _numbers(np.less),
    "Greater": _numbers(np.greater),
    "LessOrEqual": _numbers(np.less_equal),
    "GreaterOrEqual": _numbers(np.greater_equal),
    "Not": _numbers(np.logical_not),
    "And": _numbers(np.logical_and),
    "Or": _numbers(np.logical_or),
    "Where": _numbers(_where),
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": lambda x, *, perm: np.transpose(x, perm),
    "Concat": lambda *xs, axis: np.concatenate(xs, axis),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Squeeze": lambda x, axes: np.squeeze(x, tuple(axes.tolist())),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))),
    "Tile": lambda x, repeats: np.tile(x, repeats.tolist()),
    "Range": _numbers(np.arange),
    "MatMul": _numbers(np.matmul),
    "ReduceSum": _reduce(np.sum),
    "ReduceMean": _reduce(np.mean),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
}
