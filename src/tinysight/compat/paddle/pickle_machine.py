"""The stack machine of the pickle format, with everything dangerous left out.

It imports nothing, calls nothing that the file names, and knows just the callables that PaddleClas writes (see
`_GLOBALS`), each by a function of ours. Text, bytes and arrays are read in place from the mapped file, so a declared
size is checked against what the file holds before anything is made of it.

Source: the opcode descriptions of CPython's `pickletools`; protocols 2-5, numpy 1 and 2 spellings.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from tinysight.errors import WeightsError

_MAX_STEPS = 1_000_000  # the largest published checkpoint needs fewer than 100,000
_DTYPES = frozenset(
    ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
)


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the file asked for: one of `_GLOBALS`, never an imported object."""

    name: str


class _Mark:
    """Where an opcode began to collect its items."""


class Box:
    """An array or dtype between REDUCE, which makes it, and BUILD, which fills it."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind, self.value = kind, value


@dataclass(frozen=True, eq=False)
class Called:
    """A tuple that the file built by calling `tuple`: how PaddleClas writes `(name, tensor)`."""

    items: tuple[Any, ...]


_MARK = _Mark()
_GLOBALS = {
    "numpy._core.multiarray _reconstruct": "reconstruct",
    "numpy.core.multiarray _reconstruct": "reconstruct",
    "numpy._core.numeric _frombuffer": "frombuffer",  # protocol 5
    "numpy.core.numeric _frombuffer": "frombuffer",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "builtins tuple": "tuple",
    "__builtin__ tuple": "tuple",
    "builtins bytes": "bytes",
    "__builtin__ bytes": "bytes",
    "_codecs encode": "encode",
}


class Machine:
    """One run over one file. `where` is its name for errors."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.data, self.where, self.at = data, where, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.spent = {"tensors": 0, "text": 0}  # bytes so far of each; at most the file's size

    def fail(self, what: str) -> NoReturn:
        """Refuse the file; says where it was read to."""
        raise WeightsError(f"{self.where}: byte {self.at}", what)

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, in place."""
        if size > len(self.data) - self.at:
            left = len(self.data) - self.at
            self.fail(f"truncated or damaged: {size} bytes announced, {left} left in the file")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> int:
        """The next little-endian number of a `struct` form."""
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def text(self, size: int) -> str:
        """The next `size` bytes as text."""
        raw = self.take(size)
        try:
            return str(raw, "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.fail("text that is not UTF-8")

    def line(self) -> str:
        """The rest of a line of ASCII, which protocols 2 and 3 use for global names."""
        end = bytes(self.data[self.at : self.at + 256]).find(b"\n")
        if end < 0:
            self.fail("truncated or damaged: a name without an end")
        return str(self.take(end + 1)[:-1], "ascii", "replace")

    def spend(self, kind: str, size: int) -> None:
        """Count bytes that the file asks for; a file cannot hold more of them than it has."""
        self.spent[kind] += size if size > 16 else 0  # equal small values may share their bytes
        if self.spent[kind] > len(self.data):
            self.fail(f"announces more bytes of {kind} than the file has")

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            self.fail("damaged: takes a value that was never given")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        return self.fail("damaged: ends a group that was never begun")

    def last(self, kind: type) -> Any:
        """The top of the stack, which must be a list or dict to add to."""
        if not self.stack or type(self.stack[-1]) is not kind:
            self.fail(f"damaged: adds items to what is not a {kind.__name__}")
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> Global:
        """The global that the file asks for, if it is a known one."""
        known = _GLOBALS.get(f"{module} {name}")
        if known is None:
            self.fail(f"unsafe: asks for {f'{module}.{name}'[:120]!r}; only arrays are read")
        return Global(known)

    def run(self) -> Any:
        """Execute until STOP.

        Returns:
            The value on top of the stack, tensors still in their boxes.
        """
        for _ in range(_MAX_STEPS):
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                value = self.pop()
                if self.stack:
                    self.fail("damaged: more than one value at the end")
                return value
            step = _STEPS.get(code)
            if step is None:
                name = _REFUSED.get(code)
                self.fail(
                    f"unsafe: opcode {name} makes or calls objects"
                    if name
                    else f"not a pickle of tensors: unknown opcode 0x{code:02x}"
                )
            step(self)
        return self.fail(f"more than {_MAX_STEPS} steps: not a checkpoint")

    # The calls that the file may ask for.

    def reduce(self) -> None:
        """Call one of the known functions."""
        arguments, function = self.pop(), self.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            self.fail("unsafe: calls what is not a known function")
        match function.name, arguments:
            case "reconstruct", (Global("ndarray"), (0,), memoryview()):
                self.stack.append(Box("array"))
            case "reconstruct", (Global("ndarray"), (0,), bytes()):
                self.stack.append(Box("array"))
            case "dtype", (str(code), _, _) if code in _DTYPES:
                self.stack.append(Box("dtype", np.dtype(code)))
            case "dtype", (str(code), *_):
                self.fail(f"dtype {code[:40]!r} is not one of plain numbers")
            case "frombuffer", (memoryview() as raw, Box(kind="dtype") as dtype, shape, order):
                self.stack.append(Box("array", self.array(raw, dtype.value, shape, order == "F")))
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
        if type(box) is not Box:
            self.fail("unsafe: sets the state of what is not an array")
        match box.kind, state:
            case "dtype", (int(), ("<" | ">" | "|" | "=") as order, None, None, None, -1, -1, 0):
                box.value = box.value.newbyteorder(order)
            case "array", (
                int(),
                tuple(shape),
                Box(kind="dtype") as dtype,
                bool(fortran),
                raw,
            ) if box.value is None and isinstance(raw, memoryview | bytes):
                box.value = self.array(raw, dtype.value, shape, fortran)
            case kind, _:
                self.fail(f"damaged or unsafe: a state that no {kind} of numbers has")

    def array(self, raw: Any, dtype: np.dtype[Any], shape: Any, fortran: bool) -> np.ndarray:
        """A view of `raw`; its size must be exactly what `shape` and `dtype` need."""
        if not isinstance(shape, tuple) or len(shape) > 32:
            self.fail("damaged: a tensor without a shape")
        size = dtype.itemsize
        for side in shape:
            if type(side) is not int or not 0 <= side < 2**48:
                self.fail("damaged: a tensor with an impossible side")
            size *= side
        if size != len(raw):
            self.fail(f"damaged: a tensor of {size} bytes by its shape has {len(raw)}")
        self.spend("tensors", size)
        flat = np.frombuffer(raw, dtype) if size else np.empty(0, dtype)
        value = flat.reshape(shape, order="F" if fortran else "C")
        value.flags.writeable = False
        return value


def _memoize(m: Machine, index: int) -> None:
    if not m.stack or m.stack[-1] is _MARK:
        m.fail("damaged: remembers a value that was never given")
    m.memo[index] = m.stack[-1]


def _recall(m: Machine, index: int) -> None:
    if index not in m.memo:
        m.fail("damaged: recalls a value that was never kept")
    m.stack.append(m.memo[index])


def _long(m: Machine, size: int) -> None:
    if not 0 <= size <= 16:
        m.fail(f"a whole number of {size} bytes")
    m.stack.append(int.from_bytes(m.take(size), "little", signed=True))


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


def _pair(m: Machine) -> list[Any]:
    value, key = m.pop(), m.pop()
    return [key, value]


def _tuple(m: Machine, count: int) -> None:
    m.stack.append(tuple([m.pop() for _ in range(count)][::-1]))


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make(m))


def _global(m: Machine) -> Any:
    return m.name(m.line(), m.line())


def _stack_global(m: Machine) -> Any:
    name, module = m.pop(), m.pop()
    return m.name(module, name)


def _protocol(m: Machine) -> None:
    version = m.number("B")
    if not 2 <= version <= 5:
        m.fail(f"pickle protocol {version} is not supported (2 to 5 are)")


def _frame(m: Machine) -> None:
    size = m.number("Q")
    if size > len(m.data) - m.at:
        m.fail("truncated or damaged: a frame longer than the file")


_STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): _push(lambda m: _MARK),
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("J"): _push(lambda m: m.number("i")),
    ord("K"): _push(lambda m: m.number("B")),
    ord("M"): _push(lambda m: m.number("H")),
    0x8A: lambda m: _long(m, m.number("B")),
    0x8B: lambda m: _long(m, m.number("i")),
    ord("G"): _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    ord("X"): _push(lambda m: m.text(m.number("I"))),
    0x8C: _push(lambda m: m.text(m.number("B"))),
    0x8D: _push(lambda m: m.text(m.number("Q"))),
    ord("B"): _push(lambda m: m.take(m.number("I"))),
    ord("C"): _push(lambda m: m.take(m.number("B"))),
    0x8E: _push(lambda m: m.take(m.number("Q"))),
    0x96: _push(lambda m: m.take(m.number("Q"))),
    ord("]"): _push(lambda m: []),
    ord("l"): _push(lambda m: m.pop_mark()),
    ord("a"): lambda m: _extend(m, [m.pop()]),
    ord("e"): lambda m: _extend(m, m.pop_mark()),
    ord("}"): _push(lambda m: {}),
    ord("s"): lambda m: _set_items(m, _pair(m)),
    ord("u"): lambda m: _set_items(m, m.pop_mark()),
    ord(")"): _push(lambda m: ()),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("t"): _push(lambda m: tuple(m.pop_mark())),
    ord("q"): lambda m: _memoize(m, m.number("B")),
    ord("r"): lambda m: _memoize(m, m.number("I")),
    0x94: lambda m: _memoize(m, len(m.memo)),
    ord("h"): lambda m: _recall(m, m.number("B")),
    ord("j"): lambda m: _recall(m, m.number("I")),
    ord("c"): _push(_global),
    0x93: _push(_stack_global),
    ord("R"): Machine.reduce,
    ord("b"): Machine.build,
}
_REFUSED = {
    ord("i"): "INST",
    ord("o"): "OBJ",
    0x81: "NEWOBJ",
    0x92: "NEWOBJ_EX",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    ord("P"): "PERSID",
    ord("Q"): "BINPERSID",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
