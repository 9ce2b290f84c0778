"""What metrics require of scores and labels, checked in one place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinysight.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def score_table(scores: Array, labels: Array, where: str) -> tuple[Array, Array]:
    """Scores (N, K) and labels (N,) as they are, once they fit together.

    Raises:
        DataError: wrong number of axes, different N, no rows, NaN, or labels outside 0 to K - 1.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or not scores.shape[1]:
        raise DataError(where, f"scores should be (N, K), got {scores.shape}")
    _check_pair(scores, labels, where)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        span = f"labels from {labels.min()} to {labels.max()}"
        raise DataError(where, f"{span}, but {scores.shape[1]} classes of scores")
    return scores, labels


class Truth(NamedTuple):
    """Probabilities beside what is true of each.

    Attributes:
        table: probabilities, (N, K) float64.
        truth: whether each class or label is there, (N, K) bool.
        known: of several labels an image, which of them are known, (N, K) bool; None for one class an image.
    """

    table: Array
    truth: Array
    known: Array | None


def any_labels(scores: Array, labels: Array, where: str) -> Truth:
    """Scores (N, K) beside class ids (N,) or labels (N, K) of 1, 0 and below 0 (unknown).

    Raises:
        DataError: as `score_table` and `label_table`.
    """
    if np.ndim(labels) == 2:
        scores, labels = label_table(scores, labels, where)
        return Truth(scores.astype(np.float64), labels > 0, labels >= 0)
    scores, labels = score_table(scores, labels, where)
    return Truth(scores.astype(np.float64), labels[:, None] == np.arange(scores.shape[1]), None)


def binary_columns(scores: Array, labels: Array, where: str) -> tuple[Array, Array]:
    """Scores (N,), of (N, K) those of column 1, and whether each is positive, (N,) bool.

    Raises:
        DataError: wrong shapes, no rows, or NaN.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim == 2 and scores.shape[1] >= 2:
        scores = scores[:, 1]
    if scores.ndim != 1:
        raise DataError(where, f"scores should be (N,) or (N, K) with K from 2, got {scores.shape}")
    _check_pair(scores, labels, where)
    return scores, labels != 0


def binary(scores: Array, labels: Array, where: str, needs: str = "") -> tuple[Array, Array]:
    """Scores of the positives and of the negatives, each in ascending order; as `binary_columns`.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).
        where: place for messages.
        needs: those of "positives negatives" that must not be empty.

    Raises:
        DataError: as `binary_columns`, or one of them is empty.
    """
    values, truth = binary_columns(scores, labels, where)
    counts = {"positives": int(truth.sum()), "negatives": int((~truth).sum())}
    if absent := [kind for kind in needs.split() if not counts[kind]]:
        numbers = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        raise DataError(where, f"no {absent[0]} ({numbers})")
    return np.sort(values[truth]), np.sort(values[~truth])


def label_table(scores: Array, labels: Array, where: str) -> tuple[Array, Array]:
    """Scores (N, K) and labels (N, K), once they fit together; present is above 0, absent is 0.

    Raises:
        DataError: other or different shapes, no rows, NaN, or no known label.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape:
        what = f"scores and labels should both be (N, K), got {scores.shape} and {labels.shape}"
        raise DataError(where, what)
    if not scores.size or not (labels >= 0).any():
        raise DataError(where, "no labels to measure against")
    _check_numbers(scores, where)
    return scores, labels


def _check_pair(scores: Array, labels: Array, where: str) -> None:
    if labels.ndim != 1 or len(labels) != len(scores):
        raise DataError(where, f"{len(scores)} rows of scores, but labels of shape {labels.shape}")
    if not len(labels):
        raise DataError(where, "no samples to measure")
    if labels.dtype.kind not in "iub":
        raise DataError(where, f"labels should be whole numbers, got {labels.dtype}")
    _check_numbers(scores, where)


def _check_numbers(scores: Array, where: str) -> None:
    if np.isnan(scores).any():
        rows = np.unique(np.nonzero(np.isnan(scores))[0])
        raise DataError(where, f"{len(rows)} rows of scores hold NaN; the first is row {rows[0]}")


def ratio(part: Array, whole: Array) -> Array:
    """`part / whole` by element, 0 where it would be 0/0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
