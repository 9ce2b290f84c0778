"""Exact search: one product over all rows proposes, arithmetic in double precision decides.

The product in single precision is fast, and its rounding depends on how the rows lie in memory. What it proposes is
every row that could be among the nearest; these are scored again, each by itself. So a score depends on the item and
the query alone, and equal vectors have equal scores wherever they lie.
"""

from __future__ import annotations

import numpy as np

from tinysight.gallery.base import Metric
from tinysight.gallery.base import is_distance as is_distance

_SCORES = 1 << 24  # that are held at once
_ROUNDING = 1e-5  # of a product of two vectors, as a share of their lengths
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_BLOCK = 8192  # rows that are compared bit by bit at once


def propose(
    metric: Metric, rows: np.ndarray, squares: np.ndarray, gone: np.ndarray, queries: np.ndarray, k: int
) -> list[np.ndarray]:  # fmt: skip
    """For each query the places of all rows that may be among the `k` nearest, ties included.

    Args:
        metric: how they are compared.
        rows: (G, width), comparable.
        squares: (G,) squares of their lengths.
        gone: places of rows that do not count.
        queries: (Q, width), comparable.
        k: number of rows, at least 1.
    """
    found: list[np.ndarray] = []
    count = len(rows)
    if not count:
        return [np.zeros(0, np.int64)] * len(queries)
    step = max(1, _SCORES // count)
    largest = float(np.sqrt(squares.max(initial=0.0)))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        scores = _products(metric, rows, squares, part)
        if len(gone):
            scores[:, gone] = -np.inf
        lengths = np.sqrt(np.square(part, dtype=np.float64).sum(1))
        margins = _ROUNDING * largest * (2 * lengths + largest)
        if metric == "hamming":
            margins = np.zeros(len(part))
        for row, margin in zip(scores, margins, strict=True):
            least = np.partition(row, count - k)[count - k] if k < count else -np.inf
            found.append(np.flatnonzero((row >= least - 2 * margin) & (row > -np.inf)))
    return found


def _products(
    metric: Metric, rows: np.ndarray, squares: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """(Q, G), higher is nearer, rounded."""
    if metric != "hamming":
        products = queries @ rows.T if len(queries) > 1 else (rows @ queries[0])[None]
        return np.asarray(2 * products - squares if metric == "l2" else products)
    scores = np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for score, query in zip(scores, queries, strict=True):
            score[start : start + _BLOCK] = -_BITS[block ^ query].sum(1, dtype=np.int32)
    return scores


def exact_scores(metric: Metric, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(C,) scores of a query with each row, as `Match` has them."""
    if metric == "hamming":
        return np.asarray(_BITS[rows ^ query].sum(1, dtype=np.int64).astype(np.float64))
    wide, asked = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.asarray(np.square(wide - asked).sum(1))
    return np.asarray((wide * asked).sum(1))
