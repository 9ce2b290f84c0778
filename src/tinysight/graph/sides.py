"""Sides that are not numbers yet: the batch, and what shape computations make of it.

A program computes shapes while it runs (`B = x.shape[0]; x.reshape([B * 4, 49, c])`). `Sym` carries such a side through
NumPy object arrays, so the same code folds plain and symbolic shapes, and only what is left over becomes ONNX nodes.
"""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

_MAX_PARTS = 256  # of one side; shape computations of known networks have a handful


@dataclass(frozen=True)
class Dim:
    """The size of one axis of a tensor of the graph."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Call:
    """An ONNX operator on two sides that could not be simplified; `size` counts what it is made of."""

    op: str
    left: Side
    right: Side
    size: int


@dataclass(frozen=True)
class Sym:
    """`factor` times the product of `parts` (sorted by their text, so equal products are equal values)."""

    factor: int
    parts: tuple[Dim | Call, ...]

    def __mul__(self, other: Side) -> Side:
        if isinstance(other, Sym):
            return _product(self.factor * other.factor, (*self.parts, *other.parts))
        return _product(self.factor * int(other), self.parts)

    __rmul__ = __mul__

    def __add__(self, other: Side) -> Side:
        return self._plus(other, 1, "Add")

    __radd__ = __add__

    def __sub__(self, other: Side) -> Side:
        return self._plus(other, -1, "Sub")

    def _plus(self, other: Side, sign: int, op: str) -> Side:
        if isinstance(other, Sym) and other.parts == self.parts:
            return _product(self.factor + sign * other.factor, self.parts)
        return self if not isinstance(other, Sym) and other == 0 else _call(op, self, other)

    def __rsub__(self, other: int) -> Side:
        return _call("Sub", other, self)

    def __neg__(self) -> Side:
        return self * -1

    def __floordiv__(self, other: Side) -> Side:
        exact = quotient(self, other)
        return _call("Div", self, other) if exact is None else exact

    def __rfloordiv__(self, other: int) -> Side:
        return _call("Div", other, self)

    def __mod__(self, other: Side) -> Side:
        return _call("Mod", self, other) if quotient(self, other) is None else 0


Side: TypeAlias = int | Sym


def _product(factor: int, parts: tuple[Dim | Call, ...]) -> Side:
    if factor == 0 or not parts:
        return factor
    if sum(map(_size, parts)) > _MAX_PARTS or abs(factor) >= 2**63:
        raise ValueError("a shape computation without end")
    return Sym(factor, tuple(sorted(parts, key=repr)))


def _call(op: str, left: Side, right: Side) -> Sym:
    parts = [p for side in (left, right) if isinstance(side, Sym) for p in side.parts]
    return Sym(1, (Call(op, _plain(left), _plain(right), 1 + sum(map(_size, parts))),))


def _size(part: Dim | Call) -> int:
    size = 1 if isinstance(part, Dim) else part.size
    if size > _MAX_PARTS:
        raise ValueError("a shape computation without end")
    return size


def _plain(side: Side) -> Side:
    return side if isinstance(side, Sym) else int(side)


def dim(tensor: str, axis: int) -> Sym:
    """The size of an axis, as a side."""
    return Sym(1, (Dim(tensor, axis),))


def quotient(left: Side, right: Side) -> Side | None:
    """`left / right` when that is exact for every value of the unknown sides, else None."""
    a, b = (s if isinstance(s, Sym) else Sym(int(s), ()) for s in (left, right))
    rest = Counter(a.parts)
    rest.subtract(Counter(b.parts))
    if b.factor == 0 or a.factor % b.factor or any(count < 0 for count in rest.values()):
        return None
    return _product(a.factor // b.factor, tuple(rest.elements()))


def product(sides: Any) -> Side:
    """The product of sides."""
    return reduce(operator.mul, sides, 1)


def as_vector(sides: Any) -> np.ndarray:
    """Sides as an array: int64 when all are numbers, objects otherwise."""
    values = np.empty(len(sides), object)
    values[:] = [_plain(s) for s in sides]
    return settle(values)


def settle(values: np.ndarray) -> np.ndarray:
    """An object array back to int64 if nothing symbolic is left in it."""
    if values.dtype != object or any(isinstance(v, Sym) for v in values.ravel()):
        return values
    return values.astype(np.int64)
