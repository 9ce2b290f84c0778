"""The vectors of a gallery as a mapped file of rows: a cache of its database that grows at its end.

    MATRIX-x.bin    64 bytes that say what it is, then a record a row: its number in the database, a checksum, the
                    square of its length, and the vector (of length 1 for `cosine`)

The database says how many rows of which file count, so that a file that is missing, too short or of another gallery is
made anew, and what a killed writer left at the end is written over. Rows never change; those of items that have gone
since are passed over, and leave with the next file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tinysight.errors import GalleryError
from tinysight.gallery.base import Metric

_MAGIC = b"tinysight matrix 1\n"
_HEADER = 64  # bytes, of the file and of a record
_BLOCK = 2048  # rows that are read or written at once


class Layout(NamedTuple):
    """What a row is: `metric` and `dim` of the gallery."""

    metric: Metric
    dim: int

    @property
    def width(self) -> int:
        """Numbers of a stored vector: bytes for `hamming`, else float32."""
        return self.dim // 8 if self.metric == "hamming" else self.dim

    @property
    def kind(self) -> np.dtype:
        """Of these numbers."""
        return np.dtype(np.uint8 if self.metric == "hamming" else "<f4")

    @property
    def record(self) -> np.dtype:
        """One row of the file; vectors begin at multiples of 64 bytes if their size is one."""
        fields: Any = {
            "names": ["seq", "crc", "square", "vector"],
            "formats": ["<i8", "<u4", "<f4", (self.kind, (self.width,))],
            "offsets": [0, 8, 12, _HEADER],
            "itemsize": _HEADER + self.width * self.kind.itemsize,
        }
        kind: np.dtype = np.dtype(fields)
        return kind

    def header(self) -> bytes:
        """The first bytes of a file of such rows."""
        return (_MAGIC + f"{self.metric} {self.dim}\n".encode()).ljust(_HEADER, b"\0")

    def unpack(self, blobs: Iterable[bytes]) -> np.ndarray:
        """Vectors (N, width) as the database has them."""
        return np.frombuffer(b"".join(blobs), self.kind).reshape(-1, self.width)

    def comparable(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, width) as rows and queries have them: of length 1 for `cosine`; zeros stay zeros."""
        if self.metric != "cosine":
            return vectors
        lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(1, keepdims=True))
        return np.asarray((vectors / np.maximum(lengths, 1e-30)).astype(np.float32))

    def records(self, seqs: list[int], vectors: np.ndarray) -> np.ndarray:
        """Rows of the file for vectors as the database has them."""
        rows = np.zeros(len(seqs), self.record)
        rows["seq"], rows["vector"] = seqs, self.comparable(vectors)
        if self.metric != "hamming":
            rows["square"] = np.square(rows["vector"], dtype=np.float64).sum(1)
        rows["crc"] = checksums(rows)
        return rows


def checksums(rows: np.ndarray) -> list[int]:
    """CRC32 of each row: its number, the square of its length, and the vector."""
    heads = zip(rows["seq"].tolist(), rows["square"].tolist(), strict=True)
    vectors = (vector.tobytes() for vector in rows["vector"])
    return [
        zlib.crc32(v, zlib.crc32(repr(h).encode())) for h, v in zip(heads, vectors, strict=True)
    ]


def append(path: Path, layout: Layout, count: int, rows: Iterable[np.ndarray]) -> int:
    """Write `rows` behind the first `count` of the file, to the disk, and how many there are then.

    Raises:
        GalleryError: the file is not one of so many rows.
        OSError: it cannot be written.
    """
    with path.open("r+b") as file:
        check_header(path, file, layout, count)
        file.seek(_HEADER + count * layout.record.itemsize)
        for block in rows:
            file.write(block.tobytes())
            count += len(block)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return count


def create(path: Path, layout: Layout) -> None:
    """A file without rows."""
    path.write_bytes(layout.header())


def mapped(path: Path, layout: Layout, count: int) -> np.ndarray:
    """The first `count` rows of a file, read-only; raises as `append`."""
    with path.open("rb") as file:
        check_header(path, file, layout, count)
        if not count:
            return np.zeros(0, layout.record)
        return np.memmap(file, layout.record, "r", _HEADER, (count,))


def read_blocks(path: Path, layout: Layout, count: int) -> Iterator[np.ndarray]:
    """The same rows in blocks, read and not mapped; raises as `append`."""
    with path.open("rb") as file:
        check_header(path, file, layout, count)
        file.seek(_HEADER)
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start) * layout.record.itemsize
            yield np.frombuffer(file.read(size), layout.record)


def check_header(path: Path, file: BinaryIO, layout: Layout, count: int) -> None:
    """Refuse a file that is not one of at least `count` such rows."""
    size = os.fstat(file.fileno()).st_size
    if file.read(_HEADER) != layout.header():
        raise GalleryError(str(path), "is no matrix of this gallery, or is damaged in its header")
    if size < _HEADER + count * layout.record.itemsize:
        raise GalleryError(str(path), f"truncated: {size} bytes, for {count} rows")
