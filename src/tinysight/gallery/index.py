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
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinysight.errors import DataError, MissingDependency
from tinysight.files import write_atomic
from tinysight.gallery.base import Metric
from tinysight.gallery.nearest import exact_scores, is_distance

RECALL = 0.99  # of the ten nearest, unless told otherwise
MAX_CHURN = 0.3  # written and removed since the graph was made, as a share of it; past it the graph is made anew
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
        churn: items written or removed since the graph was made.
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


class Vectors(Protocol):
    """Rows (N, D) of which some are read at once: an array, or one that is not in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


class ApproximateIndex:
    """Candidates for the nearest items; see the module.

    Reading is safe from several threads; `update` is not, and belongs to an index that was just built or read with
    `writable`.
    """

    def __init__(self, measured: Measured, axes: np.ndarray, graph: Any) -> None:
        self.measured, self._axes, self._graph = measured, axes, graph

    @classmethod
    def build(
        cls,
        keys: np.ndarray,
        matrix: Vectors,
        metric: Metric,
        *,
        recall: float = RECALL,
        threads: int = 1,
    ) -> ApproximateIndex:
        """Make the graph of all vectors, and measure its width.

        Args:
            keys: numbers of the items, (N,) int64, rising.
            matrix: their vectors, (N, D) float32, or (N, D / 8) uint8 for `hamming`; may be mapped. For `cosine` of
                length 1.
            metric: how they are compared.
            recall: share of the ten nearest that a search should find.
            threads: that build.

        Raises:
            MissingDependency: usearch is not installed.
        """
        rng = np.random.default_rng(len(keys))
        held = np.sort(rng.permutation(len(keys))[: min(_SAMPLE, len(keys) // 10)])
        bits = metric == "hamming"
        axes = np.zeros((0, 0), np.float32) if bits else _principal_axes(matrix, rng)
        rest = np.ones(len(keys), bool)
        rest[held] = False
        asked, short = _compare(matrix, held, rest, metric, axes, recall)
        dim = matrix.shape[1] * (8 if bits else 1)
        measured = Measured(metric, dim, dim if bits else short, 0, -1, 0, recall, sample=len(held))
        index = cls(measured, np.ascontiguousarray(axes[:, :short]), _new_graph(measured))
        index._add(keys, matrix, rest, threads)
        index._calibrate(asked, keys, matrix)
        index._add(keys, matrix, ~rest, threads)
        index.measured = replace(index.measured, churn=0)
        return index

    def update(
        self, keys: np.ndarray, matrix: Vectors, *, threads: int = 1
    ) -> ApproximateIndex | None:
        """Bring the graph to these items: add the newer, take out those that are gone, and measure again.

        Returns:
            This index; or None if it should be built anew, since more than `MAX_CHURN` of it has changed, or its codes
            do not suit what is new: no width has the recall that it had.
        """
        had = np.asarray(self._graph.keys, np.int64)
        gone, new = had[~np.isin(had, keys)], keys > self.measured.last
        churn = self.measured.churn + len(gone) + int(new.sum())
        if churn > MAX_CHURN * len(keys):
            return None
        if len(gone):
            self._graph.remove(gone.astype(np.uint64))
        rng = np.random.default_rng(len(keys))
        picked = rng.permutation(np.flatnonzero(new))[
            : self.measured.sample
        ]  # not in the graph yet
        if len(picked):
            asked, _ = _compare(matrix, picked, ~new, self.measured.metric, self._axes[:, :0])
            had_recall = min(self.measured.recall_low, self.measured.target)
            self._calibrate(asked, keys, matrix)
            if self.measured.recall_low < had_recall:
                return None
        self._add(keys, matrix, new, threads)
        self.measured = replace(self.measured, churn=churn, count=len(self._graph))
        return self

    def _add(self, keys: np.ndarray, matrix: Vectors, which: np.ndarray, threads: int) -> None:
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

    def _calibrate(self, asked: _Asked, keys: np.ndarray, matrix: Vectors) -> None:
        """The least width whose recall is, with 95 %, what was asked for."""
        metric, share = self.measured.metric, np.ones(0)
        for width in _WIDTHS:
            self._graph.expansion_search = width
            found = []
            for query, far, rows in zip(*asked, self.propose(asked.queries, _K, keys), strict=True):
                scores = exact_scores(metric, np.asarray(matrix[rows]), query)
                found.append(min(_K, int((_turned(metric, scores) <= far).sum())) / _K)
            share = np.array(found or [0.0])
            low = share.mean() - 1.96 * share.std() / len(share) ** 0.5
            known = {"recall": float(share.mean()), "recall_low": float(low), "width": width}
            self.measured = replace(self.measured, sample=len(found), **known)  # type: ignore[arg-type]
            if low >= self.measured.target:
                return

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


def _principal_axes(matrix: Vectors, rng: np.random.Generator) -> np.ndarray:
    """(D, D) float32, the axes of most energy first."""
    rows = np.sort(rng.permutation(len(matrix))[:_FITTED])
    sample = np.asarray(matrix[rows], np.float64)
    axes: np.ndarray = np.linalg.eigh(sample.T @ sample)[1][:, ::-1].astype(np.float32)
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


class _Asked(NamedTuple):
    """Queries (Q, D), and how far the last of the ten nearest of each is (Q,)."""

    queries: np.ndarray
    far: np.ndarray


def _compare(
    matrix: Vectors,
    held: np.ndarray,
    which: np.ndarray,
    metric: Metric,
    axes: np.ndarray,
    recall: float = RECALL,
) -> tuple[_Asked, int]:
    """An exact search for the rows `held` among `which`, and how many axes suffice to have the ten among forty."""
    queries, dim = np.asarray(matrix[held]), axes.shape[1]
    shorts = [short for short in _SHORT if short < dim]
    tops = {short: _Top(4 * _K) for short in shorts}
    exact, codes = _Top(_K), queries @ axes if shorts else queries
    for begin in range(0, len(which), _BLOCK):
        rows = begin + np.flatnonzero(which[begin : begin + _BLOCK])
        block = np.asarray(matrix[rows])
        exact.take(_distances(metric, queries, block), rows)
        turned = block @ axes[:, : max(shorts, default=0)] if shorts else block
        for short in shorts:
            cut = _distances(metric, codes[:, :short], turned[:, :short])
            tops[short].take(cut, rows)
    far = [
        _turned(metric, exact_scores(metric, np.asarray(matrix[rows]), query)).max(initial=-np.inf)
        for query, rows in zip(queries, exact.rows, strict=True)
    ]
    asked = _Asked(queries, np.array(far))
    for short in shorts:
        pairs = zip(exact.rows, tops[short].rows, strict=True)
        if np.mean([np.isin(t, among).mean() for t, among in pairs]) >= 1 - (1 - recall) / 10:
            return asked, short
    return asked, dim


class _Top:
    """The nearest rows of each of Q queries so far, (Q, up to k), in no order."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.far, self.rows = np.zeros((0, 0)), np.zeros((0, 0), np.int64)

    def take(self, far: np.ndarray, rows: np.ndarray) -> None:
        """Look at more: (Q, B), lower is nearer, and their (B,) rows."""
        wide = np.broadcast_to(rows, far.shape)
        if len(self.far):
            far, wide = np.hstack([self.far, far]), np.hstack([self.rows, wide])
        if far.shape[1] > self._k:
            kept = np.argpartition(far, self._k - 1, axis=1)[:, : self._k]
            far, wide = np.take_along_axis(far, kept, 1), np.take_along_axis(wide, kept, 1)
        self.far, self.rows = far, wide


def _turned(metric: Metric, scores: np.ndarray) -> np.ndarray:
    return scores if is_distance(metric) else -scores


def _distances(metric: Metric, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(Q, N), lower is nearer."""
    if metric == "hamming":
        return np.stack([exact_scores(metric, vectors, query) for query in queries])
    products: np.ndarray = queries @ vectors.T
    if metric != "l2":
        return -products
    of_queries, of_vectors = (np.einsum("ij,ij->i", a, a) for a in (queries, vectors))
    apart: np.ndarray = of_queries[:, None] + of_vectors - 2 * products
    return apart
