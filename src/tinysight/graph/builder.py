"""An ONNX graph under construction: known values are folded, the others become nodes.

A value is a NumPy array (known now; of objects when it holds symbolic sides) or a `GraphTensor` (known when the model
runs). `emit` takes either and returns either, so an operator's translation is written once for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from tinysight.graph.folding import FOLDS, MAX_ELEMENTS, fold
from tinysight.graph.onnx_file import Node, OnnxModel, Port
from tinysight.graph.shapes import Known, infer
from tinysight.graph.sides import Call, Dim, Side, Sym, as_vector, dim, product, quotient, settle

OPSET = 18
FAR = 2**31 - 1  # the end of a slice that reaches the end of its axis
# What a graph that makes no sense runs into.
NONSENSE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError
)  # fmt: skip
_MAX_NODES = 100_000


class Unsupported(ValueError):
    """An operator is used in a way that is not supported; says which."""


@dataclass(frozen=True)
class GraphTensor:
    """An output of a node, or an input of the graph."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Side, ...]


Value: TypeAlias = np.ndarray | GraphTensor


@dataclass
class Operation:
    """One node that may still change, by the names of its inputs ("" absent) and outputs."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Nodes in order, constants by name, and every tensor made so far."""

    def __init__(self) -> None:
        self.nodes: list[Operation] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensors: dict[str, GraphTensor] = {}
        self.inputs: list[GraphTensor] = []
        self.outputs: list[tuple[str, GraphTensor]] = []
        self._names: dict[Any, str] = {}  # constants by identity or, if small, by content
        self._made: dict[Any, list[Value]] = {}  # equal nodes are made once
        self._weights = 0  # elements of all weights: constants made of them may be as large
        self._folded = 0
        self._count = 0

    def add_input(self, name: str, dtype: str, shape: Sequence[int]) -> GraphTensor:
        """Declare an input; an open first side is the batch of the first input, so that inputs share it."""
        if any(side >= 2**24 for side in shape):
            raise Unsupported(f"an input of shape {list(shape)}")
        owners = [self.inputs[0].name if self.inputs else name, *[name] * len(shape)]
        sides = (dim(owners[axis], axis) if side < 0 else side for axis, side in enumerate(shape))
        tensor = GraphTensor(name, np.dtype(dtype), tuple(sides))
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
        """The name of `value` among a node's inputs: a tensor's, or that of a constant made for it."""
        if value is None:
            return ""
        if isinstance(value, GraphTensor):
            return value.name
        if value.dtype == object:
            return self.ref(self.materialise(value))
        key: Any = id(value)
        if key not in self._names and value.size <= 64:
            key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._names:
            self._names[key] = self.fresh("constant")
            # This also keeps the array alive, so its id stays its own.
            self.constants[self._names[key]] = value
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
            made = infer(op, [known(v) for v in inputs if v is not None], list(inputs), attributes)
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
            outputs = [self._tensor(op, *one) for one in made]
            self.nodes.append(Operation(op, names, [t.name for t in outputs], attributes))
            self._made[key] = [*outputs]
        return self._made[key]

    def emit_identity(self, value: Value) -> GraphTensor:
        """A tensor of its own with `value` in it."""
        tensor = self._tensor("Identity", *known(value))
        self.nodes.append(Operation("Identity", [self.ref(value)], [tensor.name]))
        return tensor

    def _tensor(self, op: str, dtype: np.dtype[Any], shape: Sequence[Side | None]) -> GraphTensor:
        """A new tensor, named after the operator that makes it; an unknown side is named after the tensor."""
        name = self.fresh(op.lower())
        sides = tuple(dim(name, i) if s is None else s for i, s in enumerate(shape))
        return self.tensors.setdefault(name, GraphTensor(name, dtype, sides))

    def _fold(
        self, op: str, arrays: list[np.ndarray], attributes: Mapping[str, Any], made: Any
    ) -> list[Value] | None:
        sides = [side for _, shape in made for side in shape]
        if not all(isinstance(side, int) for side in sides):
            return None
        size, allowed = math.prod(sides), MAX_ELEMENTS + self._weights
        if size > allowed or self._folded > 2 * allowed:
            raise Unsupported(f"{op}: a constant of {size} values")
        try:
            results = fold(op, arrays, attributes)
        except TypeError:  # a side that is not known yet, in an operator that has to know
            return None
        except (ValueError, IndexError) as error:
            raise Unsupported(f"{op}: {error}") from None
        self._folded += size if size > 4096 else 0
        return [_array(r, dtype) for r, (dtype, _) in zip(results, made, strict=True)]

    def materialise(self, values: np.ndarray) -> GraphTensor:
        """An array of sides as a tensor that the model computes when it runs, int64."""
        parts: list[Value] = []
        for plain, run in groupby(values.ravel().tolist(), lambda side: isinstance(side, int)):
            sides = [*run]
            parts += [np.array(sides, np.int64)] if plain else map(self._side, sides)
        vector = parts[0] if len(parts) == 1 else self.emit("Concat", *parts, axis=0)
        if values.shape != (vector.shape[0],):
            vector = self.emit("Reshape", vector, np.array(values.shape, np.int64))
        assert isinstance(vector, GraphTensor), "a symbolic side became a constant"
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
        return reduce(lambda total, factor: self.emit("Mul", total, factor), factors)


def known(value: Value) -> Known:
    """Data type and sides of a value; arrays of sides count as int64."""
    if isinstance(value, GraphTensor):
        return value.dtype, value.shape
    return np.dtype(np.int64) if value.dtype == object else value.dtype, value.shape


def _array(result: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A folded result as an array; NumPy returns bare scalars for rank 0."""
    if isinstance(result, Sym):
        holder = np.empty((), object)
        holder[()] = result
        return holder
    array = np.asarray(result)
    return settle(array) if array.dtype == object else array.astype(dtype, copy=False)


def shape_of(value: Value) -> np.ndarray:
    """The shape of a value as an array of sides."""
    return as_vector(known(value)[1])


def cast(graph: Graph, value: Value, dtype: Any) -> Value:
    """`value` in another data type; itself if it has it."""
    if known(value)[0] == np.dtype(dtype):
        return value
    return graph.emit("Cast", value, to=np.dtype(dtype))


def is_open(side: Side) -> bool:
    """Whether a side of a reshape's target is -1: what the other sides leave."""
    return not isinstance(side, Sym) and side == -1


def reshape(graph: Graph, x: Value, sides: Sequence[Side]) -> Value:
    """`x` in another shape (-1 once at most: what is left); nothing is emitted where it has that shape.

    The target becomes a constant when one side at most is unknown: it is written -1, or 0 where it stays in place.
    """
    old = known(x)[1]
    rest = quotient(product(old), product(s for s in sides if not is_open(s)))
    if rest is not None:
        sides = [rest if is_open(s) else s for s in sides]
    if tuple(sides) == old:
        return x
    target = list(sides)
    if not isinstance(x, np.ndarray):
        free = [i for i, s in enumerate(sides) if isinstance(s, Sym) or is_open(s)]
        for i in [i for i in free if i < len(old) and old[i] == sides[i] and not is_open(sides[i])]:
            if len(free) > 1:
                target[i] = 0
                free.remove(i)
        if len(free) == 1:
            target[free[0]] = -1
    return graph.emit("Reshape", x, as_vector(target))


def reduce_mean(graph: Graph, x: Value, axes: Sequence[int], *, keep: bool) -> Value:
    """A mean over `axes` (counted from the front, sorted); over whole images it is a pool, which engines run faster."""
    if keep and list(axes) == [2, 3] and len(known(x)[1]) == 4:
        return graph.emit("GlobalAveragePool", x)
    return graph.emit("ReduceMean", x, np.array(axes, np.int64), keepdims=int(keep))


def to_model(graph: Graph) -> OnnxModel:
    """The model of a finished graph; its outputs take their public names."""
    names = {tensor.name: name for name, tensor in graph.outputs}
    taken = {t.name for t in graph.inputs} | set(graph.constants)
    taken |= {n for node in graph.nodes for n in node.outputs} - set(names)
    rename = {**{name: f"{name}_" for name in names.values() if name in taken}, **names}

    def renamed(old: Sequence[str]) -> tuple[str, ...]:
        return tuple(rename.get(name, name) for name in old)

    nodes = ((n, renamed(n.inputs), renamed(n.outputs)) for n in graph.nodes)
    return OnnxModel(
        nodes=tuple(Node(n.op, given, made, n.attributes, made[0]) for n, given, made in nodes),
        constants={rename.get(name, name): array for name, array in graph.constants.items()},
        inputs=tuple(_port(t, t.name, graph) for t in graph.inputs),
        outputs=tuple(_port(t, name, graph) for name, t in graph.outputs),
        opset=OPSET,
    )


def _port(tensor: GraphTensor, name: str, graph: Graph) -> Port:
    return Port(name, tensor.dtype, tuple(_side(side, graph) for side in tensor.shape))


def _side(side: Side, graph: Graph) -> int | str | None:
    """A side for the model's interface: a number, the name of an input's side, or nothing."""
    match side:
        case Sym(1, (Dim(tensor, axis),)) if any(t.name == tensor for t in graph.inputs):
            first = axis < 4 and tensor == graph.inputs[0].name
            return "NCHW"[axis] if first else f"{tensor}_{axis}"
    return None if isinstance(side, Sym) else side
