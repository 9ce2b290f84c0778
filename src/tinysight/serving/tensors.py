"""Tensors of the Open Inference Protocol v2 as arrays: JSON numbers, raw bytes, and the checks of both.

Source: the protocol's specification, with its binary tensor extension. Texts and bytes are arrays of objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinysight.serving.limits import Refusal

BYTES = "BYTES"
DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
# What JSON may hold for a kind of numbers.
_JSON_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}


class TensorSpec(NamedTuple):
    """What a model takes or gives: name, data type, and shape with -1 where any number goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def check(self, array: np.ndarray) -> None:
        """Refuse an input of another type or shape, or without a row."""
        found = datatype(array)
        if found != self.datatype:
            raise Refusal(400, f"input {self.name!r} is {self.datatype}, got {found}")
        fits = len(array.shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        )
        if not fits or not array.size:
            text = f"input {self.name!r} has the shape {list(self.shape)}, got {list(array.shape)}"
            raise Refusal(400, text)


def datatype(array: np.ndarray) -> str:
    """The protocol's name of an array's type."""
    return BYTES if array.dtype == object else _NAMES[array.dtype]


def from_values(name: str, kind: str, shape: Sequence[int], data: Any) -> np.ndarray:
    """A tensor from JSON's or protobuf's values, nested or flat in row-major order."""
    count = _count(name, kind, shape)
    if kind == BYTES:
        flat = data if isinstance(data, list) else [data]
        while len(flat) == 1 and isinstance(flat[0], list):
            flat = flat[0]
        if not all(isinstance(v, str | bytes) for v in flat):
            raise Refusal(400, f"input {name!r} should hold texts")
        array = _objects([v.encode() if isinstance(v, str) else v for v in flat])
    else:
        array = _numbers(name, kind, data)
    if array.size != count:
        text = f"input {name!r} has {array.size} values, its shape {list(shape)} needs {count}"
        raise Refusal(400, text)
    return array.reshape(tuple(shape))


def _numbers(name: str, kind: str, data: Any) -> np.ndarray:
    dtype = np.dtype(DTYPES[kind])
    try:
        given = np.asarray(data)
    except ValueError:
        raise Refusal(400, f"the rows of input {name!r} have different lengths") from None
    if given.size and given.dtype.kind not in _JSON_KINDS[dtype.kind]:
        raise Refusal(400, f"input {name!r} should hold numbers of type {kind}")
    if dtype.kind in "ui" and given.size:
        info = np.iinfo(dtype)
        if int(given.min()) < info.min or int(given.max()) > info.max:
            raise Refusal(400, f"input {name!r} has values beyond the range of {kind}")
    with np.errstate(over="ignore"):
        return given.astype(dtype)


def from_bytes(name: str, kind: str, shape: Sequence[int], data: bytes | memoryview) -> np.ndarray:
    """A tensor from its little-endian bytes; a view of them where it holds numbers."""
    count = _count(name, kind, shape)
    if kind == BYTES:
        array = _objects(_elements(name, memoryview(data), count))
    else:
        dtype = np.dtype(DTYPES[kind])
        if len(data) != count * dtype.itemsize:
            needed = f"{count * dtype.itemsize} bytes, got {len(data)}"
            raise Refusal(400, f"input {name!r} of type {kind} and shape {list(shape)} is {needed}")
        array = np.frombuffer(data, np.uint8 if kind == "BOOL" else dtype)
        if kind == "BOOL":
            array = array != 0
    return array.reshape(tuple(shape))


def _elements(name: str, data: memoryview, count: int) -> list[bytes]:
    elements, at = list[bytes](), 0
    while at < len(data) and len(elements) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            break
        elements.append(bytes(data[at + 4 : end]))
        at = end
    if at != len(data) or len(elements) != count:
        raise Refusal(400, f"input {name!r} is not {count} elements, each after its length")
    return elements


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _count(name: str, kind: str, shape: Sequence[int]) -> int:
    if kind not in DTYPES and kind != BYTES:
        raise Refusal(400, f"input {name!r}: no data type {kind[:20]!r} here")
    if len(shape) > 8 or not all(0 <= side < 2**31 for side in shape):
        raise Refusal(400, f"input {name!r}: a shape is up to 8 sides of 0 or more")
    if (count := math.prod(shape)) >= 2**31:
        raise Refusal(400, f"input {name!r}: a tensor of {count} values is too large")
    return count


def to_bytes(array: np.ndarray) -> bytes:
    """The bytes of a tensor, little-endian; elements of BYTES each after its length."""
    if array.dtype != object:
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return b"".join(len(v).to_bytes(4, "little") + v for v in array.reshape(-1).tolist())


def to_values(array: np.ndarray) -> list[Any]:
    """The values of a tensor for JSON, flat in row-major order."""
    flat: list[Any] = array.reshape(-1).tolist()
    return [v.decode("utf-8", "replace") for v in flat] if array.dtype == object else flat


def best_classes(scores: np.ndarray, k: int, labels: Sequence[str]) -> np.ndarray:
    """Triton's classification extension: the k highest scores of each row as `score:index:label`, (N, k)."""
    if k < 1 or len(scores.shape) != len(("row", "class")):
        raise Refusal(400, "`classification` needs a number of 1 or more and an output (N, K)")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    texts = [
        f"{scores[row, i]:f}:{i}" + (f":{labels[i]}" if labels else "")
        for row, ids in enumerate(best.tolist())
        for i in ids
    ]
    return _objects([text.encode() for text in texts]).reshape(best.shape)
