"""`vector.index` and the id map beside it, as PaddleClas and PaddleX write them: the vectors, read without faiss.

An index is a header, tables that speed up a search, and the vectors themselves. The tables are passed over: what is
searched here is another gallery, which has its own. Every length in the file is checked against what the file holds.

Source: faiss 1.15, `impl/index_write.cpp`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.compat.paddle.pickle_machine import Machine
from tinysight.compat.paddle.tensors import map_file
from tinysight.errors import DataError, WeightsError
from tinysight.files import read_yaml
from tinysight.gallery.base import Item, Metric

INDEX = "vector.index"
ID_MAPS = ("id_map.pkl", "id_map.yaml", "id_map.yml")
_METRICS: dict[int, Metric] = {0: "inner_product", 1: "l2"}
_FLAT = ("IxFI", "IxF2", "IxFl")
_LISTS = ("full", "sprs")
_DEEPEST = 4  # an index inside an index


class FoundVectors(NamedTuple):
    """The vectors of an index.

    Attributes:
        metric: how it compares them.
        vectors: (G, D) float32, or (G, D / 8) uint8 for `hamming`.
        ids: (G,) int64.
    """

    metric: Metric
    vectors: np.ndarray
    ids: np.ndarray


class _Reader:
    def __init__(self, data: memoryview, where: str) -> None:
        self._data, self._where, self._at = data, where, 0

    def wrong(self, what: str) -> WeightsError:
        return WeightsError(f"{self._where}: byte {self._at}", what)

    def bytes(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._data) - self._at:
            raise self.wrong(f"truncated or damaged: {count} bytes announced")
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))

    def table(self, dtype: str) -> np.ndarray:
        """A vector: how many, then the values."""
        (count,) = self.numbers("Q")
        return self.array(dtype, count)

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(count * np.dtype(dtype).itemsize), f"<{dtype}")

    def index(self, depth: int = 0) -> FoundVectors:
        """The index that begins here."""
        if depth > _DEEPEST:
            raise self.wrong("indices that are nested too deeply")
        kind = bytes(self.bytes(4)).decode("latin-1")
        binary = kind.startswith("IB")
        if binary:
            dim, width, count, _, _ = self.numbers("iiQ?i")
            metric: Metric = "hamming"
        else:
            dim, count, _, _, _, code = self.numbers("iqqq?i")
            if code not in _METRICS:
                raise self.wrong(f"its metric, {code}, is neither the inner product nor L2")
            metric, width = _METRICS[code], 4 * dim
        if dim < 1 or width != (dim // 8 if binary else 4 * dim):
            raise self.wrong(f"damaged: vectors of {dim} numbers")
        if kind in _FLAT or kind == "IBxF":
            raw = self.table("u1" if binary else "f4")
        elif kind in ("IHNf", "IBHf"):
            self._graph()
            return self._same(self.index(depth + 1), dim, count)
        elif kind in ("IxMp", "IxM2", "IBMp", "IBM2"):
            inner = self._same(self.index(depth + 1), dim, count)
            outer = self._same_ids(self.table("i8"), count)
            if count and not 0 <= inner.ids.min() <= inner.ids.max() < count:
                raise self.wrong("damaged: ids that lead out of the table of ids")
            return inner._replace(ids=outer[inner.ids])
        elif kind in ("IwFl", "IBwF"):
            return FoundVectors(metric, *self._inverted(depth, width, count, binary))
        else:
            what = f"an index of kind {kind!r}, which does not hold its vectors as they are"
            raise WeightsError(self._where, what, "build the gallery from its images")
        if raw.nbytes != count * width:
            raise self.wrong(f"damaged: {count} vectors of {width} bytes in {raw.nbytes}")
        return FoundVectors(metric, raw.reshape(count, -1), np.arange(count))

    def _same(self, inner: FoundVectors, dim: int, count: int) -> FoundVectors:
        wide = inner.vectors.shape[1] * (8 if inner.metric == "hamming" else 1)
        if (len(inner.vectors), wide) != (count, dim):
            raise self.wrong("damaged: an index and the one inside it differ")
        return inner

    def _same_ids(self, ids: np.ndarray, count: int) -> np.ndarray:
        if len(ids) != count:
            raise self.wrong(f"damaged: {len(ids)} ids of {count} vectors")
        return ids

    def _graph(self) -> None:
        """Pass over the graph of an HNSW index."""
        for dtype in ("f8", "i4", "i4", "u8", "i4"):
            self.table(dtype)
        self.numbers("iiiii")

    def _inverted(
        self, depth: int, width: int, count: int, binary: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and ids of an IVF index: a table of centres, then a list for each."""
        lists, _ = self.numbers("QQ")
        self.index(depth + 1)
        (maps,) = self.numbers("b")
        self.table("i8")
        if maps == 2:
            self.table("V16")
        if bytes(self.bytes(4)) != b"ilar" or self.numbers("QQ") != (lists, width):
            raise self.wrong("damaged, or lists of another kind")
        form = bytes(self.bytes(4)).decode("latin-1")
        if form not in _LISTS:
            raise self.wrong("damaged: lists of another kind")
        sizes = self.table("u8")
        sizes = sizes if form == "full" else sizes[1::2]
        dtype, vectors, ids = "u1" if binary else "f4", list[np.ndarray](), list[np.ndarray]()
        for size in sizes[sizes > 0].tolist():
            vectors.append(self.array("u1", size * width).view(f"<{dtype}").reshape(size, -1))
            ids.append(self.array("i8", size))
        found = np.concatenate([*ids, np.empty(0, np.int64)]).astype(np.int64)
        empty = np.empty((0, width if binary else width // 4), dtype)
        return np.concatenate([empty, *vectors]), self._same_ids(found, count)


def read_index(path: Path | str) -> FoundVectors:
    """The vectors of a `vector.index` of faiss: flat, HNSW or IVF, of numbers or bits, with an id map or without.

    Raises:
        WeightsError: damaged, or of a kind that holds no whole vectors.
    """
    return _Reader(memoryview(map_file(Path(path))), str(path)).index()


def read_id_map(path: Path) -> dict[int, str]:
    """Line of each id: a pickle of PaddleClas, read without running it, or a YAML of PaddleX.

    Raises:
        WeightsError: damaged, or asks for anything but texts and numbers.
        ConfigError: not YAML.
    """
    if path.suffix == ".pkl":
        data = map_file(path)
        content = Machine(data, str(path), steps=len(data)).run()
    else:
        content = read_yaml(path)
        if isinstance(inner := content.get("id_map") if isinstance(content, dict) else None, dict):
            return _checked({key: f"\t{text}" for key, text in inner.items()}, path)  # labels alone
    return _checked(content, path)


def _checked(content: Any, path: Path) -> dict[int, str]:
    if not isinstance(content, dict) or not all(
        isinstance(key, int) and isinstance(text, str) for key, text in content.items()
    ):
        raise WeightsError(str(path), "is no table of ids and lines")
    return content


def read_gallery(folder: Path, delimiter: str | None = None) -> tuple[Metric, list[Item]]:
    r"""The items of an index folder: `vector.index` and its id map.

    Args:
        folder: holds both files.
        delimiter: between the path and the label of a line; None: a tab, else the first blank. A line without one is
            a label, as PaddleX keeps them.

    Raises:
        DataError: a file is missing, or the ids of one are not those of the other.
        WeightsError: see `read_index` and `read_id_map`.
    """
    index = folder / INDEX
    maps = [folder / name for name in ID_MAPS if (folder / name).is_file()]
    if not index.is_file() or not maps:
        what = f"has no {INDEX}" if not index.is_file() else "has no id_map.pkl or id_map.yaml"
        raise DataError(str(folder), what, "give the folder of an index")
    (metric, vectors, ids), lines = read_index(index), read_id_map(maps[0])
    if sorted(ids.tolist()) != sorted(lines):
        what = f"{len(ids)} vectors and {len(lines)} lines of other ids"
        raise DataError(str(folder), f"{what}: {INDEX} and {maps[0].name} do not belong together")
    found = []
    for id_, vector in zip(ids.tolist(), vectors, strict=True):
        source, label = split_line(lines[id_], delimiter)
        found.append(Item(str(id_), label, vector, source=source))
    return metric, found


def split_line(line: str, delimiter: str | None) -> tuple[str, str]:
    """The path and the label of a line; the label keeps its blanks."""
    alone = line.startswith("\t")  # a label, see `read_id_map`
    between = "\t" if alone else delimiter or ("\t" if "\t" in line else " ")
    source, found, label = line.rstrip().partition(between)
    return (source.strip(), label.strip()) if found else ("", source.strip())
