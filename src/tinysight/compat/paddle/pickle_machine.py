"""The stack machine of the pickle format, with everything dangerous left out.

It imports nothing, calls nothing that the file names, and knows just the callables that PaddleClas writes (see
`_GLOBALS`), each by a function of ours. Text, bytes and arrays are read in place from the mapped file, so a declared
size is checked against what the file holds before anything is made of it.

Source: `pickletools` reads the opcodes; protocols 2-5, numpy 1 and 2 spellings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pickletools import genops
from typing import Any, NoReturn, TypeAlias

import numpy as np

from tinysight.errors import WeightsError
from tinysight.graph.protobuf import fits

_MAX_STEPS = 1_000_000  # the largest published checkpoint needs fewer than 100,000
_DTYPES = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split()  # noqa: SIM905 - a table


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the file asked for: one of `_GLOBALS`, never an imported object."""

    name: str


class Unfinished:
    """An array or dtype between REDUCE, which makes it, and BUILD, which fills it."""

    __slots__ = __match_args__ = ("kind", "value")

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind, self.value = kind, value


@dataclass(frozen=True, eq=False)
class Called:
    """A tuple that the file built by calling `tuple`: how PaddleClas writes `(name, tensor)`."""

    items: tuple[Any, ...]


_MARK = object()  # where an opcode began to collect its items
_GLOBALS = {
    **{f"numpy.{core}.multiarray _reconstruct": "reconstruct" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": "frombuffer" for core in ("core", "_core")},
    **{f"numpy {kind}": kind for kind in ("ndarray", "dtype")},
    **{f"{home} tuple": "tuple" for home in ("builtins", "__builtin__")},
    **{f"{home} bytes": "bytes" for home in ("builtins", "__builtin__")},
    "_codecs encode": "encode",
}


class _File:
    """The mapped file as `genops` reads it: long pieces stay where they are."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def tell(self) -> int:
        return self.at

    def read(self, size: int) -> bytes | memoryview:
        left = len(self.data) - self.at
        if size > left:
            self.fail(f"truncated or damaged: {size} bytes announced, {left} left in the file")
        piece = self.data[self.at : self.at + size]
        self.at += size
        return bytes(piece) if size <= 16 else piece

    def readline(self) -> bytes:
        """The rest of a line, which protocols 2 and 3 use for global names."""
        end = bytes(self.data[self.at : self.at + 256]).find(b"\n")
        if end < 0:
            self.fail("truncated or damaged: a name without an end")
        return bytes(self.read(end + 1))

    def fail(self, what: str) -> NoReturn:
        """Refuse the file; says where it was read to."""
        raise WeightsError(f"{self.where}: byte {self.at}", what)


class Machine:
    """One run over one file. `where` is its name for errors, `steps` how many it may take."""

    def __init__(self, data: memoryview, where: str, steps: int = _MAX_STEPS) -> None:
        self.file, self.steps = _File(data, where), steps
        self.fail = self.file.fail
        self.size = len(data)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.spent = {"tensors": 0, "text": 0}  # bytes so far of each; at most the file's size

    def spend(self, kind: str, size: int) -> None:
        """Count bytes that the file asks for; a file cannot hold more of them than it has."""
        self.spent[kind] += size if size > 16 else 0  # equal small values may share their bytes
        if self.spent[kind] > self.size:
            self.fail(f"announces more bytes of {kind} than the file has")

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            self.fail("damaged: takes a value that was never given")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        items: list[Any] = []
        while self.stack:
            if (item := self.stack.pop()) is _MARK:
                return items[::-1]
            items.append(item)
        return self.fail("damaged: ends a group that was never begun")

    def last(self, kind: type) -> Any:
        """The top of the stack, which must be a list or dict to add to."""
        if not self.stack or type(self.stack[-1]) is not kind:
            self.fail(f"damaged: adds items to what is not a {kind.__name__}")
        return self.stack[-1]

    def name(self, words: str) -> Global:
        """The global that the file asks for (module and name), if it is a known one."""
        if words not in _GLOBALS:
            self.fail(f"unsafe: asks for {words.replace(' ', '.')[:120]!r}; only arrays are read")
        return Global(_GLOBALS[words])

    def run(self) -> Any:
        """Execute until STOP.

        Returns:
            The value on top of the stack, tensors still in their boxes.
        """
        operations: Any = genops(self.file)  # type: ignore[arg-type]  # it calls no other method
        try:
            for count, (opcode, argument, _) in enumerate(operations):
                if count > self.steps:
                    self.fail(f"more than {self.steps} steps: not a checkpoint")
                if opcode.name not in _STEPS:
                    self.fail(f"unsafe: opcode {opcode.name} makes or calls objects")
                _STEPS[opcode.name](self, argument)
        except UnicodeDecodeError:
            self.fail("text that is not UTF-8")
        except ValueError as error:
            self.fail(f"not a pickle of tensors, truncated or damaged: {error}")
        value = self.pop()
        if self.stack:
            self.fail("damaged: more than one value at the end")
        return value

    # The calls that the file may ask for.

    def reduce(self) -> None:
        """Call one of the known functions."""
        arguments, function = self.pop(), self.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            self.fail("unsafe: calls what is not a known function")
        match function.name, arguments:
            case "reconstruct", (Global("ndarray"), (0,), memoryview() | bytes()):
                self.stack.append(Unfinished("array"))
            case "dtype", (str(code), _, _) if code in _DTYPES:
                self.stack.append(Unfinished("dtype", np.dtype(code)))
            case "dtype", (str(code), *_):
                self.fail(f"dtype {code[:40]!r} is not one of plain numbers")
            case "scalar", (Unfinished("dtype") as dtype, memoryview() | bytes() as raw):
                self.stack.append(self.array(raw, dtype.value, (), False).item())
            case "frombuffer", (memoryview() as raw, Unfinished("dtype") as dtype, shape, order):
                value = self.array(raw, dtype.value, shape, order == "F")
                self.stack.append(Unfinished("array", value))
            case "tuple", (tuple(items),):
                self.stack.append(Called(items))
            case "bytes", ():
                self.stack.append(b"")
            case "encode", (str(text), "latin1" | "latin-1"):
                self.spend("text", len(text))
                try:
                    self.stack.append(memoryview(text.encode("latin-1")))
                except UnicodeEncodeError:
                    self.fail("bytes written as text hold a character above 255")
            case name, _:
                self.fail(f"unsafe: calls {name} with arguments that no tensor has")

    def build(self) -> None:
        """Give an array or dtype its content."""
        state = self.pop()
        box = self.stack[-1] if self.stack else None
        if type(box) is not Unfinished:
            self.fail("unsafe: sets the state of what is not an array")
        match box.kind, state:
            case "dtype", (int(), ("<" | ">" | "|" | "=") as order, None, None, None, -1, -1, 0):
                box.value = box.value.newbyteorder(order)
            case "array", (int(), tuple(shape), Unfinished("dtype") as dtype, bool(fortran),
                           memoryview() | bytes() as raw) if box.value is None:  # fmt: skip
                box.value = self.array(raw, dtype.value, shape, fortran)
            case kind, _:
                self.fail(f"damaged or unsafe: a state that no {kind} of numbers has")

    def array(self, raw: Any, dtype: np.dtype[Any], shape: Any, fortran: bool) -> np.ndarray:
        """A view of `raw`; its size must be exactly what `shape` and `dtype` need."""
        if not isinstance(shape, tuple):
            self.fail("damaged: a tensor without a shape")
        if not all(type(side) is int and 0 <= side < 2**48 for side in shape):
            self.fail("damaged: a tensor with an impossible side")
        if not fits(shape, dtype.itemsize):
            self.fail(f"damaged: a tensor {shape}")
        size = math.prod(shape) * dtype.itemsize
        if size != len(raw):
            self.fail(f"damaged: a tensor of {size} bytes by its shape has {len(raw)}")
        self.spend("tensors", size)
        flat = np.frombuffer(raw, dtype) if size else np.empty(0, dtype)
        value = flat.reshape(shape, order="F" if fortran else "C")
        value.flags.writeable = False
        return value


def _memoize(m: Machine, index: int | None) -> None:
    if not m.stack or m.stack[-1] is _MARK:
        m.fail("damaged: remembers a value that was never given")
    m.memo[len(m.memo) if index is None else index] = m.stack[-1]


def _recall(m: Machine, index: int) -> None:
    if index not in m.memo:
        m.fail("damaged: recalls a value that was never kept")
    m.stack.append(m.memo[index])


def _long(m: Machine, value: int) -> None:
    if value.bit_length() > 128:
        m.fail(f"a whole number of {value.bit_length()} bits")
    m.stack.append(value)


def _extend(m: Machine, items: list[Any]) -> None:
    m.last(list).extend(items)


def _set_items(m: Machine, items: list[Any]) -> None:
    target = m.last(dict)
    if len(items) % 2:
        m.fail("damaged: a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str and not (type(key) is int and abs(key) < 2**31):
            m.fail("a key that is neither text nor a small number")
        target[key] = value


def _take(m: Machine, count: int) -> list[Any]:
    """The topmost values, the lowest first."""
    return [m.pop() for _ in range(count)][::-1]


def _protocol(m: Machine, version: int) -> None:
    if not 2 <= version <= 5:
        m.fail(f"pickle protocol {version} is not supported (2 to 5 are)")


def _frame(m: Machine, size: int) -> None:
    if size > m.size - m.file.at:
        m.fail("truncated or damaged: a frame longer than the file")


def _word(value: Any) -> str:
    return value if type(value) is str else "?"


def _push(make: Callable[[Machine, Any], Any]) -> _Step:
    return lambda m, argument: m.stack.append(make(m, argument))


_Step: TypeAlias = "Callable[[Machine, Any], None]"
_ITSELF = "BININT BININT1 BININT2 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8"
_BYTES = "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
_STEPS: dict[str, _Step] = {  # opcodes that are not here make or call objects
    "PROTO": _protocol, "FRAME": _frame, "STOP": lambda m, _: None,
    "MARK": _push(lambda m, _: _MARK), "NONE": _push(lambda m, _: None),
    "NEWTRUE": _push(lambda m, _: True), "NEWFALSE": _push(lambda m, _: False),
    **dict.fromkeys(_ITSELF.split(), _push(lambda m, value: value)),
    **dict.fromkeys(_BYTES.split(), _push(lambda m, value: memoryview(value))),
    **dict.fromkeys(("LONG1", "LONG4"), _long),
    "EMPTY_LIST": _push(lambda m, _: []), "LIST": _push(lambda m, _: m.pop_mark()),
    "APPEND": lambda m, _: _extend(m, _take(m, 1)),
    "APPENDS": lambda m, _: _extend(m, m.pop_mark()),
    "EMPTY_DICT": _push(lambda m, _: {}), "EMPTY_TUPLE": _push(lambda m, _: ()),
    "SETITEM": lambda m, _: _set_items(m, _take(m, 2)),
    "SETITEMS": lambda m, _: _set_items(m, m.pop_mark()),
    "TUPLE1": _push(lambda m, _: tuple(_take(m, 1))), "TUPLE2": _push(lambda m, _: tuple(_take(m, 2))),
    "TUPLE3": _push(lambda m, _: tuple(_take(m, 3))), "TUPLE": _push(lambda m, _: tuple(m.pop_mark())),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoize),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": _push(lambda m, words: m.name(words)),
    "STACK_GLOBAL": _push(lambda m, _: m.name(" ".join(map(_word, _take(m, 2))))),
    "REDUCE": lambda m, _: m.reduce(), "BUILD": lambda m, _: m.build(),
}  # fmt: skip
