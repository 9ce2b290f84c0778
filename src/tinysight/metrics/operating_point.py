"""The threshold in force: chosen on validation scores, with what it can be expected to do elsewhere.

A score equal to the threshold is positive, as in the post-process `threshold`. The threshold is put
in the middle of the gap between two scores, so that no validation image changes sides when
another engine rounds otherwise.

What the intervals of `target_fpr` say (95 %, whatever the distribution of the scores, ties
included), for n negatives of which K = floor(target * n) may be called positive and k are:

- `fpr`: the rate among all future negatives of the same kind. The threshold lies above the
  (K+1)-th highest negative and not above the k-th, so the rate lies between a Beta(k, n-k+1) and a
  Beta(K+1, n-K) variable; the interval goes from the 2.5 % quantile of the first to the 97.5 %
  quantile of the second. Without ties k = K, and it is the interval of Clopper and Pearson.
- `expected_fpr(..., new=m)`: the rate that will be counted on m new negatives. The same with
  beta-binomial distributions: wider, since those m are a sample too.
- `interval`: the threshold that endless validation data would give, by order statistics.

Those of `tpr` and `precision` are Clopper and Pearson's; with `target_precision`, which picks the
last point where the counted precision suffices, they covered 98 % in simulation. Where samples come
in clusters everything holds with effective numbers, approximately.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from tinysight.errors import ConfigError, DataError
from tinysight.metrics import distributions, intervals
from tinysight.metrics.checks import Array, binary_columns
from tinysight.metrics.intervals import Interval, exact_interval

_TAIL = 0.025  # left out at each end
_DRAWS = 200  # repetitions of the choice by precision
_ROOM = 0.05  # a precision is known well if its interval goes this far to either side, or less

Rule = Literal["target_fpr", "target_precision", "threshold"]


class Counts(NamedTuple):
    """What every rate is made of."""

    positives: int
    negatives: int
    true_positives: int
    false_positives: int


class Rate(NamedTuple):
    """A share as counted, and the 95 % interval of the true one."""

    value: float
    low: float
    high: float


class ThresholdResult(NamedTuple):
    """A threshold and what it does.

    Attributes:
        threshold: from it on a score is positive.
        rule: how it was chosen.
        target: the rule's number; None for a given threshold.
        interval: of the threshold that endless data would give; None for a given threshold.
        counts: what the threshold does with the validation images.
        allowed: false positives that the rule allowed there; those counted, if it sets no limit.
        effective: how many independent negatives these are worth: all, unless they are clustered.
        fpr: share of negatives called positive; None without negatives.
        tpr: share of positives called positive; None without positives.
        precision: share of positives among those called positive, None if none is called. It holds
            where positives are as common as here.
        warnings: what the data cannot support, in words.
    """

    threshold: float
    rule: Rule
    target: float | None
    interval: Interval | None
    counts: Counts
    allowed: int
    effective: float
    fpr: Rate | None
    tpr: Rate | None
    precision: Rate | None
    warnings: tuple[str, ...]


def at_threshold(
    scores: Array, labels: Array, threshold: float, *, clusters: Array | None = None
) -> ThresholdResult:
    """What a given threshold does.

    Args:
        scores: of the positive class, (N,), or (N, K), then column 1.
        labels: (N,); any but 0 is positive.
        threshold: from it on a score is positive.
        clusters: (N,), ids of samples that are not independent, such as crops of one photograph.

    Raises:
        DataError: shapes that do not fit, no samples, NaN.
    """
    return _decision(_samples(scores, labels, clusters, "threshold"), threshold, "threshold", None)


def at_target_fpr(
    scores: Array, labels: Array, target: float, *, clusters: Array | None = None
) -> ThresholdResult:
    """The threshold that finds the most positives and calls at most `target` of the negatives.

    The rule of the metric `tpr_at_fpr`: the same images are called positive.

    Args:
        scores: as for `at_threshold`; in [0, 1].
        labels: as there.
        target: share of negatives that may be called positive, between 0 and 1.
        clusters: as there.

    Raises:
        DataError: as there, no negatives, or so many of them at 1 that no threshold is high enough.
        ConfigError: a target out of range.
    """
    if not 0 < target < 1:
        raise ConfigError("target_fpr", f"should be between 0 and 1, got {target}")
    of = _samples(scores, labels, clusters, "target_fpr")
    negatives = np.sort(of.scores[~of.truth])
    if not (n := len(negatives)):
        raise DataError("target_fpr", "no negatives, so there is no false-positive rate")
    allowed = _allowed(target, n)
    refused = float(negatives[n - allowed - 1])
    if refused >= 1.0:
        many = int((negatives >= 1.0).sum())
        what = f"no threshold keeps it: {many} of {n} negatives have a score of 1"
        raise DataError("target_fpr", what, "look at them first: their labels may be wrong")
    threshold = between(refused, float(of.scores.min(initial=1.0, where=of.scores > refused)))
    found = _decision(of, threshold, "target_fpr", target, allowed)
    needed, few = needed_negatives(target), ""
    if found.effective < needed and found.fpr:
        worth = "" if found.effective == n else f", worth {found.effective:.0f} independent ones"
        few = (
            f"{n} negatives{worth} cannot support target_fpr {target:g}: the rate on new images may"
            f" be up to {found.fpr.high:.2g}; {needed} would keep it below twice the target"
        )
    return _with(found, _order_interval(negatives, target, found.effective), few)


def at_target_precision(
    scores: Array, labels: Array, target: float, *, clusters: Array | None = None
) -> ThresholdResult:
    """The threshold that finds the most positives while `target` of those called positive are.

    Args:
        scores: as for `at_threshold`; in [0, 1].
        labels: as there.
        target: above 0 and at most 1.
        clusters: as there.

    Raises:
        DataError: as there, or no threshold reaches the target.
        ConfigError: a target out of range.
    """
    if not 0 < target <= 1:
        raise ConfigError("target_precision", f"should be above 0 and at most 1, got {target}")
    of = _samples(scores, labels, clusters, "target_precision")
    falling = np.unique(of.scores)[::-1]
    rank = np.searchsorted(-falling, -of.scores)

    def counted(rows: Array) -> tuple[Array, Array]:
        """Of these rows, hits and those called positive at each threshold."""
        kinds = (of.truth[rows], None)
        hits, called = (np.bincount(rank[rows], kind, len(falling)).cumsum() for kind in kinds)
        return hits, called

    hits, called = counted(np.arange(len(rank)))
    place = _last_precise(hits, called, target)
    if place is None:
        what = f"no threshold reaches a precision of {target:g}"
        best = f"the best is {(hits / called).max():.4g}: lower the target, or train longer"
        raise DataError("target_precision", what, best)
    lower = float(falling[place + 1]) if place + 1 < len(falling) else 0.0
    found = _decision(of, between(lower, float(falling[place])), "target_precision", target)

    def again(rows: Array) -> float:
        at = _last_precise(*counted(rows), target)
        return 1.0 if at is None else float(falling[at])

    ends = intervals.bootstrap_interval(again, len(rank), clusters=clusters, repeats=_DRAWS)
    rate, needed, few = found.precision, needed_for_rate(target), ""
    count = found.counts.true_positives + found.counts.false_positives
    if rate and rate.value - rate.low > _ROOM and count < needed:
        few = (
            f"{count} images called positive cannot support target_precision {target:g}: the precision"
            f" on new ones may be as low as {rate.low:.2g}; {needed} would tell it to 5 points"
        )
    return _with(found, ends, few)


def expected_fpr(
    counts: Counts, new: int, *, allowed: int | None = None, effective: float | None = None
) -> Interval:
    """Where the false-positive rate counted on `new` negatives will lie, with 95 %.

    Args:
        counts: of the images that the threshold was chosen on.
        new: how many negatives the rate is counted on, 1 or more.
        allowed: false positives that the rule allowed; default: those counted.
        effective: independent negatives that those of `counts` are worth; `new` is discounted
            likewise. Default: all.

    Raises:
        DataError: no negatives, here or there.
    """
    if counts.negatives < 1 or new < 1:
        raise DataError("expected_fpr", "no negatives, so there is no false-positive rate")
    scale = 1.0 if effective is None else effective / counts.negatives
    n, m = counts.negatives * scale, max(1, round(new * scale))
    low = counts.false_positives * scale
    high = (counts.false_positives if allowed is None else allowed) * scale
    least = distributions.beta_binomial_quantile(_TAIL, m, low, n - low + 1)
    most = distributions.beta_binomial_quantile(1 - _TAIL, m, high + 1, n - high)
    return Interval(least / m, most / m)


@lru_cache(maxsize=64)
def needed_negatives(target: float) -> int:
    """Fewest negatives with which the interval of the rate ends at twice `target` or below."""
    k, end = 1, min(2 * target, 1.0)
    while distributions.beta_quantile(1 - _TAIL, k + 1, math.ceil(k / target) - k) > end:
        k += 1
    return math.ceil(k / target)


def needed_for_rate(rate: float) -> int:
    """Images with which a rate about `rate` is known to 5 points either way."""
    return math.ceil(max(rate * (1 - rate), _ROOM * (1 - _ROOM)) * (1.96 / _ROOM) ** 2)


def between(low: float, high: float) -> float:
    """A threshold above `low` and not above `high`: near the middle, with as few digits as serve."""
    middle, room = (low + high) / 2, (high - low) / 4
    # Where nothing lies between neighbours in the scores' own precision, the upper one as it is.
    rest = middle if low < np.float32(middle) < high else high
    rounded = (round(middle, digits) for digits in range(1, 9))
    return next((value for value in rounded if abs(value - middle) <= room), rest)


def _allowed(target: float, n: int) -> int:
    """Most false positives that make a rate of at most `target`; 0.29 * 100 is 28.999999999999996."""
    near = round(target * n)
    return near if near / n <= target else near - 1


class _Samples(NamedTuple):
    """(N,) each: scores of the positive class, whether it is positive, and clusters; None: none."""

    scores: Array
    truth: Array
    clusters: Array | None

    def worth(self, among: Array, hit: Array) -> float:
        """Effective number of the samples `among` (N,) bool, of which those in `hit` count."""
        if self.clusters is None or not among.any():
            return float(among.sum())
        return intervals.effective_number(hit[among], self.clusters[among])


def _samples(scores: Array, labels: Array, clusters: Array | None, where: str) -> _Samples:
    values, truth = binary_columns(scores, labels, where)
    if clusters is not None and len(clusters) != len(values):
        raise DataError("clusters", f"{len(clusters)} ids for {len(values)} samples")
    return _Samples(values, truth, clusters)


def _decision(
    of: _Samples, threshold: float, rule: Rule, target: float | None, allowed: int | None = None
) -> ThresholdResult:
    hit, truth = of.scores >= threshold, of.truth
    tp, fp = int((hit & truth).sum()), int((hit & ~truth).sum())
    counts = Counts(int(truth.sum()), int((~truth).sum()), tp, fp)
    limit = fp if allowed is None else allowed
    effective = of.worth(~truth, hit)
    fpr = _rate(fp, counts.negatives, effective)
    if fpr and limit > fp:  # ties kept the threshold from using up what the rule allows
        share = limit / counts.negatives
        fpr = fpr._replace(high=exact_interval(share * effective, effective).high)
    tpr = _rate(tp, counts.positives, of.worth(truth, hit))
    absent = [kind for kind in ("negatives", "positives") if not getattr(counts, kind)]
    unknown = f"among the {len(hit)} images, so nothing is known about their share"
    warnings = [f"no {kind} {unknown}" for kind in absent]
    if tpr and tpr.high - tpr.low > 4 * _ROOM:
        warnings.append(
            f"{counts.positives} positives tell little: the share of them that is found may be anywhere"
            f" from {tpr.low:.2g} to {tpr.high:.2g}; {needed_for_rate(tpr.value)} would tell it to 5 points"
        )
    rates = (fpr, tpr, _rate(tp, tp + fp, of.worth(hit, truth)))
    return ThresholdResult(
        threshold, rule, target, None, counts, limit, effective, *rates, tuple(warnings)
    )


def _with(found: ThresholdResult, ends: Interval, few: str) -> ThresholdResult:
    """The result with the interval of its threshold, and what is too little of the data."""
    ends = Interval(min(ends.low, found.threshold), max(ends.high, found.threshold))
    return found._replace(interval=ends, warnings=(*filter(None, [few]), *found.warnings))


def _rate(hits: int, total: int, effective: float) -> Rate | None:
    share = hits / max(total, 1)
    return Rate(share, *exact_interval(share * effective, effective)) if total else None


def _order_interval(negatives: Array, target: float, effective: float) -> Interval:
    """95 % for the threshold whose rate is `target`; the ends of [0, 1] where the sample has none."""
    n, worth = len(negatives), max(1, round(effective))
    scale = n / worth
    beyond = math.ceil(distributions.binomial_quantile(1 - _TAIL, worth, target) * scale)
    within = math.floor(distributions.binomial_quantile(_TAIL, worth, target) * scale)
    low = float(negatives[n - beyond - 1]) if beyond < n else 0.0
    return Interval(low, float(negatives[n - within]) if within > 0 else 1.0)


def _last_precise(hits: Array, called: Array, target: float) -> int | None:
    """The last place where enough of those called are hits; rates of nothing do not count."""
    enough = np.flatnonzero((called > 0) & (hits > 0) & (hits >= target * called * (1 - 1e-12)))
    return int(enough[-1]) if len(enough) else None
