"""The table of operators, and the context from which a translation reads its operator.

A translation is a function of an `OpContext`; it is registered under the operator's names in both program
forms together with the names of its inputs, in the order in which the numbered form has them:

    @op("softmax", "X")
    def softmax(v: OpContext) -> Value:
        return v.emit("Softmax", v["X"], axis=v.get("axis", -1))

Names of operators, inputs, outputs and attributes are words of one text; the first attribute that is present counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from tinysight.compat.paddle.program import Op
from tinysight.compat.paddle.tensors import DTYPES
from tinysight.graph.builder import Graph, GraphTensor, Unsupported, Value, cast, known, reshape
from tinysight.graph.sides import Side, Sym

Translated: TypeAlias = Value | Sequence[Value]


class Handler(NamedTuple):
    """The translation of one operator, and the names of its numbered inputs and outputs."""

    function: Callable[[OpContext], Translated]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Translation = TypeVar("Translation", bound="Callable[[OpContext], Translated]")
TABLE: dict[str, Handler] = {}


def op(names: str, inputs: str, outputs: str = "Out") -> Callable[[Translation], Translation]:
    """Register the translation of the operators `names`."""

    def register(function: Translation) -> Translation:
        for name in names.split():
            assert name not in TABLE, f"{name} is registered twice"
            TABLE[name] = Handler(function, tuple(inputs.split()), tuple(outputs.split()))
        return function

    return register


class OpContext:
    """One operator with its inputs resolved. Input names are those of the legacy form."""

    def __init__(self, graph: Graph, op: Op, entry: Handler, values: Mapping[str, Any]) -> None:
        self.graph, self.attributes = graph, op.attributes
        # An underscore marks one that works in place, which makes no difference here.
        self.type = op.type if op.type in TABLE else op.type.rstrip("_")
        self._inputs: dict[str, list[Any]] = {}
        numbered = {str(i): name for i, name in enumerate(entry.inputs)}
        for slot, names in op.inputs.items():
            found: list[Any] = []
            for value in (values[n] for n in names):
                found += value if isinstance(value, list) else [value]
            if found:
                self._inputs[numbered.get(slot, slot)] = found

    def replaced(self, name: str, value: Value, **attributes: Any) -> OpContext:
        """The same operator with another input and other attributes."""
        other = copy(self)
        other._inputs = {**self._inputs, name: [value]}
        other.attributes = {**self.attributes, **attributes}
        return other

    def __contains__(self, name: str) -> bool:
        return name in self._inputs

    def __getitem__(self, name: str) -> Value:
        found = self._inputs.get(name)
        if not found or not isinstance(found[0], np.ndarray | GraphTensor):
            raise Unsupported(f"input {name} is missing")
        return found[0]

    def all(self, name: str) -> list[Value]:
        """All values of a list-valued input."""
        return self._inputs.get(name, [])

    def emit(self, op: str, *inputs: Value | None, **attributes: Any) -> Value:
        """See `Graph.emit`."""
        return self.graph.emit(op, *inputs, **attributes)

    def get(self, names: str, default: Any = None) -> Any:
        """An attribute, under its name in either form."""
        found = (self.attributes.get(name) for name in names.split())
        return next((value for value in found if value is not None), default)

    def has(self, names: str) -> bool:
        """Whether one of the attributes is present."""
        return any(name in self.attributes for name in names.split())

    def integers(self, names: str, default: Sequence[int] | None = None) -> list[int]:
        """A list-of-integers attribute; a single number is a list of one."""
        value = self.get(names, default)
        try:
            return [int(v) for v in (value if isinstance(value, list | tuple) else [value])]
        except (TypeError, ValueError):
            raise Unsupported(f"attribute {names} is {value!r:.60}") from None

    def vector(self, attribute: str, tensor: str, tensors: str = "") -> Value:
        """Integers given as a tensor, a list of tensors, or an attribute, in that order; int64, rank 1."""
        if tensor in self and len(self.all(tensor)) == 1:
            value = self[tensor]
            return self.cast(value if len(known(value)[1]) == 1 else self.flat(value), np.int64)
        if parts := self.all(tensors) or self.all(tensor):
            one = np.array([1])
            vectors = [self.cast(self.emit("Reshape", part, one), np.int64) for part in parts]
            return self.emit("Concat", *vectors, axis=0)
        return np.array(self.integers(attribute), np.int64)

    def constants(self, attribute: str, tensor: str, tensors: str = "") -> list[int]:
        """As `vector`, for what must be known while translating.

        Raises:
            Unsupported: it depends on the input.
        """
        value = self.vector(attribute, tensor, tensors)
        if not isinstance(value, np.ndarray) or value.dtype == object:
            raise Unsupported(f"{attribute} depends on the input")
        return [int(v) for v in value]

    def scalar(self, attribute: str, tensor: str, default: float | None = None) -> float:
        """A number given as a tensor of one element or an attribute."""
        if tensor in self:
            value = self[tensor]
            if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype == object:
                raise Unsupported(f"{attribute} depends on the input")
            return float(value.reshape(()))
        found = self.get(attribute, default)
        if not isinstance(found, int | float):
            raise Unsupported(f"attribute {attribute} is missing")
        return float(found)

    def cast(self, value: Value, dtype: Any) -> Value:
        """`value` in another data type; itself if it has it."""
        return cast(self.graph, value, dtype)

    def reshape(self, value: Value, sides: Sequence[Side]) -> Value:
        """See `builder.reshape`."""
        return reshape(self.graph, value, sides)

    def dtype(self, names: str, default: str = "float32") -> np.dtype[Any]:
        """The NumPy type that an attribute names: a code in the legacy form, a name in the numbered one.

        Raises:
            Unsupported: not a type, or one that ONNX has and NumPy has not (bfloat16).
        """
        value = self.get(names, default)
        name = DTYPES.get(value) if isinstance(value, int) else value
        if name in ("bfloat16", None) or name not in DTYPES.values():
            raise Unsupported(f"data type {value!r:.40}")
        return np.dtype(name)

    def has_dtype(self, names: str) -> bool:
        """Whether an attribute names a type; -1 or "Undefined" leave it to the input."""
        value = self.get(names, -1)
        return value >= 0 if isinstance(value, int) else "Undefined" not in value

    def like(self, number: float, value: Value) -> np.ndarray:
        """A number as a constant of `value`'s data type."""
        return np.array(number, known(value)[0])

    def sides(self, value: Value) -> tuple[Side, ...]:
        """The shape of a value."""
        return known(value)[1]

    def unsqueeze(self, value: Value, *axes: int) -> Value:
        """`value` with an axis of length 1 at each of `axes`."""
        return self.emit("Unsqueeze", value, np.array(axes))

    def flat(self, value: Value) -> Value:
        """`value` with one axis."""
        return self.emit("Reshape", value, np.array([-1]))

    def numbers(self, sides: Sequence[Side]) -> list[int]:
        """Sides that have to be known while translating.

        Raises:
            Unsupported: one of them depends on the input.
        """
        found = [int(side) for side in sides if not isinstance(side, Sym)]
        if len(found) < len(sides):
            raise Unsupported("sides that are not known")
        return found

    def side(self, value: Value, axis: int) -> int:
        """The size of one axis, which has to be known while translating."""
        return self.numbers(self.sides(value)[axis : axis + 1])[0]

    def slice(self, value: Value, axis: int, start: int, end: int) -> Value:
        """Part of one axis, with step 1."""
        return self.emit("Slice", value, *(np.array([n]) for n in (start, end, axis, 1)))

    def axis(self, number: int, value: Value) -> int:
        """An axis counted from the front."""
        rank = len(known(value)[1])
        if not -rank <= number < max(rank, 1):
            raise Unsupported(f"axis {number} of a tensor with {rank} axes")
        return number % max(rank, 1)

    def own_axis(self, value: Value, default: int = -1, names: str = "axis") -> int:
        """The axis that an attribute names, counted from the front."""
        return self.axis(self.get(names, default), value)
