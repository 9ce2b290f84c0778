"""The protobuf wire format, read and written: fields by number, checked, without generated code.

A message is a run of (field number, wire type, value). When reading, values are kept where they lie; a length that
leaves its message is refused before anything is copied. When writing, a message is a list of pieces, so that large
arrays are referred to and copied only into the file.

Source: the public description of the encoding (varint, 64-bit, length-delimited, 32-bit).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import TypeAlias

_MAX_FIELDS = 2_000_000


def fits(shape: Sequence[int], itemsize: int) -> bool:
    """Whether there is an array of this shape: also one without values has sides that are multiplied."""
    return len(shape) <= 32 and math.prod(side or 1 for side in shape) * itemsize < 2**63


class WireError(ValueError):
    """The bytes are no protobuf message; callers turn it into a `WeightsError` with the file's name."""


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at + index >= len(data):
            raise WireError("truncated inside a number")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + index + 1
    raise WireError("a number longer than 10 bytes")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at, count = 0, 0
    while at < len(data):
        key, at = _varint(data, at)
        count += 1
        if count > _MAX_FIELDS:
            raise WireError(f"a message of more than {_MAX_FIELDS} fields")
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif (size := {1: 8, 5: 4}.get(wire, 0)) == 0:
            raise WireError(f"wire type {wire}")
        if size > len(data) - at:
            raise WireError(f"truncated: a field of {size} bytes, {len(data) - at} left")
        yield key >> 3, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class Message:
    """One message: all its fields by number, in file order."""

    __slots__ = ("fields",)

    def __init__(self, data: memoryview) -> None:
        self.fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(data):
            self.fields.setdefault(number, []).append(value)

    def raws(self, number: int) -> list[memoryview]:
        """All length-delimited values of a field."""
        found = self.fields.get(number, [])
        if any(isinstance(value, int) for value in found):
            raise WireError(f"field {number} is a number where bytes belong")
        return found  # type: ignore[return-value]  # checked in the line above

    def messages(self, number: int) -> Iterator[Message]:
        """All messages of a field, each parsed as it is asked for."""
        return (Message(raw) for raw in self.raws(number))

    def message(self, number: int) -> Message:
        """The message of a field; an empty one when absent."""
        return Message((self.raws(number) or [memoryview(b"")])[-1])

    def texts(self, number: int) -> list[str]:
        """All texts of a field."""
        try:
            return [str(raw, "utf-8") for raw in self.raws(number)]
        except UnicodeDecodeError:
            raise WireError(f"field {number} is not UTF-8 text") from None

    def text(self, number: int) -> str:
        """The text of a field; empty when absent."""
        return (self.texts(number) or [""])[-1]

    def integers(self, number: int) -> list[int]:
        """All signed numbers of a field, packed or not."""
        found: list[int] = []
        for value in self.fields.get(number, []):
            if isinstance(value, int):
                found.append(_signed(value))
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                found.append(_signed(one))
        return found

    def integer(self, number: int) -> int:
        """The signed number of a field; 0 when absent."""
        return (self.integers(number) or [0])[-1]

    def floats(self, number: int, form: str = "f") -> list[float]:
        """All floats of a field, packed or not; `form` "d" for doubles."""
        found: list[float] = []
        for raw in self.raws(number):
            if len(raw) % struct.calcsize(form):
                raise WireError(f"field {number} is no run of floats")
            found.extend(struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw))
        return found

    def number(self, number: int, form: str = "f") -> float:
        """The float of a field; 0 when absent."""
        return (self.floats(number, form) or [0.0])[-1]


Buffer: TypeAlias = bytes | memoryview


def _number(value: int) -> bytes:
    """A varint; negative numbers as 64-bit two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Draft:
    """A message that is being written. `parts` one after the other are its bytes, `size` of them.

    Fields appear in the order of the calls; writing them by rising number gives the bytes that generated code gives.
    """

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.size = 0

    def _add(self, part: Buffer) -> None:
        self.parts.append(part)
        self.size += len(part)

    def integer(self, number: int, *values: int) -> Draft:
        """One field for each of `values`."""
        for value in values:
            self._add(_number(number << 3) + _number(value))
        return self

    def float32(self, number: int, *values: float) -> Draft:
        """One field of 32 bits for each of `values`."""
        for value in values:
            self._add(_number(number << 3 | 5) + struct.pack("<f", value))
        return self

    def data(self, number: int, *values: str | Buffer) -> Draft:
        """One length-delimited field for each text or run of bytes; a `memoryview` is not copied and must be flat."""
        for value in values:
            raw = value.encode() if isinstance(value, str) else value
            self._add(_number(number << 3 | 2) + _number(len(raw)))
            self._add(raw)
        return self

    def message(self, number: int, *values: Draft) -> Draft:
        """One field for each of the messages `values`, which are complete."""
        for value in values:
            self._add(_number(number << 3 | 2) + _number(value.size))
            self.parts.extend(value.parts)
            self.size += value.size
        return self
