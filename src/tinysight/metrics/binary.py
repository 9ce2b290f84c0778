"""Positive or negative: the operating point at a false-positive rate, and the area under the ROC.

Scores are those of the positive class: (N,), or column 1 of (N, K). Any label but 0 is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinysight.metrics.checks import Array, binary
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
    sides = binary(scores, labels, "tpr_at_fpr", "" if grid else "negatives")
    tried = np.unique(np.concatenate(sides)) if grid is None else np.arange(grid) / grid
    thresholds = tried.astype(sides[0].dtype)  # compared in the scores' type
    tpr, fpr = (_share(side, thresholds, above=grid is not None) for side in sides)
    tpr = np.where(fpr <= max_fpr, tpr, 0.0)
    best = int(tpr.argmax())  # the first, so the lowest threshold
    if tpr[best] == 0.0:
        top = max(side[-1] for side in sides if len(side))
        kind = np.result_type(top, np.float16).type  # the next number up in the scores' precision
        return {"tpr": 0.0, "fpr": 0.0, "threshold": float(np.nextafter(kind(top), kind(np.inf)))}
    return {"tpr": float(tpr[best]), "fpr": float(fpr[best]), "threshold": float(tried[best])}


def _share(scores: Array, thresholds: Array, *, above: bool = False) -> Array:
    """Share of ascending scores from each threshold on, or above it."""
    # A ratio of counts: 1 - 999 / 1000 would exceed a limit of 1e-3.
    below = np.searchsorted(scores, thresholds, side="right" if above else "left")
    return (len(scores) - below) / max(len(scores), 1)


@metrics.register("roc_auc")
def roc_auc(scores: Array, labels: Array) -> dict[str, float]:
    """Chance that a positive scores above a negative, equal scores counting half.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or only one class.
    """
    positives, negatives = binary(scores, labels, "roc_auc", "positives negatives")
    places = [np.searchsorted(negatives, positives, side) for side in ("left", "right")]
    return {"roc_auc": float(np.sum(places)) / (2 * len(positives) * len(negatives))}


def roc_curve(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """The receiver operating characteristic; a score equal to the threshold is positive.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Returns:
        False-positive rate, true-positive rate and threshold, (T,) each, from above every score
        (both rates 0) to the lowest one (both 1).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or only one class.
    """
    positives, negatives = binary(scores, labels, "roc_curve", "positives negatives")
    thresholds = np.append(np.inf, np.unique(np.concatenate([positives, negatives]))[::-1])
    return _share(negatives, thresholds), _share(positives, thresholds), thresholds


def precision_recall_curve(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """What share of those above a threshold are positive, and what share of the positives is above.

    A score equal to the threshold is positive. There is no point above every score, where the
    precision would be 0/0.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Returns:
        Precision, recall and threshold, (T,) each, from the highest score to the lowest (recall 1).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or no positives.
    """
    positives, negatives = binary(scores, labels, "precision_recall_curve", "positives")
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    hits = len(positives) - np.searchsorted(positives, thresholds)
    above = hits + len(negatives) - np.searchsorted(negatives, thresholds)
    return hits / above, hits / len(positives), thresholds


def pr_area(scores: Array, labels: Array) -> float:
    """Area under the precision-recall curve in steps; raises as `precision_recall_curve`."""
    precision, recall, _ = precision_recall_curve(scores, labels)
    return float((np.diff(recall, prepend=0.0) * precision).sum())
