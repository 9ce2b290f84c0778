"""An inference request and its answer in the forms of HTTP: JSON, JSON with binary tensors behind it, raw bytes.

Source: Open Inference Protocol v2, its binary tensor data extension, and Triton's classification extension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tinysight.serving import tensors
from tinysight.serving.limits import Refusal
from tinysight.serving.models import ModelView
from tinysight.serving.tensors import BYTES, DTYPES

LENGTH = "Inference-Header-Content-Length"


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_decoder = msgspec.json.Decoder(_Request)


class WantedOutput(NamedTuple):
    """An output that is asked for: its name, whether as bytes, and how many best classes instead (0: none)."""

    name: str
    binary: bool = False
    classification: int = 0


class InferenceRequest(NamedTuple):
    """What a client asks for.

    Attributes:
        id: its own name for the request.
        inputs: arrays by name.
        outputs: those that it wants; none: all.
        binary: True for outputs as bytes where it does not say.
        seconds: its own deadline; 0: none.
    """

    id: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[WantedOutput, ...] = ()
    binary: bool = False
    seconds: float = 0.0


def parse_request(body: bytes, header_length: str | None, view: ModelView) -> InferenceRequest:
    """The request in a body.

    Args:
        body: all of it.
        header_length: the header of that name: bytes of JSON before the binary tensors; "0" for raw bytes alone.
        view: of the model, which says what raw bytes are.

    Raises:
        Refusal: it is none.
    """
    if header_length is None:
        length = len(body)
    elif not header_length.isascii() or not header_length.isdigit() or len(header_length) > 12:
        raise Refusal(400, f"{LENGTH} is no number of bytes")
    elif (length := int(header_length)) == 0:
        return InferenceRequest("", _raw(body, view), binary=True)
    if length > len(body):
        raise Refusal(400, f"{LENGTH} is {length}, the body has {len(body)} bytes")
    try:
        request = _decoder.decode(body[:length] if length < len(body) else body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"no inference request: {str(error)[:200]}") from None
    inputs: dict[str, np.ndarray] = {}
    rest = memoryview(body)[length:]
    for given in request.inputs:
        if given.name in inputs:
            raise Refusal(400, f"input {given.name[:100]!r} comes twice")
        size = given.parameters.get("binary_data_size")
        if size is None:
            inputs[given.name] = _from_json(given)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(rest) or len(given.data):
            what = "binary_data_size is not that of its data"
            raise Refusal(400, f"input {given.name[:100]!r}: {what}")
        data, rest = rest[:size], rest[size:]
        inputs[given.name] = tensors.from_bytes(given.name, given.datatype, given.shape, data)
    if len(rest):
        raise Refusal(400, f"{len(rest)} bytes belong to no input")
    default = request.parameters.get("binary_data_output") is True
    outputs = tuple(_wanted(o.name, o.parameters, default) for o in request.outputs)
    seconds = deadline_of(request.parameters.get("timeout"))
    return InferenceRequest(request.id, inputs, outputs, default, seconds)


def deadline_of(microseconds: Any) -> float:
    """Seconds of the parameter `timeout`; 0 where there is none."""
    whole = isinstance(microseconds, int) and not isinstance(microseconds, bool)
    return microseconds / 1e6 if whole and 0 < microseconds < 1e15 else 0.0


def _wanted(name: str, parameters: Mapping[str, Any], default: bool) -> WantedOutput:
    binary, classes = parameters.get("binary_data", default), parameters.get("classification", 0)
    if not isinstance(binary, bool) or type(classes) is not int:
        raise Refusal(400, f"output {name[:100]!r}: parameters of the wrong type")
    return WantedOutput(name, binary, classes)


def _from_json(given: _Input) -> np.ndarray:
    try:
        data = msgspec.json.decode(given.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, f"input {given.name[:100]!r} has no data") from None
    return tensors.from_values(given.name, given.datatype, given.shape, data)


def _raw(body: bytes, view: ModelView) -> dict[str, np.ndarray]:
    if len(view.inputs) != 1:
        raise Refusal(400, f"model {view.name!r} has several inputs, so raw bytes do not say which")
    name, kind, shape = view.inputs[0]
    if kind == BYTES:
        array = np.empty(1, object)
        array[0] = body
        return {name: array}
    row = np.dtype(DTYPES[kind]).itemsize * math.prod(shape[1:])
    if -1 in shape[1:] or not body or len(body) % row:
        raise Refusal(400, f"input {name!r} of shape {list(shape)} is not {len(body)} raw bytes")
    return {name: tensors.from_bytes(name, kind, (len(body) // row, *shape[1:]), body)}


def chosen(
    request: InferenceRequest, outputs: Mapping[str, np.ndarray], labels: Sequence[str]
) -> list[tuple[WantedOutput, np.ndarray]]:
    """The outputs that the request wants, in its order.

    Raises:
        Refusal: there is no such output.
    """
    wanted = request.outputs or tuple(WantedOutput(name, request.binary) for name in outputs)
    found = []
    for one in wanted:
        if one.name not in outputs:
            raise Refusal(400, f"no output {one.name[:100]!r}; there are {sorted(outputs)}")
        array = outputs[one.name]
        if one.classification:
            array = tensors.best_classes(array, one.classification, labels)
        found.append((one, array))
    return found


def render(
    about: Mapping[str, str], outputs: Sequence[tuple[WantedOutput, np.ndarray]]
) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of JSON in it where binary tensors follow."""
    rows, pieces = [], list[bytes]()
    for wanted, array in outputs:
        row: dict[str, Any] = {
            "name": wanted.name, "datatype": tensors.datatype(array), "shape": list(array.shape),
        }  # fmt: skip
        if wanted.binary:
            pieces.append(tensors.to_bytes(array))
            row["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            row["data"] = tensors.to_values(array)
        rows.append(row)
    head = msgspec.json.encode({**about, "outputs": rows})
    return (b"".join([head, *pieces]), len(head)) if pieces else (head, None)
