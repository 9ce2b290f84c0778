"""ONNX files, written and read without the `onnx` package: as much of the format as networks for inference need.

Prediction from a Paddle export translates it, and the plain install has no room for a package of 33 MB that would only
write the result down. Initialisers stay where they are (a mapped file, an array) until the bytes are asked for.

Source: the field numbers of the public `onnx.proto`, IR version 8; the files are checked with `onnx.checker` in tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinysight.graph.protobuf import Buffer, Draft, Message, WireError, fits

IR_VERSION = 8
MAX_BYTES = 2**31 - 2**20  # a protobuf message ends at 2 GiB

# TensorProto.DataType by rising number.
_NAMES = "float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64"
_CODES = {name: code for code, name in enumerate(_NAMES.split(), 1) if name != "string"}
DTYPES = {code: np.dtype(name) for name, code in _CODES.items()}
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 6, 7, 8

Attribute: TypeAlias = int | float | str | np.ndarray | Sequence[int | float | str]


class Node(NamedTuple):
    """One operator by the names of its inputs ("" absent) and outputs; an attribute may be a data type, too."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str = ""


class Port(NamedTuple):
    """An input or output of the graph; a side is a number, a name, or None where nothing is said about it."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class OnnxModel:
    """A network: nodes in order, constants by name, what goes in and what comes out."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterator[Buffer]:
        """The bytes of the file, piece by piece; the pieces of constants refer to their arrays."""
        return iter(_model(self).parts)

    def to_bytes(self) -> bytes:
        """The bytes of the file. The same network gives the same bytes."""
        return b"".join(self.chunks())


# Writing. Fields by rising number, as generated code writes them.


def _model(model: OnnxModel) -> Draft:
    draft = Draft().integer(1, IR_VERSION).data(2, "tinysight").message(7, _graph(model))
    draft.message(8, Draft().data(1, "").integer(2, model.opset))
    return draft.message(14, *(Draft().data(1, k).data(2, v) for k, v in model.metadata.items()))


def _graph(model: OnnxModel) -> Draft:
    draft = Draft().message(1, *map(_node, model.nodes)).data(2, "network")
    draft.message(5, *(_tensor(array, name) for name, array in model.constants.items()))
    return draft.message(11, *map(_port, model.inputs)).message(12, *map(_port, model.outputs))


def _node(node: Node) -> Draft:
    draft = Draft().data(1, *node.inputs).data(2, *node.outputs)
    draft.data(3, *([node.name] if node.name else [])).data(4, node.op)
    return draft.message(5, *(_attribute(k, v) for k, v in sorted(node.attributes.items())))


def _attribute(name: str, value: Attribute | np.dtype[Any]) -> Draft:
    draft = Draft().data(1, name)
    match value:
        case np.dtype():
            return draft.integer(3, _CODES[value.name]).integer(20, _INT)
        case np.ndarray():
            return draft.message(5, _tensor(value)).integer(20, _TENSOR)
        case str():
            return draft.data(4, value).integer(20, _STRING)
        case float():
            return draft.float32(2, value).integer(20, _FLOAT)
        case int() | np.integer():
            return draft.integer(3, int(value)).integer(20, _INT)
    if value and all(isinstance(v, str) for v in value):
        return draft.data(9, *(str(v) for v in value)).integer(20, _STRINGS)
    if any(isinstance(v, float) for v in value):
        return draft.float32(7, *(float(v) for v in value)).integer(20, _FLOATS)
    return draft.integer(8, *(int(v) for v in value)).integer(20, _INTS)


def _tensor(array: np.ndarray, name: str = "") -> Draft:
    draft = Draft().integer(1, *array.shape).integer(2, _CODES[array.dtype.name])
    draft.data(8, *([name] if name else []))
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return draft.data(9, flat.view(np.uint8).data)


def _port(port: Port) -> Draft:
    shape = Draft()
    for side in port.shape:
        written = Draft()
        if side is not None:
            written = written.data(2, side) if isinstance(side, str) else written.integer(1, side)
        shape.message(1, written)
    assert port.dtype is not None, "a port to write has a type"
    kind = Draft().integer(1, _CODES[port.dtype.name]).message(2, shape)
    return Draft().data(1, port.name).message(2, Draft().message(1, kind))


# Reading.


class ExternalData(ValueError):
    """A tensor whose values lie in another file; nothing is looked for there."""


# Where tensors are: kinds of messages by field, by the kind of message that they are in.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"}, "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"}, "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"}, "node": {5: "attribute"}, "tensor": {},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}  # fmt: skip


def refuse_external_data(data: Buffer) -> None:
    """Raise `ExternalData` where a tensor anywhere in the file `data` has its values in another file.

    Raises:
        WireError: truncated, damaged, or no ONNX file.
    """
    left = [("model", memoryview(data))]
    while left:
        kind, raw = left.pop()
        message = Message(raw)
        if kind == "tensor" and (any(message.integers(14)) or message.raws(13)):
            raise ExternalData(message.text(8))
        for field_number, inner in _INSIDE[kind].items():
            left += ((inner, part) for part in message.raws(field_number))


def read_onnx(data: Buffer) -> OnnxModel:
    """The network in `data`; constants are read-only views of it where the file keeps them raw.

    Subgraphs, sparse tensors and types that NumPy has not are left out: an attribute or constant that holds one is
    absent.

    Raises:
        WireError: truncated, damaged, or no ONNX file.
        ExternalData: weights in other files.
    """
    model = Message(memoryview(data))
    if not model.raws(7) or not model.raws(8):
        raise WireError("no graph, or no set of operators")
    graph = model.message(7)
    named = ((t.text(8), _read_tensor(t)) for t in graph.messages(5))
    opsets = {o.text(1): o.integer(2) for o in model.messages(8)}
    return OnnxModel(
        nodes=tuple(_read_node(n) for n in graph.messages(1)),
        constants={name: array for name, array in named if array is not None},
        inputs=tuple(_read_port(p) for p in graph.messages(11)),
        outputs=tuple(_read_port(p) for p in graph.messages(12)),
        opset=opsets.get("", opsets.get("ai.onnx", 0)),
        metadata={entry.text(1): entry.text(2) for entry in model.messages(14)},
    )


def _read_node(node: Message) -> Node:
    typed = ((a, _ATTRIBUTES.get(a.integer(20))) for a in node.messages(5))
    found = ((a.text(1), read(a)) for a, read in typed if read)
    attributes = {name: value for name, value in found if value is not None}
    return Node(node.text(4), tuple(node.texts(1)), tuple(node.texts(2)), attributes, node.text(3))


_ATTRIBUTES: Mapping[int, Callable[[Message], Any]] = {
    _FLOAT: lambda a: a.number(2), _FLOATS: lambda a: a.floats(7),
    _INT: lambda a: a.integer(3), _INTS: lambda a: a.integers(8),
    _STRING: lambda a: str(b"".join(a.raws(4)[-1:]), "utf-8", "replace"),
    _STRINGS: lambda a: [str(raw, "utf-8", "replace") for raw in a.raws(9)],
    _TENSOR: lambda a: _read_tensor(a.message(5)),
}  # fmt: skip


def _read_tensor(tensor: Message) -> np.ndarray | None:
    if tensor.integer(14) or tensor.raws(13):
        raise ExternalData(tensor.text(8))
    dtype, shape = DTYPES.get(tensor.integer(2)), tensor.integers(1)
    if dtype is None:
        return None
    if any(side < 0 for side in shape) or not fits(shape, dtype.itemsize):
        raise WireError(f"a tensor of shape {shape}")
    count = math.prod(shape)
    if raws := tensor.raws(9):
        if len(raws[-1]) != count * dtype.itemsize:
            raise WireError(f"{len(raws[-1])} bytes for {count} values of {dtype}")
        return np.frombuffer(raws[-1], dtype.newbyteorder("<")).reshape(shape)
    values = _values(tensor, dtype)
    if len(values) != count:
        raise WireError(f"{len(values)} values for a tensor of {count}")
    return values.reshape(shape)


def _values(tensor: Message, dtype: np.dtype[Any]) -> np.ndarray:
    """What is kept in a field of its own type: float16 as the number of its bits, short integers as int32."""
    if dtype.kind == "f" and dtype.itemsize > 2:
        return np.array(tensor.floats(4) if dtype.itemsize == 4 else tensor.floats(10, "d"), dtype)
    numbered = {"int64": 7, "uint32": 11, "uint64": 11}.get(dtype.name, 5)
    values = np.array(tensor.integers(numbered), np.int64)
    return values.astype(np.uint16).view(dtype) if dtype.kind == "f" else values.astype(dtype)


def _read_port(port: Message) -> Port:
    kind = port.message(2).message(1)
    found = kind.message(2).messages(1)
    sides = [s.integer(1) if s.fields.get(1) else s.text(2) or None for s in found]
    return Port(port.text(1), DTYPES.get(kind.integer(1)), tuple(sides))
