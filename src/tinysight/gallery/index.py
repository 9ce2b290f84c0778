"""The approximate index: where, among very many vectors, the nearest are likely to be.

A graph (HNSW, of usearch) over short codes: the vectors on their first principal axes, as few as lose next to nothing,
in half precision. It gives candidates; the exact score of each, from the whole vectors, decides. So codes and graph
cost recall and never a wrong score.

How wide the graph has to be searched for a recall depends on the vectors and on how many there are: the width of each
index is measured, against an exact search, with vectors that were held out of the graph, and kept with it.

An index is a cache. It knows items by their numbers, which grow as items are written and are never used again: what is
newer than its last number it does not have, and numbers that are gone are passed over.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinysight.errors import DataError, MissingDependency
from tinysight.files import write_atomic
from tinysight.gallery.base import Metric, is_distance
from tinysight.gallery.nearest import exact_scores, propose

RECALL = 0.99  # of the ten nearest, unless told otherwise
MAX_CHURN = 0.3  # share of a graph that may go before it is made anew
_MAGIC = b"tinysight index 1\n"
_LENGTHS = struct.Struct("<QI")  # of what follows, in bytes, and its checksum
_MOST_HEAD = 4096  # bytes
_K = 10
_SAMPLE = 500  # held-out vectors that the width is measured with
_FITTED = 20_000  # vectors that give the principal axes
_LINKS, _BUILD_WIDTH = 16, 128
_SHORT = (64, 128, 256)  # numbers of a code, if fewer than a vector's
_WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_BLOCK = 8192  # vectors looked at together
_KINDS = {"cosine": "ip", "inner_product": "ip", "l2": "l2sq", "hamming": "hamming"}


@dataclass(frozen=True)
class Measured:
    """What an index says of itself.

    Attributes:
        metric: of the gallery.
        dim: numbers of a vector; bits for `hamming`.
        short: numbers of a code.
        count: items in the graph.
        last: number of the newest of them.
        churn: items that have gone since the graph was made.
        target: share of the ten nearest that was asked for.
        recall: the share that was found, in the mean over `sample` held-out vectors.
        recall_low: the lower end of its 95 % interval, which decides; below `target` where no width reaches it.
        width: how many places of the graph a search keeps in view.
        sample: how many held-out vectors.
    """

    metric: Metric
    dim: int
    short: int
    count: int
    last: int
    churn: int
    target: float
    recall: float = 0.0
    recall_low: float = 0.0
    width: int = _WIDTHS[0]
    sample: int = 0


class ApproximateIndex:
    """Candidates for the nearest items; see the module.

    Reading is safe from several threads; `update` is not, and belongs to an index that was just built or read with
    `writable`.
    """

    def __init__(self, measured: Measured, axes: np.ndarray, graph: Any) -> None:
        self.measured, self._axes, self._graph = measured, axes, graph

    @classmethod
    def build(
        cls, keys: np.ndarray, matrix: np.ndarray, metric: Metric, *, recall: float = RECALL,
        threads: int = 1, shorts: tuple[int, ...] = _SHORT,
    ) -> ApproximateIndex:  # fmt: skip
        """Make the graph of all vectors, and measure its width.

        Args:
            keys: numbers of the items, (N,) int64, rising.
            matrix: their vectors, (N, D) float32, or (N, D / 8) uint8 for `hamming`; may be mapped. For `cosine` of
                length 1.
            metric: how they are compared.
            recall: share of the ten nearest that a search should find.
            threads: that build.
            shorts: lengths of a code to try, before that of a vector.

        Raises:
            MissingDependency: usearch is not installed.
        """
        rng = np.random.default_rng(len(keys))
        held = np.sort(rng.permutation(len(keys))[: min(_SAMPLE, len(keys) // 10)])
        queries, bits = np.asarray(matrix[held]), metric == "hamming"
        dim = matrix.shape[1] * (8 if bits else 1)
        axes = np.zeros((0, 0), np.float32)
        if not bits:
            rows = np.sort(rng.permutation(np.setdiff1d(np.arange(len(keys)), held))[:_FITTED])
            axes = _axes(np.asarray(matrix[rows]), queries, metric, recall, shorts)
        measured = Measured(metric, dim, axes.shape[1] or dim, 0, -1, 0, recall)
        index = cls(measured, axes, _new_graph(measured))
        rest = np.isin(np.arange(len(keys)), held, invert=True)
        index._add(keys, matrix, rest, threads)
        index._calibrate(held, np.flatnonzero(~rest), keys, matrix)
        longer = tuple(short for short in shorts if short > axes.shape[1])
        if index.measured.recall_low < recall and axes.shape[1] < min(dim, axes.shape[0]):
            return cls.build(keys, matrix, metric, recall=recall, threads=threads, shorts=longer)
        index._add(keys, matrix, ~rest, threads)
        return index

    def update(
        self, keys: np.ndarray, matrix: np.ndarray, *, threads: int = 1
    ) -> ApproximateIndex | None:
        """Bring the graph to these items: add the newer, take out those that are gone, and measure again.

        Returns:
            This index; or None if it should be built anew, since more than `MAX_CHURN` of it has gone, or its codes do
            not suit what is new: no width has the recall that it had.
        """
        had = np.asarray(self._graph.keys, np.int64)
        gone, new = had[~np.isin(had, keys)], keys > self.measured.last
        churn = self.measured.churn + len(gone)
        if churn > MAX_CHURN * len(keys):
            return None
        if len(gone):
            self._graph.remove(gone.astype(np.uint64))
        picked = np.random.default_rng(len(keys)).permutation(np.flatnonzero(new))[:_SAMPLE]
        if len(picked):  # which the graph has not yet
            had_recall = min(self.measured.recall_low, self.measured.target)
            self._calibrate(picked, np.flatnonzero(new), keys, matrix)
            if self.measured.recall_low < had_recall:
                return None
        self._add(keys, matrix, new, threads)
        self.measured = replace(self.measured, churn=churn, count=len(self._graph))
        return self

    def _add(self, keys: np.ndarray, matrix: np.ndarray, which: np.ndarray, threads: int) -> None:
        for begin in range(0, len(keys), _BLOCK):
            rows = begin + np.flatnonzero(which[begin : begin + _BLOCK])
            if len(rows):
                codes = self._codes(np.asarray(matrix[rows]))
                self._graph.add(keys[rows].astype(np.uint64), codes, threads=threads)
        last = max([self.measured.last, *keys[which][-1:].tolist()])
        self.measured = replace(self.measured, count=len(self._graph), last=last)

    def _codes(self, vectors: np.ndarray) -> np.ndarray:
        if not self._axes.size:
            return np.ascontiguousarray(vectors)
        codes: np.ndarray = np.asarray(vectors, np.float32) @ self._axes
        return codes

    def _calibrate(
        self, held: np.ndarray, lacking: np.ndarray, keys: np.ndarray, matrix: np.ndarray
    ) -> None:
        """The least width with which, with 95 %, the rows `held` find what they should; `lacking` ones do not count."""
        metric, queries = self.measured.metric, np.asarray(matrix[held])
        squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float32)
        true = propose(metric, matrix, squares, lacking.tolist(), queries, _K)
        far = [
            self._far(matrix[rows], query)[:_K][-1:]
            for query, rows in zip(queries, true, strict=True)
        ]
        for width in _WIDTHS:
            self._graph.expansion_search = width
            found = [
                min(_K, int((self._far(matrix[rows], query) <= last).sum())) / _K
                for query, last, rows in zip(
                    queries, far, self.propose(queries, _K, keys), strict=True
                )
            ]
            share = np.array(found or [0.0])
            low = share.mean() - 1.96 * share.std() / len(share) ** 0.5
            known = {"recall": float(share.mean()), "recall_low": float(low), "width": width}
            self.measured = replace(self.measured, sample=len(found), **known)  # type: ignore[arg-type]
            if low >= self.measured.target:
                return

    def _far(self, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Distances, or similarities below zero, in rising order."""
        scores = exact_scores(self.measured.metric, np.asarray(vectors), query)
        return np.sort(scores if is_distance(self.measured.metric) else -scores)

    def propose(
        self, queries: np.ndarray, k: int, keys: np.ndarray, gone: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Rows that are likely to be the nearest of each query, among the items that the graph has.

        Args:
            queries: (Q, D) as the vectors.
            k: how many nearest are wanted.
            keys: numbers of the items there are, (N,) int64, rising; a column of a mapped file will do. Those that the
                graph lacks are not found, those that only the graph has are passed over.
            gone: rows of `keys` that do not count, rising.

        Yields:
            For each query places in `keys`, in no order: 4 k or 40 of them, if there are as many.
        """
        if not len(keys):
            yield from (np.zeros(0, np.int64) for _ in queries)
            return
        for code in self._codes(queries):
            wanted = max(4 * k, 4 * _K)
            while True:
                wanted = min(wanted, len(self._graph))
                got = self._graph.search(code, wanted, threads=1).keys if wanted else ()
                found = np.sort(np.asarray(got, np.int64))
                rows = places_of(keys, found)
                if gone is not None and len(gone):
                    rows = rows[~np.isin(rows, gone)]
                # Where many are gone, further out, until enough are left.
                if len(rows) >= 2 * k or wanted >= len(self._graph):
                    break
                wanted *= 4
            yield rows

    def save(self, path: Path) -> None:
        """Write the index, in one step.

        Raises:
            OSError: it cannot be written.
        """
        axes, graph = self._axes.tobytes(), memoryview(self._graph.save(None))
        crc = zlib.crc32(graph, zlib.crc32(axes))
        about = {**asdict(self.measured), "axes": self._axes.shape, "crc": crc, "graph": len(graph)}
        head = json.dumps(about).encode()
        write_atomic(path, [_MAGIC, _LENGTHS.pack(len(head), zlib.crc32(head)), head, axes, graph])

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> ApproximateIndex:
        """An index as it was saved; mapped, or in memory where it is going to be updated.

        Raises:
            DataError: it is none, or damaged.
            FileNotFoundError: there is none.
            MissingDependency: usearch is not installed.
        """
        with path.open("rb") as file, _damage(path):
            measured, shape, crc, length, start = _head(file.read(_MOST_HEAD))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            rest = memoryview(mapped)[start:]
            if zlib.crc32(rest) != crc:
                raise ValueError
            axes = np.frombuffer(rest[: len(rest) - length], np.float32).reshape(shape)
        graph = _new_graph(measured)
        (graph.load if writable else graph.view)(rest[len(rest) - length :])
        graph.expansion_search = measured.width
        return cls(measured, axes, graph)


def measured_of(path: Path) -> Measured:
    """What the index in a file says of itself, without a look at the rest; raises as `ApproximateIndex.open`."""
    with path.open("rb") as file, _damage(path):
        return _head(file.read(_MOST_HEAD))[0]


def _head(data: bytes) -> tuple[Measured, list[int], int, int, int]:
    """What the index says of itself, shape of the axes, checksum of the rest, bytes of the graph, begin of the rest."""
    start = len(_MAGIC) + _LENGTHS.size
    size, crc = _LENGTHS.unpack(data[len(_MAGIC) : start])
    head = data[start : start + size]
    if data[: len(_MAGIC)] != _MAGIC or zlib.crc32(head) != crc:
        raise ValueError
    about = json.loads(head)
    shape, crc, length = about.pop("axes"), about.pop("crc"), about.pop("graph")
    return Measured(**about), shape, crc, length, start + size


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        hint = "delete it: it is made anew"
        raise DataError(str(path), "this index is damaged", hint) from None


def _new_graph(measured: Measured) -> Any:
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise MissingDependency("usearch", "gallery", "an approximate index") from None
    return Index(
        ndim=measured.short,
        metric=_KINDS[measured.metric],
        dtype="b1" if measured.metric == "hamming" else "bf16",
        connectivity=_LINKS,
        expansion_add=_BUILD_WIDTH,
    )


def _axes(
    sample: np.ndarray, queries: np.ndarray, metric: Metric, recall: float, shorts: tuple[int, ...]
) -> np.ndarray:
    """(D, S) the axes of most energy: the fewest that have a query's ten nearest of the sample among forty."""
    wide = sample.astype(np.float64)
    axes: np.ndarray = np.linalg.eigh(wide.T @ wide)[1][:, ::-1].astype(np.float32)

    def near(vectors: np.ndarray, asked: np.ndarray, k: int) -> list[np.ndarray]:
        squares = np.einsum("ij,ij->i", vectors, vectors)
        return propose(metric, vectors, squares, np.zeros(0, np.int64), asked, k)

    true = near(sample, queries, _K)
    for short in (short for short in shorts if short < axes.shape[1]):
        cut = np.ascontiguousarray(axes[:, :short])
        pairs = zip(true, near(sample @ cut, queries @ cut, 4 * _K), strict=True)
        if np.mean([np.isin(t, found).mean() for t, found in pairs]) >= 1 - (1 - recall) / 10:
            return cut
    return axes


def places_of(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places of those of the `wanted` whole numbers that are among the rising `numbers`, which are hardly read."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    # Where there are no gaps, the first and the last number say it.
    last = len(numbers) - 1
    low = np.clip(last - (int(numbers[-1]) - wanted), 0, last)
    high = np.clip(wanted - int(numbers[0]), low, last)
    while (apart := low < high).any():
        middle = (low + high) // 2
        less = numbers[middle] < wanted
        low, high = np.where(apart & less, middle + 1, low), np.where(apart & ~less, middle, high)
    return np.asarray(low[numbers[low] == wanted])
