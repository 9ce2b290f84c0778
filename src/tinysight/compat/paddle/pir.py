"""`inference.json`: the program as the newer intermediate representation, which is JSON with one-letter keys.

`#` kind (`<dialect>.<name>`, dialect 0 builtin, 1 operators), `I` inputs and `O` outputs (`%` value number, 0 absent;
`TT` type), `A` attributes (`N` name, `AT` value). `p` is the compressed form of a parameter.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from tinysight.compat.paddle.program import NamedValue, Op, Program, TensorType
from tinysight.errors import WeightsError

_DTYPES = {
    "bool": "bool", "i8": "int8", "ui8": "uint8", "i16": "int16", "i32": "int32", "i64": "int64",
    "index": "int64", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "c64": "complex64", "c128": "complex128",
}  # fmt: skip
_NOT_FINITE = {"nan", "inf", "-inf", "+inf"}


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.types: dict[str, TensorType] = {}
        self.parameters: dict[str, str] = {}
        self.inputs: list[NamedValue] = []
        self.outputs: list[tuple[int, NamedValue]] = []
        self.ops: list[Op] = []
        self.defined: set[str] = set()
        self.named: set[str] = set()

    def fail(self, what: str) -> NoReturn:
        raise WeightsError(self.where, f"damaged program: {what}")

    def read(self, op: Any) -> None:
        kind = op["#"]
        outputs = op["O"] if isinstance(op["O"], list) else [op["O"]]
        made = tuple(self.define(output) for output in outputs)
        if kind in ("p", "0.parameter"):
            name = op["A"][3] if kind == "p" else self.attributes(op)["parameter_name"]
            if not isinstance(name, str) or name in self.named or not made[0]:
                self.fail("a parameter without a name of its own")
            self.parameters[made[0]] = name
            self.named.add(name)
            return
        attributes, used = self.attributes(op), [self.use(value) for value in op["I"]]
        match kind:
            case "1.data" | "1.feed":
                if made[0] not in self.types:
                    self.fail("an input without a type")
                name = str(attributes.get("name", f"input_{made[0]}"))
                self.inputs.append(NamedValue(name, made[0]))
            case "1.fetch":
                name = str(attributes.get("name", f"output_{made[0]}"))
                self.outputs.append((int(attributes.get("col", 0)), NamedValue(name, used[0][0])))
            case str():
                dialect, _, name = kind.partition(".")
                plain = {"0": f"builtin.{name}", "1": name}.get(dialect, kind)
                inputs = {str(i): value for i, value in enumerate(used)}
                results = {str(i): (value,) if value else () for i, value in enumerate(made)}
                self.ops.append(Op(plain, inputs, results, attributes))
            case _:
                self.fail("an operator without a name")

    def define(self, output: Any) -> str:
        number = output["%"]
        if type(number) is not int:
            self.fail("a value without a number")
        if number == 0:
            return ""
        name = str(number)
        if name in self.defined:
            self.fail(f"value {name} is made twice")
        self.defined.add(name)
        if found := self.tensor_type(output.get("TT")):
            self.types[name] = found
        return name

    def use(self, value: Any) -> tuple[str, ...]:
        number = value["%"]
        if number == 0:
            return ()
        if str(number) not in self.defined:
            self.fail(f"value {number!r} is used before it is made")
        return (str(number),)

    def tensor_type(self, kind: Any) -> TensorType | None:
        """The type of a tensor; None for lists and absent values."""
        match kind:
            case {"#": "0.t_dtensor", "D": [{"#": str(dtype)}, [*sides], *_]}:
                name = _DTYPES.get(dtype.removeprefix("0.t_"))
                if name is None or any(type(side) is not int for side in sides):
                    self.fail(f"a tensor of type {dtype[:40]!r} and sides {sides!r:.80}")
                return TensorType(name, tuple(sides))
        return None

    def attributes(self, op: Any) -> dict[str, Any]:
        return {a["N"]: _plain(a["AT"]) for a in op["A"] if isinstance(a, dict)}


def _plain(attribute: Any) -> Any:
    """The value of an attribute: numbers, text, and lists of them."""
    value = attribute.get("D")
    if value is None:
        void = attribute.get("VD")  # how a number that JSON cannot write is written
        return float(void) if str(void).lower() in _NOT_FINITE else None
    if isinstance(value, list):
        return [_plain(v) if isinstance(v, dict) else v for v in value]
    return value


def parse_pir(data: bytes, where: str) -> Program:
    """Parse the text of an `inference.json`.

    Raises:
        WeightsError: not JSON, not a program, or a value used before it is made.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise WeightsError(where, "nested too deeply to be a program") from None
    except ValueError as error:
        raise WeightsError(where, f"truncated or damaged: not JSON ({str(error)[:80]})") from None
    match document:
        case {"base_code": {"magic": "pir"}, "program": {"regions": [{"blocks": [{"ops": [*ops]}]}]}}:  # fmt: skip
            pass
        case _:
            raise WeightsError(where, "is JSON, but not an exported program")
    reader = _Reader(where)
    try:
        for op in ops:
            reader.read(op)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
        what = f"operator {len(reader.ops)}: {type(error).__name__} {str(error)[:80]}"
        raise WeightsError(where, f"damaged program: {what}") from None
    outputs = tuple(port for _, port in sorted(reader.outputs, key=lambda pair: pair[0]))
    made = tuple(reader.ops), tuple(reader.inputs), outputs
    return Program("pir", *made, reader.parameters, reader.types)
