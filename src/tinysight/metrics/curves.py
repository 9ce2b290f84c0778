"""Precision against recall. The other curve, the ROC, is in `binary`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array, binary


class PrCurve(NamedTuple):
    """Precision and recall at every distinct threshold, from the highest score to the lowest."""

    precision: Array
    recall: Array
    thresholds: Array


def pr_curve(scores: Array, labels: Array) -> PrCurve:
    """Precision against recall; a score equal to the threshold is positive.

    Args:
        scores: (N,) or (N, K).
        labels: (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or no positives.
    """
    positives, negatives = binary(scores, labels, "pr_curve")
    if not len(positives):
        raise DataError("pr_curve", "no positives, so there is no recall")
    falling = np.unique(np.concatenate([positives, negatives]))[::-1]
    hits = len(positives) - np.searchsorted(positives, falling)
    wrong = len(negatives) - np.searchsorted(negatives, falling)
    return PrCurve(hits / (hits + wrong), hits / len(positives), falling)


def pr_area(scores: Array, labels: Array) -> float:
    """Area under the precision-recall curve in steps; raises as `pr_curve`."""
    precision, recall, _ = pr_curve(scores, labels)
    return float((np.diff(recall, prepend=0.0) * precision).sum())
