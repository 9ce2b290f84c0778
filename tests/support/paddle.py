"""Writers of Paddle's file formats, for tests: tensor streams by the golden recipe, small programs by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from support.golden import GOLDEN, synth

CODES = {
    "bool": 0,
    "int16": 1,
    "int32": 2,
    "int64": 3,
    "float16": 4,
    "float32": 5,
    "float64": 6,
    "uint8": 20,
    "int8": 21,
}


def varint(value: int) -> bytes:
    """A protobuf varint; negative numbers as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One protobuf field: whole numbers as varints, floats as 32 bits, the rest length-delimited."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def record(array: np.ndarray) -> bytes:
    """One tensor of a `.pdiparams` stream."""
    description = field(1, CODES[str(array.dtype)]) + b"".join(field(2, s) for s in array.shape)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + array.tobytes()


def attribute(name: str, value: Any) -> bytes:
    """An operator's attribute, its kind guessed from the value."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, bool):
        kind, number = (7, 11) if isinstance(value, list) else (6, 10)
    elif isinstance(first, int):
        kind, number = (11, 15) if isinstance(value, list) else (9, 13)
    elif isinstance(first, float):
        kind, number = (4, 7) if isinstance(value, list) else (1, 4)
    elif isinstance(value, list):
        kind, number = (5, 8) if value else (11, 15)
    else:
        kind, number = 2, 5
    values = value if isinstance(value, list) else [value]
    body = b"".join(field(number, int(v) if isinstance(v, bool) else v) for v in values)
    return field(1, name) + field(2, kind) + body


Slots = Mapping[str, Sequence[str]]


def operator(
    kind: str, inputs: Slots, outputs: Slots, attributes: Mapping[str, Any] | None = None
) -> bytes:
    """An `OpDesc`."""

    def slot(name: str, values: Sequence[str]) -> bytes:
        return field(1, name) + b"".join(field(2, v) for v in values)

    return (
        b"".join(field(1, slot(k, v)) for k, v in inputs.items())
        + b"".join(field(2, slot(k, v)) for k, v in outputs.items())
        + field(3, kind)
        + b"".join(field(4, attribute(k, v)) for k, v in (attributes or {}).items())
    )


def variable(
    name: str, shape: Sequence[int], dtype: str = "float32", *, weight: bool = False
) -> bytes:
    """A `VarDesc` of a dense tensor."""
    tensor = field(1, CODES[dtype]) + b"".join(field(2, s) for s in shape)
    kind = field(1, 7) + field(3, field(1, tensor))
    return field(1, name) + field(2, kind) + field(3, int(weight))


def program(variables: Sequence[bytes], operators: Sequence[bytes]) -> bytes:
    """A `ProgramDesc` of one block."""
    block = field(1, 0) + field(2, 0)
    block += b"".join(field(3, v) for v in variables) + b"".join(field(4, o) for o in operators)
    return field(1, block)


def write_legacy(
    folder: Path,
    operators: Sequence[bytes],
    *,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """An inference folder in the legacy form around `operators`."""
    weights = weights or {}
    variables = [variable(n, s) for n, s in inputs.items()]
    variables += [variable(n, w.shape, str(w.dtype), weight=True) for n, w in weights.items()]
    feeds = [
        operator("feed", {"X": ["feed"]}, {"Out": [n]}, {"col": i}) for i, n in enumerate(inputs)
    ]
    fetches = [
        operator("fetch", {"X": [n]}, {"Out": ["fetch"]}, {"col": i}) for i, n in enumerate(outputs)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.pdmodel").write_bytes(program(variables, [*feeds, *operators, *fetches]))
    stream = b"".join(record(weights[n]) for n in sorted(weights))
    (folder / "inference.pdiparams").write_bytes(stream or b"\0")
    return folder


def numbered(operators: Sequence[Mapping[str, Any]]) -> bytes:
    """The text of an `inference.json` around operators that are written out."""
    body = {
        "regions": [
            {"#": "region_0", "blocks": [{"#": "block_0", "args": [], "ops": list(operators)}]}
        ]
    }
    base = {"magic": "pir", "trainable": True, "version": 4}
    return json.dumps({"base_code": base, "program": body}).encode()


def program_cases() -> list[tuple[str, str]]:
    """(case, program file) of every exported program among the golden fixtures, both forms."""
    files = ("inference.json", "inference.pdmodel")
    folders = sorted((GOLDEN / "programs").glob("*/case.json"))
    return [(p.parent.name, f) for p in folders for f in files if (p.parent / f).is_file()]


@lru_cache(maxsize=2)
def _weights(case: str, legacy: bool) -> bytes:
    folder = GOLDEN / "programs" / case
    described = json.loads((folder / "case.json").read_text("utf-8"))
    constants: dict[str, np.ndarray] = {}
    if (folder / "constants.npz").is_file():
        with np.load(folder / "constants.npz", allow_pickle=False) as data:
            constants = {key: data[key] for key in data.files}
    prefix = "legacy|" if legacy and "records_legacy" in described else ""
    parts = []
    for internal, name, shape, dtype, source in described[
        "records_legacy" if prefix else "records"
    ]:
        if source == "constants":
            array = constants[prefix + internal if prefix + internal in constants else internal]
        else:
            value = synth(name, tuple(shape))
            assert value is not None, name
            array = value * np.float32(source)
        assert list(array.shape) == shape, internal
        assert str(array.dtype) == dtype, internal
        parts.append(record(array))
    return b"".join(parts)


def write_case(case: str, file: str, folder: Path) -> bytes:
    """Lay out one golden program with the weights of its rule; gives the weight file's bytes."""
    described = json.loads((GOLDEN / "programs" / case / "case.json").read_text("utf-8"))
    legacy = file.endswith(".pdmodel") and "records_legacy" in described
    data = _weights(case, legacy)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.pdiparams").write_bytes(data)
    (folder / file).write_bytes((GOLDEN / "programs" / case / file).read_bytes())
    return data
