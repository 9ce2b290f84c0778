"""One class out of K: accuracy, top-k, the confusion matrix and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from tinysight.errors import DataError
from tinysight.metrics.checks import Array, ratio, score_table
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge, MinLen


class LabelRates(NamedTuple):
    """Quality of one class or label, or arrays (K,) for each of K; a rate that would be 0/0 is 0.

    Attributes:
        support: number of images that have the label.
        precision: share of right ones among the images that were given the label, from 0 to 1.
        recall: share of the images with the label that were given it, from 0 to 1.
        f1: harmonic mean of precision and recall.
    """

    support: Any
    precision: Any
    recall: Any
    f1: Any

    def rows(self) -> list[LabelRates]:
        """One for each of the K."""
        return [LabelRates(*row) for row in zip(*(c.tolist() for c in self), strict=True)]


@metrics.register("topk")
def topk(
    scores: Array, labels: Array, k: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1,)
) -> dict[str, float]:
    """Share of samples whose label is among the `k` highest scores, as `top1`, `top5`, ...

    Of equal scores the lower class id comes first, so top1 agrees with `argmax`; PaddleClas
    picks in no useful order. `k` of the number of classes or more gives 1.

    Args:
        scores: any monotonic score, (N, K).
        labels: class ids, (N,).
        k: one or more numbers of classes.

    Raises:
        DataError: shapes that do not fit, no samples, NaN, labels out of range.
    """
    scores, labels = score_table(scores, labels, "topk")
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return {f"top{n}": float((rank < n).mean()) for n in k}


@metrics.register("accuracy")
def accuracy(scores: Array, labels: Array) -> dict[str, float]:
    """Share of samples whose highest score is their label's; of equal scores the lower id counts.

    Args:
        scores: (N, K).
        labels: class ids, (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, labels out of range.
    """
    scores, labels = score_table(scores, labels, "accuracy")
    return {"accuracy": float((scores.argmax(axis=1) == labels).mean())}


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """Counts (K, K), int64: row = true class, column = predicted class.

    Args:
        labels: class ids, (N,); N may be 0.
        predicted: class ids, (N,).
        num_classes: K.

    Raises:
        DataError: different lengths, or an id outside 0 to K - 1.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        what = f"labels {labels.shape} beside predictions {predicted.shape}"
        raise DataError("confusion_matrix", what)
    both = np.concatenate([labels, predicted])
    if both.size and (both.min() < 0 or both.max() >= num_classes):
        raise DataError("confusion_matrix", f"an id outside 0 to {num_classes - 1}")
    cells = labels.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_report(matrix: Array) -> LabelRates:
    """The rates of every class of a confusion matrix (K, K)."""
    return report_of(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def report_of(hits: Array, support: Array, called: Array) -> LabelRates:
    """The rates of K classes or labels by their counts, each (K,).

    Args:
        hits: images that have the label and were given it.
        support: images that have it.
        called: images that were given it.
    """
    f1 = ratio(2 * hits, called + support)
    return LabelRates(support, ratio(hits, called), ratio(hits, support), f1)


@metrics.register("class_report")
def macro_rates(scores: Array, labels: Array) -> dict[str, float]:
    """Means over classes of F1, precision and recall, as `macro_f1`, `macro_precision`, `macro_recall`.

    Every class that occurs counts the same, however rare; a rate that would be 0/0 is 0.

    Args:
        scores: (N, K).
        labels: class ids, (N,).

    Raises:
        DataError: shapes that do not fit, no samples, NaN, labels out of range.
    """
    scores, labels = score_table(scores, labels, "class_report")
    report = class_report(confusion_matrix(labels, scores.argmax(axis=1), scores.shape[1]))
    there, names = report.support > 0, ("f1", "precision", "recall")
    return {f"macro_{name}": float(getattr(report, name)[there].mean()) for name in names}
