"""Positive or negative: the operating point at a false-positive rate, and the area under the ROC.

Scores are those of the positive class: (N,), or column 1 of (N, K). Any label but 0 is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array, Binary, binary
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge, Le


@metrics.register("tpr_at_fpr")
def tpr_at_fpr(
    scores: Array,
    labels: Array,
    max_fpr: Annotated[float, Ge(0), Le(1)] = 1e-3,
    grid: Annotated[int, Ge(1)] | None = None,
) -> dict[str, float]:
    """Best true-positive rate among thresholds whose false-positive rate is at most `max_fpr`.

    Every distinct score is tried, and a score equal to the threshold is positive, as in the
    post-process `threshold`. Of the thresholds with the best rate the lowest is taken. With fewer
    than 1 / max_fpr negatives the limit allows no false positive at all.

    With `grid` it is PaddleClas' rule (there with 10,000): thresholds i / grid from 0 on, a
    score must exceed the threshold, and without negatives every positive is found. Its rate is at
    most the exact one.

    Args:
        scores: (N,) or (N, K), in [0, 1] if `grid` is used.
        labels: (N,).
        max_fpr: share of negatives that may be called positive; 1e-3 is one in a thousand.
        grid: number of thresholds; none for the exact sweep.

    Returns:
        `tpr`; `fpr` and `threshold` belonging to it. Where no threshold finds a positive both rates
        are 0 and the threshold lies above every score.

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or no negatives (without `grid`).
    """
    sides = binary(scores, labels, "tpr_at_fpr")
    if grid is not None:
        return _on_grid(sides, max_fpr, grid)
    positives, negatives = sides
    if not len(negatives):
        raise DataError("tpr_at_fpr", "no negatives, so there is no false-positive rate")
    thresholds = np.unique(np.concatenate([positives, negatives]))
    allowed = thresholds[_share_from(negatives, thresholds) <= max_fpr]
    if not len(positives) or not len(allowed) or positives[-1] < allowed[0]:
        return _nothing(sides)
    at = allowed[0]  # thresholds ascend: the first allowed one catches most
    return {
        "tpr": float(_share_from(positives, at)),
        "fpr": float(_share_from(negatives, at)),
        "threshold": float(at),
    }


def _on_grid(sides: Binary, max_fpr: float, grid: int) -> dict[str, float]:
    positives, negatives = sides
    thresholds = (np.arange(grid) / grid).astype(positives.dtype)  # compared in the scores' type
    tpr = _share_above(positives, thresholds)
    fpr = _share_above(negatives, thresholds)
    tpr = np.where(fpr <= max_fpr, tpr, 0.0)
    best = int(tpr.argmax())  # the first, so the lowest threshold
    if tpr[best] == 0.0:
        return _nothing(sides)
    return {"tpr": float(tpr[best]), "fpr": float(fpr[best]), "threshold": best / grid}


def _share_from(scores: Array, thresholds: Array) -> Array:
    # A ratio of counts: 1 - 999 / 1000 would exceed a limit of 1e-3.
    return (len(scores) - np.searchsorted(scores, thresholds)) / len(scores)


def _share_above(scores: Array, thresholds: Array) -> Array:
    above = len(scores) - np.searchsorted(scores, thresholds, side="right")
    return above / max(len(scores), 1)


def _nothing(sides: Binary) -> dict[str, float]:
    top = max(side[-1] for side in sides if len(side))
    kind = np.result_type(top, np.float16).type  # the next number up in the scores' own precision
    above = np.nextafter(kind(top), kind(np.inf))
    return {"tpr": 0.0, "fpr": 0.0, "threshold": float(above)}


@metrics.register("roc_auc")
def roc_auc(scores: Array, labels: Array) -> dict[str, float]:
    """Chance that a positive scores above a negative, equal scores counting half.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or only one class.
    """
    positives, negatives = binary(scores, labels, "roc_auc")
    if not (len(positives) and len(negatives)):
        raise DataError(
            "roc_auc",
            f"needs both classes: {len(positives)} positives, {len(negatives)} negatives",
        )
    below = np.searchsorted(negatives, positives, side="left").sum()
    not_above = np.searchsorted(negatives, positives, side="right").sum()
    return {"roc_auc": float(below + not_above) / (2 * len(positives) * len(negatives))}


class RocCurve(NamedTuple):
    """Rates at every distinct threshold, from above every score (both 0) to the lowest (both 1)."""

    fpr: Array
    tpr: Array
    thresholds: Array


def roc_curve(scores: Array, labels: Array) -> RocCurve:
    """The receiver operating characteristic; a score equal to the threshold is positive.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or only one class.
    """
    positives, negatives = binary(scores, labels, "roc_curve")
    if not (len(positives) and len(negatives)):
        raise DataError("roc_curve", "only one class, so there is no curve")
    falling = np.unique(np.concatenate([positives, negatives]))[::-1]
    thresholds = np.concatenate([[np.inf], falling])
    return RocCurve(
        _share_from(negatives, thresholds), _share_from(positives, thresholds), thresholds
    )


class PrecisionRecallCurve(NamedTuple):
    """Shares at every distinct threshold, from the highest score down to the lowest (recall 1)."""

    precision: Array
    recall: Array
    thresholds: Array


def precision_recall_curve(scores: Array, labels: Array) -> PrecisionRecallCurve:
    """What share of those above a threshold are positive, and what share of the positives is above.

    A score equal to the threshold is positive. There is no point above every score, where the
    precision would be 0/0.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or no positives.
    """
    positives, negatives = binary(scores, labels, "precision_recall_curve")
    if not len(positives):
        raise DataError("precision_recall_curve", "no positives, so there is no recall")
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    hits = len(positives) - np.searchsorted(positives, thresholds)
    above = hits + len(negatives) - np.searchsorted(negatives, thresholds)
    return PrecisionRecallCurve(hits / above, hits / len(positives), thresholds)


def pr_area(scores: Array, labels: Array) -> float:
    """Area under the precision-recall curve in steps; raises as `precision_recall_curve`."""
    precision, recall, _ = precision_recall_curve(scores, labels)
    return float((np.diff(recall, prepend=0.0) * precision).sum())
