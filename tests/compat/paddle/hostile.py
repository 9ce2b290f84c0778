"""Damaged and hostile files, by name: each must be refused with a `WeightsError`, quickly, in little memory."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from support.golden import own_path
from support.paddle import field, numbered, op, operator, program, record, variable

STATE = pickle.dumps({"w": np.arange(4.0), "b": np.ones(2)}, 4)


def u(text: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def g(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


RECONSTRUCT = (
    g("numpy.core.multiarray", "_reconstruct") + g("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
)
F4 = (
    g("numpy", "dtype")
    + u("f4")
    + b"\x89\x88\x87R(K\x03"
    + u("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def array(shape: bytes, raw: bytes, dtype: bytes = F4) -> bytes:
    """An array by its pickled shape tuple, its data opcode and its dtype."""
    return RECONSTRUCT + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


def entry(value: bytes, protocol: int = 4) -> bytes:
    """A dict with one entry."""
    return bytes([0x80, protocol]) + b"}" + u("w") + value + b"s."


def pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Opcodes that build or call, sizes that lie, structures that explode."""
    side = b"\x8a\x08" + struct.pack("<q", 2**47)
    yield "no values, overflowing sides", entry(array(b"K\0" + side + side + b"\x87", b"C\0"))
    shell = u(f"touch {canary}")
    python = u(f"open({str(canary)!r}, 'w')")
    for module, name, argument in (
        ("os", "system", shell),
        ("posix", "system", shell),
        ("subprocess", "getoutput", shell),
        ("builtins", "eval", python),
        ("builtins", "exec", python),
        ("__builtin__", "execfile", python),
        ("builtins", "open", u(str(canary)) + u("w")),
        ("builtins", "getattr", u("a") + u("b")),
        ("builtins", "__import__", u("os")),
        ("runpy", "run_path", u(str(canary))),
        ("numpy", "load", u(str(canary))),
        ("numpy", "memmap", u(str(canary))),
        ("numpy.testing._private.utils", "runstring", python + b"}"),
        ("numpy.core.multiarray", "scalar", F4 + b"C\x04abcd"),
        ("numpy.core.multiarray", "fromfile", u(str(canary))),
        ("paddle.base.core", "eager.Tensor", u("x")),
        ("collections", "OrderedDict", b"]"),
        ("torch._utils", "_rebuild_tensor_v2", u("x")),
        ("numpy ndarray", "", b"K\x01"),
    ):
        yield f"global {module}.{name}", entry(g(module, name) + b"(" + argument + b"tR")
        stacked = u(module) + u(name) + b"\x93(" + argument + b"tR"
        yield f"stack_global {module}.{name}", entry(stacked)
    yield "stack_global of numbers", entry(b"K\x01K\x02\x93(tR")
    doubled = b"".join(
        b"]q" + bytes([i + 1]) + b"(h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(40)
    )
    yield "stack_global of a list that unfolds", entry(b"]q\x00" + doubled + u("x") + b"\x93(tR")
    yield "inst", entry(b"(" + shell + b"ios\nsystem\n")
    yield "obj", entry(b"(" + g("os", "system") + shell + b"o")
    yield "newobj", entry(g("numpy", "ndarray") + b"K\x05\x85\x81")
    yield "newobj_ex", entry(g("numpy", "ndarray") + b"K\x05\x85}\x92")
    yield "ext1", entry(b"\x82\x01")
    yield "ext2", entry(b"\x83\x01\x00")
    yield "ext4", entry(b"\x84\x01\x00\x00\x00")
    yield "persid", entry(b"Pa\n")
    yield "binpersid", entry(b"K\x01Q")
    yield "next_buffer", entry(b"\x97", 5)
    yield "readonly_buffer", entry(b"C\x01a\x98", 5)
    yield "build on dict", entry(b"}}" + u("__class__") + b"K\x01sb")
    yield "build on global", entry(g("numpy", "ndarray") + b"}b")
    yield (
        "build twice",
        entry(array(b"K\x01\x85", b"C\x04abcd") + b"(K\x01K\x01\x85" + F4 + b"\x89C\x04abcdtb"),
    )
    yield "reduce of text", entry(u("os.system") + b"(" + shell + b"tR")
    yield "bare global", entry(g("numpy", "ndarray"))
    yield "bare dtype", entry(F4)
    yield "array without content", entry(RECONSTRUCT)
    yield (
        "reconstruct of tuple",
        entry(
            g("numpy.core.multiarray", "_reconstruct")
            + g("builtins", "tuple")
            + b"K\x00\x85C\x01b\x87R"
        ),
    )
    yield (
        "reconstruct with a size",
        entry(
            g("numpy.core.multiarray", "_reconstruct")
            + g("numpy", "ndarray")
            + b"\x8a\x06\x00\x00\x00\x00\x00\x10\x85C\x01b\x87R"
        ),
    )
    yield (
        "bytes with a size",
        entry(g("__builtin__", "bytes") + b"\x8a\x06\x00\x00\x00\x00\x00\x10\x85R"),
    )
    yield "encode as zip", entry(g("_codecs", "encode") + u("a") + u("zip") + b"\x86R")
    yield "encode wide text", entry(g("_codecs", "encode") + u("\u4e2d") + u("latin1") + b"\x86R")
    yield "tuple of a number", entry(g("builtins", "tuple") + b"J\xff\xff\xff\x7f\x85R")
    for code in ("O", "V8", "f4,f4", "S1000000000", "U4", "M8[ns]", "f16"):
        dtype = g("numpy", "dtype") + u(code) + b"\x89\x88\x87R"
        yield f"dtype {code}", entry(array(b"K\x01\x85", b"C\x08abcdefgh", dtype))
    yield (
        "dtype with fields",
        entry(
            array(
                b"K\x01\x85",
                b"C\x04abcd",
                F4[: F4.index(b"(")]
                + b"(K\x03"
                + u("<")
                + b"N}}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            )
        ),
    )
    for name, shape in (
        ("huge", b"\x8a\x06\x00\x00\x00\x00\x00\x10\x85"),
        ("overflowing", b"(" + b"\x8a\x05\x00\x00\x00\x00\x10" * 4 + b"t"),
        ("overflowing to zero", b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85"),
        ("negative", b"J\xff\xff\xff\xff\x85"),
        ("fractional", b"G?\xf0\x00\x00\x00\x00\x00\x00\x85"),
        ("boolean", b"\x88\x85"),
        ("33 axes", b"(" + b"K\x01" * 33 + b"t"),
        ("a list", b"]K\x01a"),
        ("too small", b"K\x00\x85"),
        ("too large", b"K\x02\x85"),
    ):
        yield f"shape {name}", entry(array(shape, b"C\x04abcd"))
    yield "binunicode beyond the file", entry(b"X\xff\xff\xff\xffabc")
    yield "binunicode8 beyond the file", entry(b"\x8d" + b"\xff" * 8 + b"abc")
    yield "binbytes beyond the file", entry(b"B\xff\xff\xff\x7fabc")
    yield "binbytes8 beyond the file", entry(b"\x8e" + b"\xff" * 7 + b"\x7fabc")
    yield "bytearray8 beyond the file", entry(b"\x96" + b"\xff" * 8 + b"abc", 5)
    yield "long4 beyond the file", entry(b"\x8b\xff\xff\xff\x7fabc")
    yield "long4 negative", entry(b"\x8b\xff\xff\xff\xffabc")
    yield "long of 200 bytes", entry(b"\x8a\xc8" + b"\x7f" * 200)
    yield "frame beyond the file", b"\x80\x04\x95" + b"\xff" * 8 + STATE[11:]
    yield "text not utf-8", entry(b"X\x02\x00\x00\x00\xff\xfe")
    yield "memo never kept", entry(b"h\x07")
    yield "long memo never kept", entry(b"j\xff\xff\xff\xff")
    yield "memo of nothing", b"\x80\x04q\x00."
    yield "kept far away", b"\x80\x04]r\xff\xff\xff\xff."
    yield "nested lists", b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."
    yield "nested tuples", b"\x80\x04N" + b"\x85" * 200_000 + b"."
    yield "list in itself", b"\x80\x04]q\x00h\x00a."
    yield "dict in itself", b"\x80\x04}q\x00" + u("w") + b"h\x00s."
    doubling = b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(50)
    )
    yield "doubled lists", b"\x80\x04]q\x00" + doubling + b"."
    yield (
        "doubled tuples",
        b"\x80\x04)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(50)) + b".",
    )
    yield "two million lists", b"\x80\x04(" + b"]" * 2_000_000 + b"l."
    yield "two million marks", b"\x80\x04" + b"(" * 2_000_000 + b"."
    once = b"B" + struct.pack("<I", 1 << 20) + b"\0" * (1 << 20) + b"q\x00"
    views = b"".join(array(b"J\x00\x00\x04\x00\x85", b"h\x00") + b"a" for _ in range(2000))
    yield "one block, many arrays", b"\x80\x04" + once + b"]" + views + b"."
    text = u("a" * (1 << 20)) + b"q\x00"
    codes = b"".join(
        g("_codecs", "encode") + b"h\x00" + u("latin1") + b"\x86Ra" for _ in range(2000)
    )
    yield "one text, many bytes", b"\x80\x02" + text + b"]" + codes + b"."
    yield "key that is a list", b"\x80\x04}]K\x01s."
    yield "key that is a huge number", b"\x80\x04}\x8a\x09" + b"\xff" * 8 + b"\x00K\x01s."
    yield "key without value", b"\x80\x04}(" + u("w") + b"u."
    yield "no value at all", b"\x80\x04."
    yield "two values", b"\x80\x04NN."
    yield "append to a number", b"\x80\x04K\x01K\x02a."
    yield "items into a list", b"\x80\x04]" + u("w") + b"K\x01s."
    yield "end of no group", b"\x80\x04t."
    yield "protocol 0", pickle.dumps({"w": 1}, 0)
    yield "protocol 9", b"\x80\x09" + STATE[2:]
    yield "unknown opcode", b"\x80\x04}\xff."
    yield "zip archive", b"PK\x03\x04" + bytes(200)
    yield "text file", b"hello, this is no pickle\n" * 20
    yield "name without an end", b"\x80\x02c" + b"a" * 1000
    for name, table in (
        ("of text", "x"),
        ("of missing parts", {"w": {"OriginShape": (2, 3), "slices": ["a", "b"]}}),
        ("of the wrong shape", {"w": {"OriginShape": (2, 3), "slices": ["p"]}}),
        ("of one part many times", {"w": {"OriginShape": (4096, 1024), "slices": ["p"] * 4096}}),
    ):
        content = {"p": np.ones(1024), "UnpackBigParamInfor@@": table}
        yield f"cut table {name}", pickle.dumps(content, 2)


def _head(levels: int = 0) -> bytes:
    return struct.pack("<IQ", 0, levels)


def _tensor(code: int, sides: tuple[int, ...], raw: bytes = b"") -> bytes:
    description = field(1, code) + b"".join(field(2, s) for s in sides)
    return _head() + struct.pack("<Ii", 0, len(description)) + description + raw


def streams() -> Iterator[tuple[str, bytes]]:
    """Single tensors that lie about themselves."""
    good = record(np.arange(6, dtype=np.float32))
    yield "version", b"\x01" + good[1:]
    yield "many level tables", _head(2**63) + good[12:]
    yield "level table beyond the file", _head(1) + struct.pack("<Q", 2**62) + good[12:]
    yield "tensor version", good[:12] + b"\x07" + good[13:]
    yield "description negative", _head() + struct.pack("<Ii", 0, -1) + bytes(64)
    yield "description beyond the file", _head() + struct.pack("<Ii", 0, 2**31 - 1) + bytes(64)
    yield "unknown type", _tensor(77, (1,), bytes(8))
    yield "huge side", _tensor(5, (2**40,), bytes(64))
    yield "overflowing sides", _tensor(5, (2**47, 2**47, 2**47), bytes(64))
    yield "no values, overflowing sides", _tensor(5, (0, 2**47, 2**47))
    yield "negative side", _tensor(5, (-1,), bytes(64))
    yield "100 axes", _tensor(5, (1,) * 100, bytes(4))
    yield "overlong varint", _head() + struct.pack("<Ii", 0, 12) + b"\x08" + b"\xff" * 11 + bytes(8)
    yield "type as text", _head() + struct.pack("<Ii", 0, 3) + b"\x0a\xff\x01" + bytes(8)
    yield "bytes behind", good + b"\0"
    yield "two tensors", good + good


def legacy_programs() -> Iterator[tuple[str, bytes]]:
    """`.pdmodel` files: the wire format, then programs that ask for too much."""
    yield "no block", b"\0"
    yield "zeros", bytes(1000)
    yield "overlong varint", b"\x0a" + b"\xff" * 11
    yield "length beyond the file", b"\x0a\xff\xff\xff\xff\x0f" + bytes(20)
    yield "group wire type", b"\x0b" + bytes(20)
    yield "wire type 7", b"\x0f" + bytes(20)
    yield "block as a number", field(1, 5)
    yield "many fields", b"\x08\x00" * 3_000_000
    yield "name not utf-8", field(1, field(4, field(3, b"\xff\xfe")))
    x = variable("x", (-1, 3, 8, 8))
    feed = op("feed", "X=feed", "Out=x", col=0)
    fetch = op("fetch", "X=y", "Out=fetch", col=0)
    yield "no input", program([x], [fetch])
    yield "no output", program([x], [feed])
    yield ("input without a type", program([], [feed, op("relu", "X=x"), fetch]))
    yield (
        "unknown data type",
        program(
            [field(1, "x") + field(2, field(1, 7) + field(3, field(1, field(1, 99))))],
            [feed, fetch],
        ),
    )
    programs: dict[str, list[bytes]] = {
        "output never made": [],
        "reads what nothing made": [op("relu", "X=z")],
        "operators in a circle": [
            op("relu", "X=b", "Out=a"),
            op("relu", "X=a", "Out=b"),
            op("relu", "X=a"),
        ],
        "block that holds itself": [
            op("while", "X=x") + field(4, field(1, "sub_block") + field(2, 8) + field(12, 0))
        ],
        "unknown operator": [op("run_shell", "X=x", command="touch canary")],
        "py_func": [op("py_func", "X=x", forward_callable_id=0)],
        "constant of a terabyte": [
            op("fill_constant", "", shape=[1 << 20, 1 << 20], value=1.0, dtype=5)
        ],
        "constant with overflowing sides": [
            op("fill_constant", "", shape=[1 << 62] * 4, value=1.0, dtype=5)
        ],
        "constant with a negative side": [op("fill_constant", "", shape=[-5], value=1.0, dtype=5)],
        "constant of no type": [op("fill_constant", "", shape=[5], value=1.0, dtype=55)],
        "expand of a constant": [
            op("fill_constant", "", "Out=c", shape=[1], value=1.0, dtype=5),
            op("expand_v2", "X=c", shape=[1 << 40]),
        ],
        "tile of a constant": [
            op("fill_constant", "", "Out=c", shape=[64], value=1.0, dtype=5),
            op("tile", "X=c", repeat_times=[1 << 40]),
        ],
        "outer product of constants": [
            op("fill_constant", "", "Out=c", shape=[1 << 20, 1], value=1.0, dtype=5),
            op("fill_constant", "", "Out=d", shape=[1, 1 << 20], value=1.0, dtype=5),
            op("elementwise_add", "X=c Y=d"),
        ],
        "range without end": [
            *(
                op("fill_constant", "", f"Out={n}", shape=[1], value=v, dtype=3)
                for n, v in (("s", 0.0), ("e", 1e15), ("t", 1.0))
            ),
            op("range", "Start=s End=e Step=t"),
        ],
        "range of step 0": [
            *(
                op("fill_constant", "", f"Out={n}", shape=[1], value=v, dtype=3)
                for n, v in (("s", 0.0), ("e", 9.0), ("t", 0.0))
            ),
            op("range", "Start=s End=e Step=t"),
        ],
        "doubling constants": [
            op("fill_constant", "", "Out=c0", shape=[64], value=1.0, dtype=5),
            *(
                operator(
                    "concat",
                    {"X": [f"c{i}", f"c{i}"]},
                    {"Out": [f"c{i + 1}" if i < 49 else "y"]},
                    {"axis": 0},
                )
                for i in range(50)
            ),
        ],
        "shape computation that squares": [
            op("shape", "Input=x", "Out=s0"),
            *(
                operator(
                    "elementwise_mul", {"X": [f"s{i}"], "Y": [f"s{i}"]}, {"Out": [f"s{i + 1}"]}
                )
                for i in range(60)
            ),
            op("fill_constant", "ShapeTensor=s60", value=1.0, dtype=5),
        ],
        "shape computation that branches": [
            op("shape", "Input=x", "Out=s0"),
            op("fill_constant", "", "Out=c", shape=[1], value=3.0, dtype=3),
            *(
                operator(kind, {"X": [f"s{i}"], "Y": [other]}, {"Out": [f"{name}{i + 1}"]})
                for i in range(60)
                for kind, other, name in (
                    ("elementwise_add", "c", "t"),
                    ("elementwise_mod", f"t{i + 1}", "s"),
                )
            ),
            op("fill_constant", "ShapeTensor=s60", value=1.0, dtype=5),
        ],
        "windows of a billion": [
            op(
                "unfold",
                "X=x",
                kernel_sizes=[1 << 30, 1],
                strides=[1, 1],
                paddings=[1 << 30] * 4,
                dilations=[1, 1],
            )
        ],
        "adaptive pool to a billion": [op("pool2d", "X=x", ksize=[1 << 30, 3], adaptive=True)],
        "norm of another width": [
            op("fill_constant", "", "Out=c", shape=[7], value=1.0, dtype=5),
            op("batch_norm", "X=x Scale=c Bias=c Mean=c Variance=c", "Y=y", epsilon=1e-5),
        ],
        "linspace of a billion": [
            op("fill_constant", "", "Out=c", shape=[1], value=1e9, dtype=5),
            op("linspace", "Start=c Stop=c Num=c", dtype=5),
        ],
        "eye of a billion": [op("eye", "", num_rows=1 << 30, num_columns=-1, dtype=5)],
        "reshape that does not fit": [
            op("fill_constant", "", "Out=c", shape=[7], value=1.0, dtype=5),
            op("reshape2", "X=c", shape=[2, 5]),
        ],
        "reshape with two open sides": [op("reshape2", "X=x", shape=[-1, -1])],
        "transpose that repeats": [op("transpose2", "X=x", axis=[0, 0, 1, 2])],
        "axis far away": [op("softmax", "X=x", axis=1 << 40)],
        "axis as text": [op("softmax", "X=x", axis="last")],
        "pool of stride 0": [
            op("pool2d", "X=x", ksize=[2, 2], strides=[0, 0], paddings=[0, 0], pooling_type="avg")
        ],
        "pool without a kernel": [op("pool2d", "X=x")],
        "split in 0": [op("split", "X=x", num=0, axis=1)],
        "split that does not fit": [op("split", "X=x", sections=[1, 1], axis=1)],
        "slice of nothing": [op("slice", "Input=x", axes=[0, 1], starts=[0], ends=[1])],
        "concat of nothing": [op("concat", "X=", axis=0)],
        "conv of itself": [op("conv2d", "Input=x Filter=x", groups=0, strides=[0, 0])],
        "sides that do not go together": [
            op("fill_constant", "", "Out=c", shape=[5, 5], value=1.0, dtype=5),
            op("elementwise_add", "X=x Y=c"),
        ],
        "integers by zero": [
            op("fill_constant", "", "Out=c", shape=[1], value=0.0, dtype=3),
            op("elementwise_floordiv", "X=c Y=c"),
        ],
    }
    wide = variable("x", (1, 1 << 40))
    yield ("input of a terabyte", program([wide], [feed, op("relu", "X=x"), fetch]))
    for name, operators in programs.items():
        yield name, program([x], [feed, *operators, fetch])
    yield (
        "parameter that the file lacks",
        program(
            [x, variable("w", (3,), weight=True)],
            [feed, op("elementwise_add", "X=x Y=w", axis=1), fetch],
        ),
    )
    yield (
        "attribute of a wrong kind",
        program(
            [x],
            [
                feed,
                op("relu", "X=x") + field(4, field(1, "a") + field(2, 0) + field(3, b"\xff\xff")),
                fetch,
            ],
        ),
    )


def _data(number: int = 1, name: str = "x", sides: Any = (-1, 3)) -> dict[str, Any]:
    return {
        "#": "1.data",
        "I": [],
        "A": [{"N": "name", "AT": {"#": "0.a_str", "D": name}}],
        "O": [
            {"%": number, "TT": {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, sides, "NCHW", [], 0]}}
        ],
    }


def _op(kind: str, used: int, made: int) -> dict[str, Any]:
    return {"#": kind, "A": [], "I": [{"%": used}], "O": [{"%": made}]}


def numbered_programs() -> Iterator[tuple[str, bytes]]:
    """`inference.json` files."""
    fetch = _op("1.fetch", 2, 3)
    yield "nested lists", b"[" * 500_000
    yield "nested objects", b'{"a":' * 500_000
    yield "nested and closed", b"[" * 200_000 + b"]" * 200_000
    yield (
        "deep attribute",
        numbered(
            [
                _data(),
                {
                    **_op("1.relu", 1, 2),
                    "A": json.loads(
                        '[{"N":"a","AT":' + '{"#":"0.a_array","D":[' * 150 + "1" + "]}" * 150 + "}]"
                    ),
                },
                _op("1.while", 2, 4),
                _op("1.fetch", 4, 3),
            ]
        ),
    )
    yield "not json", b"\x80\x04}."
    yield "empty object", b"{}"
    yield "a number", b"1" * 100_000
    yield "wrong magic", numbered([_data(), fetch]).replace(b'"pir"', b'"rip"')
    yield (
        "two regions",
        numbered([_data(), fetch]).replace(b'"regions": [', b'"regions": [{"blocks": []}, '),
    )
    yield (
        "operators as text",
        b'{"base_code":{"magic":"pir"},"program":{"regions":[{"blocks":[{"ops":"x"}]}]}}',
    )
    yield "operator as a number", numbered([5])  # type: ignore[list-item]
    yield "operator without a kind", numbered([{"A": [], "I": [], "O": []}])
    yield "value used before it is made", numbered([_data(), _op("1.relu", 2, 2), fetch])
    yield "value made twice", numbered([_data(), _op("1.relu", 1, 1), fetch])
    yield (
        "value number as text",
        numbered([_data(), {**_op("1.relu", 1, 2), "O": [{"%": "2"}]}, fetch]),
    )
    yield "output never made", numbered([_data(), _op("1.fetch", 9, 3)])
    yield "no output", numbered([_data()])
    yield "no input", numbered([_op("1.full", 0, 2), fetch])
    yield "unknown operators", numbered([_data(), _op("3.shell", 1, 2), fetch])
    yield "sides as text", numbered([_data(sides=["a"]), _op("1.relu", 1, 2), fetch])
    yield (
        "input without a type",
        numbered([{**_data(), "O": [{"%": 1}]}, _op("1.relu", 1, 2), fetch]),
    )
    yield "parameter without a name", numbered([{"#": "p", "A": [], "O": {"%": 5}}, _data(), fetch])
    same = {"#": "p", "A": [0, 1, 1, "w"], "O": {"%": 5, "TT": _data()["O"][0]["TT"]}}
    yield (
        "parameter twice",
        numbered([same, {**same, "O": {"%": 6}}, _data(), _op("1.relu", 1, 2), fetch]),
    )
    yield "parameter of open sides", numbered([same, _data(), _op("1.relu", 1, 2), fetch])
    yield (
        "wrong kind of list",
        numbered([_data(), {**_op("0.combine", 1, 4), "I": []}, _op("1.relu", 4, 2), fetch]),
    )


def truncations() -> Iterator[tuple[str, str, bytes]]:
    """(reader, name, bytes) of every format, cut at each twentieth."""
    folder = own_path("pdparams")
    sources: dict[str, tuple[str, Path]] = {
        "pdparams": ("pickle", folder / "tiny_checkpoint.pdparams"),
        "pdparams protocol 2": ("pickle", folder / "variety_protocol2.pdparams"),
        "pdparams protocol 3": ("pickle", folder / "variety_protocol3.pdparams"),
        "pdopt": ("pickle", folder / "tiny_checkpoint.pdopt"),
        "pdtensor": ("tensor", folder / "single_tensor_binary.pdtensor"),
        "pdmodel": ("legacy", folder / "export_legacy/PPLCNet_x0_25_cls2/inference.pdmodel"),
        "json": ("numbered", folder / "export_pir/PPLCNet_x0_25_cls2/inference.json"),
        "pdiparams": ("weights", folder / "export_pir/PPLCNet_x0_25_cls2/inference.pdiparams"),
    }
    for kind, (reader, path) in sources.items():
        data = path.read_bytes()
        for percent in range(5, 100, 5):
            yield reader, f"{kind} cut at {percent} %", data[: len(data) * percent // 100]


def write_all(root: Path, canary: Path) -> list[tuple[str, str, Path]]:
    """Write every file. Gives (reader, name, path): the path is a folder for programs."""
    cases: list[tuple[str, str, bytes]] = list(truncations())
    groups: list[tuple[str, Callable[[], Iterator[tuple[str, bytes]]]]] = [
        ("pickle", lambda: pickles(canary)),
        ("tensor", streams),
        ("legacy", legacy_programs),
        ("numbered", numbered_programs),
    ]
    for reader, make in groups:
        cases += [(reader, f"{reader}: {name}", data) for name, data in make()]
    cases.append(("pickle", "empty", b""))
    cases.append(("tensor", "empty", b""))
    whole = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
    written = []
    for index, (reader, name, data) in enumerate(cases):
        place = root / str(index)
        place.mkdir()
        match reader:
            case "legacy" | "numbered":
                weights = whole / "inference.pdiparams" if "cut" in name else None
                (
                    place / ("inference.pdmodel" if reader == "legacy" else "inference.json")
                ).write_bytes(data)
                (place / "inference.pdiparams").write_bytes(
                    weights.read_bytes() if weights else b"\0"
                )
            case "weights":
                (place / "inference.json").write_bytes((whole / "inference.json").read_bytes())
                (place / "inference.pdiparams").write_bytes(data)
            case _:
                place = place / "file"
                place.write_bytes(data)
        written.append((reader, name, place))
    return written
