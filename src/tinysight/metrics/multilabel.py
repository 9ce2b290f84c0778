"""Several labels an image, each present or absent: rates by label and by image.

Scores are probabilities (N, K), labels (N, K) of 1 (present), 0 (absent) and below 0 (unknown).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array, label_table, ratio
from tinysight.metrics.classification import LabelRates, report_of
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, Lt

Points = Literal["all", "eleven"]


@metrics.register("mean_accuracy")
def mean_accuracy(
    scores: Array,
    labels: Array,
    threshold: Annotated[float, Ge(0), Le(1)] = 0.5,
    f1_of_mean_recall: bool = False,
) -> dict[str, float]:
    """Attribute recognition: mean accuracy over labels, and rates by image.

    A label is said to be present if its score exceeds the threshold. Unknown labels count nowhere.
    A rate that would be 0/0 is 0, as in PaddleClas.

    Args:
        scores: (N, K). PaddleClas hands raw logits to its metric, so that its 0.5 means 0.62.
        labels: (N, K).
        threshold: of the scores.
        f1_of_mean_recall: for `label_f1`, take the mean recall of all labels as each one's, as
            PaddleClas does by mistake.

    Returns:
        `mA`, the mean of a label's recall of presence and of absence; `label_f1`,
        `label_pos_recall`, `label_neg_recall`, means over labels; `instance_acc` (intersection over
        union), `instance_prec`, `instance_recall`, means over images, and `instance_f1` of the
        last two.

    Raises:
        DataError: shapes that do not fit, no samples, or NaN.

    Source: PaddleClas' `ATTRMetric`; D. Li et al., arXiv:1603.07054 (the RAP data set).
    """
    scores, labels = label_table(scores, labels, "mean_accuracy")
    called = scores > threshold
    hits, misses, alarms, rejections = _counts(called, labels, 0)
    present, absent = ratio(hits, hits + misses), ratio(rejections, rejections + alarms)
    _, shares, _, f1 = report_of(hits, hits + misses, hits + alarms)
    if f1_of_mean_recall:
        f1 = ratio(2 * shares * present.mean(), shares + present.mean())
    hits, misses, alarms, _ = _counts(called, labels, 1)
    precision, recall = ratio(hits, hits + alarms).mean(), ratio(hits, hits + misses).mean()
    of_both = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    found: dict[str, Any] = {"mA": (present + absent) / 2, "label_f1": f1}
    found |= {"label_pos_recall": present, "label_neg_recall": absent, "instance_f1": of_both}
    found |= {"instance_acc": ratio(hits, hits + misses + alarms)}
    found |= {"instance_prec": precision, "instance_recall": recall}
    return {name: float(np.mean(value)) for name, value in found.items()}


@metrics.register("multilabel_map")
def multilabel_map(scores: Array, labels: Array, points: Points = "all") -> dict[str, float]:
    """Mean over labels of the average precision, as `mAP`; labels that never occur are left out.

    Args:
        scores: any monotonic score, (N, K).
        labels: (N, K).
        points: the mean precision at every present sample, or the best precision at or beyond
            eleven recalls from 0 to 1 (PASCAL VOC 2007).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, or no label occurs at all.
    """
    scores, labels = label_table(scores, labels, "multilabel_map")
    if not (labels > 0).any():
        raise DataError("multilabel_map", "no label occurs in any sample")
    there = (labels > 0).any(axis=0)
    pairs = zip(scores.T[there], labels.T[there], strict=True)
    values = [average_precision(own[true >= 0], true[true >= 0] > 0, points) for own, true in pairs]
    return {"mAP": float(np.mean(values))}


def average_precision(scores: Array, present: Array, points: Points = "all") -> float:
    """Area under the precision-recall steps of one label; of equal scores the earlier comes first.

    Args:
        scores: (N,).
        present: bool, (N,), at least one true.
        points: see `multilabel_map`.
    """
    order = np.argsort(-scores, kind="stable")
    hits = present[order].astype(np.float64)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    if points == "all":
        return float((precision * hits).sum() / hits.sum())
    recall = hits.cumsum() / hits.sum()
    # A recall of 0.3 in floating point must not miss the point 0.3.
    at = [precision[recall >= point / 10 - 1e-12].max(initial=0.0) for point in range(11)]
    return float(np.mean(at))


@metrics.register("best_mean_accuracy")
def best_mean_accuracy(
    scores: Array,
    labels: Array,
    start: Annotated[float, Ge(0), Le(1)] = 0.4,
    end: Annotated[float, Ge(0), Le(1)] = 0.9,
    steps: Annotated[int, Ge(1)] = 10,
) -> dict[str, float]:
    """Best share of right labels over `steps` thresholds from `start` up to, but without, `end`.

    Of equal ones the lowest threshold counts.

    Args:
        scores: (N, K).
        labels: (N, K); unknown ones are left out.
        start: lowest threshold.
        end: where the next threshold after the last would be.
        steps: how many.

    Returns:
        `mean_accuracy` and its `threshold`.

    Raises:
        DataError: shapes that do not fit, no samples, or NaN.

    Source: PaddleClas' `MultilabelMeanAccuracy`.
    """
    scores, labels = label_table(scores, labels, "best_mean_accuracy")
    known = labels >= 0
    thresholds = start + np.arange(steps) * ((end - start) / steps)
    shares = [((scores > t) == (labels > 0))[known].mean() for t in thresholds]
    best = int(np.argmax(shares))
    return {"mean_accuracy": float(shares[best]), "threshold": float(thresholds[best])}


@metrics.register("hamming")
def hamming(
    scores: Array, labels: Array, threshold: Annotated[float, Gt(0), Lt(1)] = 0.5
) -> dict[str, float]:
    """Share of wrong labels, as `hamming`; lower is better, so it should not be the first metric.

    Args:
        scores: (N, K).
        labels: (N, K); unknown ones are left out.
        threshold: a label is said to be present above it.

    Raises:
        DataError: shapes that do not fit, no samples, or NaN.
    """
    scores, labels = label_table(scores, labels, "hamming")
    wrong = (scores > threshold) != (labels > 0)
    return {"hamming": float(wrong[labels >= 0].mean())}


@metrics.register("multilabel_accuracy")
def multilabel_accuracy(
    scores: Array,
    labels: Array,
    base: Literal["sample", "label"] = "sample",
    threshold: Annotated[float, Gt(0), Lt(1)] = 0.5,
) -> dict[str, float]:
    """Share of images with every label right (`sample`), or of right labels, as `accuracy`.

    Args:
        scores: (N, K).
        labels: (N, K); unknown ones are neither right nor wrong.
        base: what is counted.
        threshold: a label is said to be present above it.

    Raises:
        DataError: shapes that do not fit, no samples, or NaN.
    """
    scores, labels = label_table(scores, labels, "multilabel_accuracy")
    known, right = labels >= 0, (scores > threshold) == (labels > 0)
    value = (right | ~known).all(axis=1).mean() if base == "sample" else right[known].mean()
    return {"accuracy": float(value)}


def label_report(called: Array, labels: Array) -> LabelRates:
    """The rates of every label; unknown labels are left out.

    Args:
        called: whether each label is said to be present, (N, K) bool.
        labels: (N, K).

    Raises:
        DataError: shapes that do not fit, or no samples.
    """
    called, labels = label_table(called, labels, "label_report")
    hits, misses, alarms, _ = _counts(called, labels, 0)
    return report_of(hits, hits + misses, hits + alarms)


def _counts(called: Array, labels: Array, axis: int) -> list[Array]:
    """Known labels along one axis: hits, misses, false alarms, and those rightly not given."""
    sides = [(truth, said) for truth in (labels > 0, labels == 0) for said in (called, ~called)]
    return [(truth & said).sum(axis) for truth, said in sides]
