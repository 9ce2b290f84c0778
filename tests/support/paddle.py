"""Writers of Paddle's file formats, for tests: tensor streams by the golden recipe, small programs by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.golden import Case, cases, each, synth

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


def op(kind: str, inputs: str, outputs: str = "Out=y", /, **attributes: Any) -> bytes:
    """`operator` with its slots in words: `X=a,b Axis=c`."""
    given, made = (
        {slot: names.split(",") for slot, _, names in (w.partition("=") for w in words.split())}
        for words in (inputs, outputs)
    )
    return operator(kind, given, made, attributes)


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
    dtypes: Mapping[str, str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Path:
    """An inference folder in the legacy form around `operators`; inputs are float32 unless `dtypes` says otherwise."""
    weights = weights or {}
    variables = [variable(n, s, (dtypes or {}).get(n, "float32")) for n, s in inputs.items()]
    variables += [variable(n, w.shape, str(w.dtype), weight=True) for n, w in weights.items()]
    variables += [variable(n, s) for n, s in (shapes or {}).items()]
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


def typed(number: int, shape: Sequence[int], dtype: str = "f32") -> dict[str, Any]:
    """A value of the numbered form with its type."""
    return {
        "%": number,
        "TT": {"#": "0.t_dtensor", "D": [{"#": f"0.t_{dtype}"}, list(shape), "NCHW", [], 0]},
    }


def plain_attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes of the numbered form, their kinds guessed from the values."""

    def one(value: Any) -> dict[str, Any]:
        kinds = ((bool, "bool"), (int, "i32"), (float, "f64"), (str, "str"))
        if isinstance(value, list):
            return {"#": "0.a_array", "D": [one(v) for v in value]}
        return {"#": f"0.a_{next(n for k, n in kinds if isinstance(value, k))}", "D": value}

    return [{"N": name, "AT": one(value)} for name, value in values.items()]


Form = tuple[str, Mapping[str, Any]]
_SHORT = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool"}


def write_both(
    folder: Path,
    legacy: Form | None,
    pir: Form | None,
    inputs: Mapping[str, np.ndarray | Sequence[np.ndarray] | None],
    outputs: Mapping[str, int],
) -> list[Path]:
    """Programs of one operator in both forms, their inputs `in0`, `in1`, ... with the first side open.

    Args:
        folder: where the folders of the programs go.
        legacy: kind and attributes in the legacy form; None: it has no such operator.
        pir: the same in the numbered form.
        inputs: by the slots of the legacy form, in the order of the numbered one; a list where the slot takes several,
            None where it is absent.
        outputs: how many values each slot makes.
    """
    names: dict[str, list[str]] = {}
    arrays: dict[str, np.ndarray] = {}
    for slot, value in inputs.items():
        given = [] if value is None else [value] if isinstance(value, np.ndarray) else list(value)
        names[slot] = [f"in{len(arrays) + i}" for i in range(len(given))]
        arrays.update(zip(names[slot], given, strict=True))
    made = {s: [f"{s}{i}" for i in range(count)] for s, count in outputs.items()}
    fetched = next(iter(made.values()))
    written = []
    if legacy:
        step = operator(legacy[0], {s: n for s, n in names.items() if n}, made, legacy[1])
        types = {n: str(a.dtype) for n, a in arrays.items()}
        write_legacy(folder / "legacy", [step], inputs=_open(arrays), outputs=fetched, dtypes=types)
        written.append(folder / "legacy")
    if pir:
        _write_pir(folder / "pir", pir, inputs, names, arrays, len(fetched))
        written.append(folder / "pir")
    return written


def _open(arrays: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Shapes with the batch open: the first side of those that have the first one's, and more than one axis."""
    first = next(iter(arrays.values())).shape[:1]
    return {
        name: [-1, *a.shape[1:]] if a.ndim > 1 and a.shape[:1] == first else list(a.shape)
        for name, a in arrays.items()
    }


def _write_pir(folder: Path, form: Form, inputs: Any, names: Any, arrays: Any, count: int) -> None:
    operators: list[dict[str, Any]] = []
    numbers = {name: i for i, name in enumerate(arrays, 1)}
    for name, sides in _open(arrays).items():
        kind = typed(numbers[name], sides, _SHORT[str(arrays[name].dtype)])
        operators.append(
            {"#": "1.data", "I": [], "A": plain_attributes({"name": name}), "O": [kind]}
        )
    used, free = [], 100
    for slot, value in inputs.items():
        if isinstance(value, np.ndarray) or value is None:
            used.append({"%": numbers[names[slot][0]] if names[slot] else 0})
            continue
        free += 1
        used.append({"%": free})
        parts = [{"%": numbers[n]} for n in names[slot]]
        operators.append({"#": "0.combine", "I": parts, "A": [], "O": [{"%": free}]})
    several = count > 1
    outs = [{"%": 50}] if several else [{"%": 50}, {"%": 51}]
    operators.append({"#": form[0], "I": used, "A": plain_attributes(form[1]), "O": outs})
    made = list(range(200, 200 + count)) if several else [50]
    if several:
        outs = [{"%": n} for n in made]
        operators.append({"#": "0.split", "I": [{"%": 50}], "A": [], "O": outs})
    for i, number in enumerate(made):
        attributes = plain_attributes({"name": f"y{i}", "col": i})
        operators.append(
            {"#": "1.fetch", "I": [{"%": number}], "A": attributes, "O": [{"%": 300 + i}]}
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.json").write_bytes(numbered(operators))
    (folder / "inference.pdiparams").write_bytes(b"\0")


FORMS = ("inference.json", "inference.pdmodel")


def each_program(quick: Callable[[Case], bool] = lambda _: True) -> Callable[[Any], Any]:
    """Run the test for each recorded program in both forms, as its argument `program` (a case and the file's name).

    Those that are not `quick` are marked `slow`.
    """
    found = [
        pytest.param((c, f), id=f"{c['id']}-{f}", marks=() if quick(c) else pytest.mark.slow)
        for c in cases("programs")
        for f in FORMS
        if (c.folder / f).is_file()
    ]
    return each("program", found, "programs")


@lru_cache(maxsize=2)
def _weights(folder: Path, legacy: bool) -> bytes:
    case = json.loads((folder / "case.json").read_text("utf-8"))
    constants: dict[str, np.ndarray] = {}
    if (folder / "constants.npz").is_file():
        with np.load(folder / "constants.npz", allow_pickle=False) as data:
            constants = {key: data[key] for key in data.files}
    prefix = "legacy|" if legacy else ""
    parts = []
    for internal, name, shape, dtype, source in case["records_legacy" if legacy else "records"]:
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


def write_program(case: Case, file: str, folder: Path) -> bytes:
    """Lay out one recorded program with the weights of its rule; gives the weight file's bytes."""
    data = _weights(case.folder, file.endswith(".pdmodel") and "records_legacy" in case)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.pdiparams").write_bytes(data)
    (folder / file).write_bytes((case.folder / file).read_bytes())
    return data


def write_detector(case: Case, file: str, folder: Path) -> bytes:
    """Lay out a recorded program with its weights."""
    legacy = file.endswith(".pdmodel")
    with np.load(case.folder / "constants.npz", allow_pickle=False) as data:
        constants = {k: data[k] for k in data.files}
    stream = []
    for name, entry, shape, dtype, source in (
        case.get("records_legacy", case["records"]) if legacy else case["records"]
    ):
        if source == "constants":
            value = constants.get(f"legacy|{name}" if legacy else name, constants.get(name))
        else:
            factor, offset = source
            value = synth(entry, tuple(shape)) * factor + offset
        stream.append(record(np.asarray(value, dtype).reshape(shape)))
    data = b"".join(stream)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.pdiparams").write_bytes(data)
    (folder / file).write_bytes((case.folder / file).read_bytes())
    return data
