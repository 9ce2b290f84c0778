"""k-reciprocal re-ranking: two vectors are near if they share the neighbours that count them as neighbours in turn.

Source: Z. Zhong et al., arXiv:1701.08398. Time grows with the square of the number of vectors; memory does not: only
the neighbours are kept, and distances are made a block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array

_BLOCK = 1 << 24  # numbers of a block: 64 MB


def blocks_of_rows(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a matrix that is too large to hold."""
    step = max(1, _BLOCK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def reranked(
    queries: Array,
    gallery: Array,
    *,
    k1: int = 20,
    k2: int = 6,
    original_weight: float = 0.3,
    swapped: bool = False,
) -> Iterator[tuple[slice, Array]]:
    """Distances after re-ranking, (Q, G) float32, by blocks of queries; smaller is nearer.

    Args:
        queries: vectors, (Q, D).
        gallery: vectors, (G, D).
        k1: neighbours that are looked at.
        k2: neighbours whose sets are averaged; 1 for none.
        original_weight: of the squared Euclidean distance in the result.
        swapped: in its place PaddleClas' distance of vectors that are not of length 1, whose factors are swapped by
            mistake: the scalar product, less twice the sum of the squared lengths.

    Raises:
        DataError: fewer than two vectors.
    """
    vectors = np.concatenate([queries, gallery]).astype(np.float32)
    if len(vectors) < 2:
        raise DataError("rerank", "needs two vectors or more")
    space = _Space(vectors, np.square(vectors).sum(axis=1), swapped)
    count, every = len(queries), slice(None)
    keep = min(max(k1 + 1, k2), len(vectors))
    rank = np.empty((len(vectors), keep), np.int64)
    scale = np.empty(len(vectors), np.float32)
    for rows in blocks_of_rows(len(vectors), len(vectors)):
        block = space.distances(rows, every)
        scale[rows] = block.max(axis=1)
        rank[rows] = [_nearest(row, keep) for row in block / scale[rows, None]]
    shares = _averaged(_shares(space, scale, rank, k1), rank, k2)
    by_column = _transposed(shares)
    for rows in blocks_of_rows(count, len(vectors)):
        block = np.empty((rows.stop - rows.start, len(vectors) - count), np.float32)
        original = space.distances(rows, slice(count, None)) / scale[rows, None]
        for i, row in enumerate(range(rows.start, rows.stop)):
            common = _common(shares[row], by_column, len(vectors))[count:]
            block[i] = 1.0 - common / (2.0 - common)
        yield rows, block * (1.0 - original_weight) + original * original_weight


class _Space(NamedTuple):
    """Vectors (N, D), their squared lengths, and which distance they have."""

    vectors: Array
    lengths: Array
    swapped: bool

    def distances(self, rows: slice, columns: slice | Array) -> Array:
        """Squared distances of some vectors to others, (rows, columns)."""
        products = self.vectors[rows] @ self.vectors[columns].T
        lengths = self.lengths[rows, None] + self.lengths[columns]
        if self.swapped:
            return np.asarray(products - 2.0 * lengths)
        return np.asarray(np.maximum(lengths - 2.0 * products, 0.0))


class _Row(NamedTuple):
    """The entries of a sparse row that are not 0."""

    places: Array
    values: Array


def _nearest(row: Array, count: int) -> Array:
    """Places of the `count` smallest, the smallest first; of equals the earlier ones."""
    limit = np.partition(row, count - 1)[count - 1]
    near = np.flatnonzero(row <= limit)
    return np.asarray(near[np.argsort(row[near], kind="stable")][:count])


def _reciprocal(rank: Array, k: int) -> list[Array]:
    """For each vector those among its k nearest, itself included, that count it among theirs."""
    first = rank[:, : k + 1]
    return [near[(first[near] == i).any(axis=1)] for i, near in enumerate(first)]


def _shares(space: _Space, scale: Array, rank: Array, k1: int) -> list[_Row]:
    """How much each vector belongs to the neighbourhood of each, its rows summing to 1."""
    wide, narrow = _reciprocal(rank, k1), _reciprocal(rank, int(np.around(k1 / 2)))
    found = []
    for i, near in enumerate(wide):
        more = [n for n in (narrow[c] for c in near) if np.isin(n, near).sum() > 2 / 3 * len(n)]
        members = np.unique(np.concatenate([near, *more]))
        weight = np.exp(-space.distances(slice(i, i + 1), members)[0] / scale[i])
        found.append(_Row(members, weight / weight.sum()))
    return found


def _averaged(shares: list[_Row], rank: Array, k2: int) -> list[_Row]:
    """The mean of the rows of each one's k2 nearest."""
    if k2 <= 1:
        return shares
    found = []
    for near in rank[:, :k2]:
        places = np.concatenate([shares[n].places for n in near])
        values = np.concatenate([shares[n].values for n in near])
        unique, inverse = np.unique(places, return_inverse=True)
        found.append(_Row(unique, np.bincount(inverse, values) / len(near)))
    return found


def _transposed(rows: list[_Row]) -> list[_Row]:
    """The columns of the sparse rows."""
    numbers = np.repeat(np.arange(len(rows)), [len(row.places) for row in rows])
    places = np.concatenate([row.places for row in rows])
    values = np.concatenate([row.values for row in rows])
    order = np.argsort(places, kind="stable")
    ends = np.cumsum(np.bincount(places, minlength=len(rows)))[:-1]
    pairs = zip(np.split(numbers[order], ends), np.split(values[order], ends), strict=True)
    return [_Row(*pair) for pair in pairs]


def _common(row: _Row, columns: list[_Row], count: int) -> Array:
    """Sum of the smaller of two rows' entries: `row` against every row, (count,)."""
    found = np.zeros(count)
    for place, value in zip(row.places.tolist(), row.values.tolist(), strict=True):
        column = columns[place]
        found[column.places] += np.minimum(column.values, value)
    return found
