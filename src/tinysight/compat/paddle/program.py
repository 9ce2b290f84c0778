"""The program of an exported network in one small form, whichever of the two files it came from.

`.pdmodel` is a protobuf `ProgramDesc` (inputs and outputs of an operator have names: Input, Filter, X, ...);
`inference.json` is the newer intermediate representation (inputs are numbered; axes and shapes are often inputs). Both
become a `Program`: operators in order, each with named value lists and plain attributes. Operator names lose their
dialect and are not translated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.tensors import DTYPES, map_file
from tinysight.errors import WeightsError
from tinysight.graph.protobuf import Message, WireError

MAX_PROGRAM_BYTES = 64 * 2**20  # the largest known program has 3 MB
_MAX_OPS = 200_000
_NOTHING = ("assign", "share_data", "scale")  # what exporters append to name an output


class TensorType(NamedTuple):
    """Data type by name (`float32`, `bfloat16`, ...) and sides; -1 where a side varies."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """One operator: values in and out under the names of their slots, attributes as plain Python values.

    Slots of the JSON form are "0", "1", ... in order; an absent optional input is an empty tuple.
    """

    type: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, Any]


class NamedValue(NamedTuple):
    """An input or output of the program: its public name and the value behind it."""

    name: str
    value: str


@dataclass(frozen=True)
class Program:
    """An inference program. `parameters` maps a value to its internal name; `types` has every value's type."""

    form: str
    ops: tuple[Op, ...]
    inputs: tuple[NamedValue, ...]
    outputs: tuple[NamedValue, ...]
    parameters: Mapping[str, str]
    types: Mapping[str, TensorType]

    @property
    def last_operation(self) -> str:
        """What makes the first output: `softmax`, `sigmoid`, or another operator (an embedding, say)."""
        wanted = self.outputs[0].value
        for op in reversed(self.ops):
            if any(wanted in names for names in op.outputs.values()):
                if op.type.rstrip("_") not in _NOTHING:
                    return str(op.type.rstrip("_"))
                wanted = next((names[0] for names in op.inputs.values() if names), "")
        return "none"


def read_program(path: Path) -> Program:
    """Read `.pdmodel`, `__model__` or `.json`.

    Raises:
        WeightsError: truncated, damaged or not a program.
    """
    data = map_file(path)
    if len(data) > MAX_PROGRAM_BYTES:
        raise WeightsError(str(path), f"has {len(data)} bytes, more than {MAX_PROGRAM_BYTES}")
    if path.suffix == ".json":
        from tinysight.compat.paddle.pir import parse_pir

        program = parse_pir(bytes(data), str(path))
    else:
        program = _parse_legacy(data, str(path))
    if not program.inputs or not program.outputs:
        what = "output" if program.inputs else "input"
        raise WeightsError(str(path), f"the program has no {what}")
    if len(program.ops) > _MAX_OPS:
        raise WeightsError(str(path), f"a program of {len(program.ops)} operators")
    return program


# The legacy form. Field numbers are those of PaddleClas' framework.proto.


def _parse_legacy(data: memoryview, where: str) -> Program:
    try:
        blocks = list(Message(data).messages(1))
        if not blocks:
            raise WeightsError(where, "no protobuf program: it has no block")
        types: dict[str, TensorType] = {}
        parameters: dict[str, str] = {}
        for block in blocks:
            for var in block.messages(3):
                _variable(var, types, parameters)
        ops = [_operator(op) for op in blocks[0].messages(4)]
    except WireError as error:
        raise WeightsError(where, f"truncated or damaged program: {error}") from None
    feeds = _ports((op, op.outputs.get("Out")) for op in ops if op.type == "feed")
    fetches = _ports((op, op.inputs.get("X")) for op in ops if op.type == "fetch")
    missing = [port.name for port in feeds if port.name not in types]
    if missing:
        raise WeightsError(where, f"damaged program: inputs without a type: {', '.join(missing)}")
    rest = tuple(op for op in ops if op.type not in ("feed", "fetch"))
    return Program("legacy", rest, feeds, fetches, parameters, types)


def _ports(found: Iterable[tuple[Op, Sequence[str] | None]]) -> tuple[NamedValue, ...]:
    """The ports of the program in the order of their columns."""
    names = sorted((int(op.attributes.get("col", 0)), slot[0]) for op, slot in found if slot)
    return tuple(NamedValue(name, name) for _, name in names)


def _variable(var: Message, types: dict[str, TensorType], parameters: dict[str, str]) -> None:
    name, kind = var.text(1), var.message(2)
    if kind.integer(1) != 7:  # LOD_TENSOR; the others are feed and fetch lists, readers, scopes
        return
    tensor = kind.message(3).message(1)
    code = tensor.integer(1)
    if code not in DTYPES:
        raise WireError(f"variable {name!r} has data type {code}")
    types[name] = TensorType(DTYPES[code], tuple(tensor.integers(2)))
    if var.integer(3):
        parameters[name] = name


def _operator(op: Message) -> Op:
    ins, outs = ({s.text(1): tuple(s.texts(2)) for s in op.messages(field)} for field in (1, 2))
    typed = ((a, _ATTRIBUTES.get(a.integer(2))) for a in op.messages(4))
    return Op(op.text(3), ins, outs, {a.text(1): read(a) for a, read in typed if read})


def _scalar(message: Message) -> bool | int | float:
    kind = message.integer(1)
    if kind == 1:
        return bool(message.integer(2))
    return message.integer(3) if kind == 2 else message.number(4, "d")


_ATTRIBUTES: Mapping[int, Any] = {
    0: lambda a: _int32(a.integer(3)), 3: lambda a: [_int32(i) for i in a.integers(6)],
    1: lambda a: a.number(4), 4: lambda a: a.floats(7),
    2: lambda a: a.text(5), 5: lambda a: a.texts(8),
    6: lambda a: bool(a.integer(10)), 7: lambda a: [bool(i) for i in a.integers(11)],
    8: lambda a: ("block", a.integer(12)),  # of control flow: kept so that it can be named
    9: lambda a: a.integer(13), 11: lambda a: a.integers(15),
    15: lambda a: a.number(19, "d"), 12: lambda a: a.floats(16, "d"),
    16: lambda a: _scalar(a.message(20)), 17: lambda a: [_scalar(m) for m in a.messages(21)],
}  # fmt: skip


def _int32(value: int) -> int:
    """An int32 field: a negative one may have been written in 5 bytes."""
    return value - (1 << 32) if 1 << 31 <= value < 1 << 32 else value
