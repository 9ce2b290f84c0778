"""Calibration of probabilities: calibration errors, the reliability curve, temperature.

One class out of K: the confidence is the highest probability, and it should be right as often as
it says. Yes or no, or several labels at once ((N, K) of 0 and 1): the probability of each label
should be its frequency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from tinysight.metrics.checks import Array, Truth, any_labels
from tinysight.registry import metrics

if TYPE_CHECKING:
    from annotated_types import Ge

_FLOOR = 1e-12  # of the probability of what was true: one sure mistake must not count endlessly
_LEAST = 1e-38  # that float32 can say of a probability
_STEPS = 60
_LIMITS = (0.05, 20.0)  # of a temperature


class Reliability(NamedTuple):
    """Per bin that is not empty, each (B,): mean confidence, share that was right, how many samples."""

    confidence: Array
    accuracy: Array
    number: Array

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.number).sum() / self.number.sum())


@metrics.register("calibration")
def calibration(scores: Array, labels: Array, bins: Annotated[int, Ge(1)] = 15) -> dict[str, float]:
    """How far probabilities are from what they say, four ways; lower is better.

    `ece` is the expected calibration error in bins of equal width, `ece_mass` the same in bins of
    equal numbers. `brier` is the mean squared distance to the truth, summed over the classes of an
    image; of (N, K) labels, the mean over all that are known. `nll` is the mean of -log of the
    probability that the truth was given, at most 27.6 (for a probability of 0).

    Args:
        scores: probabilities, (N, K).
        labels: class ids (N,), or 0 and 1 (N, K); below 0 is not known.
        bins: number of bins.

    Raises:
        DataError: shapes that do not fit, no samples, NaN, labels out of range.

    Source: M. P. Naeini et al., AAAI 2015; C. Guo et al., ICML 2017; G. W. Brier, 1950 (with the
    sum over the classes).
    """
    confidence, hit = confidences(scores, labels)
    table, truth, known = checked = any_labels(scores, labels, "calibration")
    squares = (table - truth) ** 2
    return {
        "ece": reliability(confidence, hit, bins).ece,
        "ece_mass": reliability(confidence, hit, bins, equal_mass=True).ece,
        "brier": float(squares.sum(axis=1).mean() if known is None else squares[known].mean()),
        "nll": _nll(checked),
    }


def confidences(scores: Array, labels: Array) -> tuple[Array, Array]:
    """What is binned: a probability each, and whether it came true.

    Returns:
        (M,) float64 and (M,) bool. Of class ids: the highest probability of each image and
        whether its class is the label. Of two classes the same, so from 0.5 to 1. Of (N, K) labels:
        every probability whose label is known.

    Raises:
        DataError: as `calibration`.
    """
    table, truth, known = any_labels(scores, labels, "calibration")
    if known is not None:
        return table[known], truth[known]
    best = table.argmax(axis=1)[:, None]
    return tuple(np.take_along_axis(x, best, axis=1)[:, 0] for x in (table, truth))  # type: ignore[return-value]


def reliability(
    confidence: Array, hit: Array, bins: int = 15, *, equal_mass: bool = False
) -> Reliability:
    """Confidence and accuracy by bins of the confidence.

    Args:
        confidence: (M,), in [0, 1].
        hit: whether each came true, (M,) bool.
        bins: of equal width on [0, 1], open below and closed above, as in the literature; or of
            equal numbers, equal confidences never apart.
        equal_mass: which of the two.
    """
    edges = np.arange(1, bins) / bins
    if equal_mass:
        edges = np.quantile(confidence, edges, method="inverted_cdf")
    place = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    used = count > 0
    sums = (np.bincount(place, weights=x, minlength=bins)[used] for x in (confidence, hit))
    mean, share = (s / count[used] for s in sums)
    return Reliability(mean, share, count[used])


def _nll(checked: Truth) -> float:
    table, truth, known = checked
    given = table[truth] if known is None else np.where(truth, table, 1 - table)[known]
    return float(-np.log(np.maximum(given, _FLOOR)).mean())


def soften(scores: Array, temperature: float, *, each: bool = False) -> Array:
    """Probabilities (N, K) as if the logits had been divided by `temperature`.

    Args:
        scores: probabilities that softmax or sigmoid made of the logits, (N, K).
        temperature: above 0; above 1 makes them less sure.
        each: True if sigmoid made each by itself, False for softmax.
    """
    table = np.asarray(scores, np.float64)
    logits = np.log(np.maximum(table, _LEAST))
    if each:
        logits -= np.log(np.maximum(1 - table, _LEAST))
        return np.asarray(1 / (1 + np.exp(-logits / temperature)))
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(scores: Array, labels: Array) -> float:
    """The temperature with the least negative log-likelihood, between 0.05 and 20.

    It changes no ranking, so neither the answers nor the ROC curve; only how sure they sound.

    Args:
        scores: probabilities of validation images, (N, K).
        labels: class ids (N,), or 0 and 1 (N, K).

    Raises:
        DataError: as `calibration`.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    checked = any_labels(scores, labels, "calibration")
    each = checked.known is not None

    def loss(log_t: float) -> float:
        table = soften(checked.table, float(np.exp(log_t)), each=each)
        return _nll(checked._replace(table=table))

    # Convex in 1/t, so it has one valley in log t too: golden sections.
    low, high = np.log(_LIMITS)
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return float(np.exp((low + high) / 2))
