"""`.pdiparams` and `.pdtensor`: tensors one after another, without names.

A record is: version 0 (4 bytes), number of level-of-detail tables (8) and those tables, version 0 (4), length of a
protobuf description (4), the description (data type and sides), the raw values. Little endian throughout. A combined
file holds the parameters of a program in the order of their internal names sorted as text.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.errors import WeightsError
from tinysight.graph.protobuf import Message, WireError, fits

# Data type codes of PaddleClas' framework.proto. bfloat16 has no NumPy type: its bits come back as uint16.
DTYPES = {
    0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64",
    20: "uint8", 21: "int8", 22: "bfloat16", 23: "complex64", 24: "complex128",
}  # fmt: skip


def storage(dtype: str) -> np.dtype[Any]:
    """The NumPy type that holds values of a data type by name."""
    little: np.dtype[Any] = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
    return little


def map_file(path: Path) -> memoryview:
    """The bytes of a file, read only, mapped rather than read.

    Raises:
        WeightsError: the file is absent, not readable or empty.
    """
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise WeightsError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise WeightsError(str(path), "is empty") from None


class _Records:
    """A cursor over one file."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, map_file(path), 0

    def take(self, size: int, what: str) -> memoryview:
        if not 0 <= size <= self.left:
            raise self.error(f"truncated or damaged: {what} of {size} bytes, {self.left} left")
        self.at += size
        return self.data[self.at - size : self.at]

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self.data) - self.at

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form), what))[0])

    def error(self, what: str) -> WeightsError:
        return WeightsError(f"{self.path}: byte {self.at}", what)

    def record(self) -> np.ndarray:
        """The next tensor, a read-only view of the file."""
        if version := self.number("I", "a version"):
            raise self.error(f"damaged, or not a tensor file: version {version}")
        if (levels := self.number("Q", "a count of tables")) > 8:
            raise self.error(f"damaged: {levels} level-of-detail tables")
        for _ in range(levels):
            self.take(self.number("Q", "a table's length"), "a level-of-detail table")
        if version := self.number("I", "a version"):
            raise self.error(f"damaged: tensor version {version}")
        description = self.take(self.number("i", "a description's length"), "a description")
        try:
            message = Message(description)
            code, sides = message.integer(1), message.integers(2)
        except WireError as error:
            raise self.error(f"damaged: {error}") from None
        if code not in DTYPES:
            raise self.error(f"damaged: data type {code}")
        dtype = storage(DTYPES[code])
        if wrong := [side for side in sides if not 0 <= side < 2**48]:
            raise self.error(f"damaged: a side of {wrong[0]}")
        if not fits(sides, dtype.itemsize):
            raise self.error(f"damaged: a tensor {sides}")
        size = math.prod(sides) * dtype.itemsize
        raw = self.take(size, f"a tensor {sides}")
        value = np.frombuffer(raw, dtype) if size else np.empty(0, dtype)
        return value.reshape(sides)


def read_tensors(path: Path | str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The parameters of a `.pdiparams` file by internal name; read-only views of the mapped file.

    Args:
        path: the file.
        names: internal names from the program, in any order: the file is in the order of the sorted names.

    Raises:
        WeightsError: truncated, damaged, or with fewer or more tensors than names.
    """
    records = _Records(Path(path))
    found: dict[str, np.ndarray] = {}
    for name in sorted(names):
        if not records.left:
            raise records.error(f"truncated: {len(found)} tensors for {len(names)} parameters")
        found[name] = records.record()
    if left := records.left:
        raise records.error(f"{left} bytes more than the program's {len(names)} parameters need")
    return found
