"""The curves of a run as a TensorBoard event file, written without TensorBoard.

An event with one scalar is some forty bytes of Protocol Buffers in a record with two checksums: less code here than
the glue to a package that brings its own copy of both. The file holds what `metrics.jsonl` holds.

Source: TensorFlow's `event.proto`, `summary.proto` and `record_writer.h`; CRC-32C, RFC 3720.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinysight.disk import named, write_atomic

_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed
_MASK = 0xA282EAD8
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types


def write_events(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the file anew, with the lines of the metrics that there are."""
    first = float(records[0]["time"]) if records else 0.0
    head = _field(1, _DOUBLE, first) + _field(3, _BYTES, b"brain.Event:2")
    write_atomic(path, _framed(head) + b"".join(map(_events, records)))


def append_events(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line of the metrics."""
    with named(path), path.open("ab") as file:
        file.write(_events(record))


def check_record(record: Mapping[str, Any]) -> None:
    """Raise any error if `record` is no line of the metrics."""
    _events(record)


def _events(record: Mapping[str, Any]) -> bytes:
    return b"".join(
        _framed(_event(float(record["time"]), int(record["step"]), tag, value))
        for tag, value in scalars(record)
    )


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Name and value of each number in a line of the metrics."""
    yield "train/loss", float(record["loss"])
    yield "train/lr", float(record["lr"])
    for name, value in record.get("metrics", {}).items():
        yield f"eval/{name}", float(value)


def _event(time: float, step: int, tag: str, value: float) -> bytes:
    entry = _field(1, _BYTES, tag.encode()) + _field(2, _FLOAT, value)
    summary = _field(1, _BYTES, entry)
    return _field(1, _DOUBLE, time) + _field(2, _VARINT, step) + _field(5, _BYTES, summary)


def _field(number: int, kind: int, value: Any) -> bytes:
    key = _varint(number << 3 | kind)
    if kind == _VARINT:
        return key + _varint(value)
    if kind == _BYTES:
        return key + _varint(len(value)) + bytes(value)
    return key + struct.pack("<d" if kind == _DOUBLE else "<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _framed(data: bytes) -> bytes:
    """Length, its checksum, the data, its checksum."""
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", _masked(crc32c(part))) for part in (length, data))
    return length + next(sums) + data + next(sums)


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = tuple(map(_entry, range(256)))
