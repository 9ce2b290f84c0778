"""The ONNX graph under construction: values, nodes, folding of what is known, naming of what is not.

A value is a NumPy array (known while translating; of objects when it holds symbolic sides) or a `Tensor` (known when
the model runs). `emit` takes either and gives either, so an operator's translation is written once for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tinysight.compat.paddle.to_onnx.fold import FOLDS, MAX_ELEMENTS
from tinysight.compat.paddle.to_onnx.shapes import RULES
from tinysight.compat.paddle.to_onnx.symbols import Call, Dim, Side, Sym, as_vector, dim, settle
from tinysight.compat.paddle.to_onnx.windows import Known

_MAX_NODES = 100_000


class Unsupported(ValueError):
    """An operator is used in a way that the translation does not cover; names the way."""


@dataclass(frozen=True)
class Tensor:
    """What a node or an input of the graph gives."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Side, ...]


Value: TypeAlias = np.ndarray | Tensor


@dataclass
class Node:
    """One ONNX node by the names of its inputs ("" absent) and outputs."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Nodes in order, constants by name, and every tensor made so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensors: dict[str, Tensor] = {}
        self.inputs: list[Tensor] = []
        self.outputs: list[tuple[str, Tensor]] = []
        self._names: dict[Any, str] = {}  # constants by identity or, if small, by content
        self._made: dict[Any, list[Value]] = {}  # equal nodes are made once
        self._weights = 0  # elements of all weights: constants made of them may be as large
        self._folded = 0
        self._count = 0

    def add_input(self, name: str, dtype: str, shape: Sequence[int]) -> Tensor:
        """Declare an input; an open first side is the batch of the first input, so that inputs share it."""
        if any(side >= 2**24 for side in shape):
            raise Unsupported(f"an input of shape {list(shape)}")
        batch = self.inputs[0].name if self.inputs else name
        sides = [
            dim(batch if axis == 0 else name, axis) if side < 0 else side
            for axis, side in enumerate(shape)
        ]
        tensor = Tensor(name, np.dtype(dtype), tuple(sides))
        self.inputs.append(tensor)
        self.tensors[name] = tensor
        return tensor

    def name_constant(self, array: np.ndarray, name: str) -> None:
        """Give a weight the name it has in its file."""
        self._names[id(array)] = self.fresh(name)
        self.constants[self._names[id(array)]] = array
        self._weights += array.size

    def fresh(self, wish: str) -> str:
        """A name that nothing has yet: `wish`, or `wish` with a number."""
        name = wish
        while name in self.tensors or name in self.constants or not name:
            self._count += 1
            name = f"{wish}_{self._count}"
        return name

    def ref(self, value: Value | None) -> str:
        """The name by which a node takes `value`: a tensor's, or that of a constant made for it."""
        if value is None:
            return ""
        if isinstance(value, Tensor):
            return value.name
        if value.dtype == object:
            return self.ref(self.materialise(value))
        key: Any = id(value)
        if key not in self._names and value.size <= 64:
            key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._names:
            self._names[key] = self.fresh("constant")
            self.constants[self._names[key]] = (
                value  # also keeps the array alive, so its id stays its own
            )
        return self._names[key]

    def emit(self, op: str, *inputs: Value | None, **attributes: Any) -> Value:
        """Make the one output of a node: an array if it can be folded, else a tensor."""
        return self.emit_all(op, *inputs, **attributes)[0]

    def emit_all(self, op: str, *inputs: Value | None, **attributes: Any) -> list[Value]:
        """Make all outputs of a node.

        Raises:
            Unsupported: the shapes do not fit the operator, or a constant would be beyond all reason.
        """
        if len(self.nodes) > _MAX_NODES:
            raise Unsupported(f"more than {_MAX_NODES} nodes")
        try:
            made = RULES[op]([known(v) for v in inputs if v is not None], list(inputs), attributes)
        except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError) as error:
            raise Unsupported(f"{op}: {error}") from None
        arrays = [v for v in inputs if isinstance(v, np.ndarray)]
        if op in FOLDS and len(arrays) == len(inputs):
            folded = self._fold(op, arrays, attributes, made)
            if folded is not None:
                return folded
        names = [self.ref(v) for v in inputs]
        key = (op, *names, repr(sorted(attributes.items(), key=str)))
        if key not in self._made:
            outputs: list[Value] = []
            for dtype, shape in made:
                name = self.fresh(op.lower())
                sides = tuple(dim(name, i) if s is None else s for i, s in enumerate(shape))
                outputs.append(self.tensors.setdefault(name, Tensor(name, dtype, sides)))
            self.nodes.append(
                Node(op, names, [t.name for t in outputs if isinstance(t, Tensor)], attributes)
            )
            self._made[key] = outputs
        return self._made[key]

    def emit_identity(self, value: Value) -> Tensor:
        """A tensor of its own with `value` in it."""
        dtype, shape = known(value)
        tensor = Tensor(self.fresh("identity"), dtype, shape)
        self.tensors[tensor.name] = tensor
        self.nodes.append(Node("Identity", [self.ref(value)], [tensor.name]))
        return tensor

    def _fold(
        self, op: str, arrays: list[np.ndarray], attributes: Mapping[str, Any], made: Any
    ) -> list[Value] | None:
        size = 1
        for _, shape in made:
            for side in shape:
                if not isinstance(side, int):
                    return None
                size *= side
        allowed = MAX_ELEMENTS + self._weights
        if size > allowed or self._folded > 2 * allowed:
            raise Unsupported(f"{op}: a constant of {size} values")
        try:
            result = FOLDS[op](*arrays, **attributes)
        except TypeError:  # a side that is not known yet, in an operator that has to know
            return None
        except (ValueError, IndexError) as error:
            raise Unsupported(f"{op}: {error}") from None
        self._folded += size if size > 4096 else 0
        results = result if isinstance(result, list) else [result]
        return [_array(r, dtype) for r, (dtype, _) in zip(results, made, strict=True)]

    def materialise(self, values: np.ndarray) -> Tensor:
        """An array of sides as a tensor that the model computes when it runs, int64."""
        parts: list[Value] = []
        run: list[int] = []
        for side in [*values.ravel().tolist(), None]:
            if isinstance(side, int):
                run.append(side)
                continue
            if run:
                parts.append(np.array(run, np.int64))
                run = []
            if side is not None:
                parts.append(self._side(side))
        vector = parts[0] if len(parts) == 1 else self.emit("Concat", *parts, axis=0)
        if values.shape != (vector.shape[0],):
            vector = self.emit("Reshape", vector, np.array(values.shape, np.int64))
        assert isinstance(vector, Tensor), "a symbolic side became a constant"
        return vector

    def _side(self, side: Side) -> Value:
        """One side as a vector of length 1."""
        if not isinstance(side, Sym):
            return np.array([side], np.int64)
        factors: list[Value] = [np.array([side.factor], np.int64)] if side.factor != 1 else []
        for part in side.parts:
            match part:
                case Dim(tensor, axis):
                    shape = self.emit("Shape", self.tensors[tensor])
                    factors.append(self.emit("Gather", shape, np.array([axis]), axis=0))
                case Call(op=op, left=left, right=right):
                    factors.append(self.emit(op, self._side(left), self._side(right)))
        total = factors[0]
        for factor in factors[1:]:
            total = self.emit("Mul", total, factor)
        return total


def known(value: Value) -> Known:
    """Data type and sides of a value; arrays of sides count as int64."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape
    return np.dtype(np.int64) if value.dtype == object else value.dtype, value.shape


def _array(result: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A fold's result as an array; NumPy gives bare scalars for rank 0."""
    if isinstance(result, Sym):
        holder = np.empty((), object)
        holder[()] = result
        return holder
    array = np.asarray(result)
    return settle(array) if array.dtype == object else array.astype(dtype, copy=False)


def shape_of(value: Value) -> np.ndarray:
    """The shape of a value as an array of sides."""
    return as_vector(known(value)[1])
