"""Whether two measurements differ, or what is seen is noise: of the same images, or of several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinysight.metrics.checks import Array
from tinysight.metrics.distributions import beta_cdf, beta_quantile
from tinysight.metrics.intervals import Interval, wilson_interval

_ROUNDS = 3999  # random signs of a permutation test
_CHUNK = 4_000_000  # signs at a time


class MeanDifference(NamedTuple):
    """A difference of two means, second minus first.

    Attributes:
        number: images, or runs of both sides.
        value: the difference.
        interval: 95 %.
        p: probability of one at least as large where there is none in truth.
    """

    number: int
    value: float
    interval: Interval
    p: float


def t_quantile(share: float, freedom: float) -> float:
    """The x with P(X <= x) = `share`, at least 1/2, for Student's t with `freedom` degrees above 0."""
    x = beta_quantile(2 * (1 - share), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's interval of the mean of at least two independent values; None of fewer."""
    if len(values) < 2:
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = t_quantile(0.5 + confidence / 2, len(values) - 1) * spread
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def welch_test(first: Sequence[float], second: Sequence[float]) -> MeanDifference:
    """Means of two groups of independent values with spreads of their own, at least two each.

    Source: B. L. Welch, Biometrika 34 (1947), 28-35.
    """
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    value, count = float(np.mean(second) - np.mean(first)), len(first) + len(second)
    if not (error := sum(parts)):
        return MeanDifference(count, value, Interval(value, value), float(value == 0))
    sizes = zip(parts, (len(first), len(second)), strict=True)
    freedom = error**2 / sum(part**2 / (size - 1) for part, size in sizes)
    half = t_quantile(0.975, freedom) * math.sqrt(error)
    p = beta_cdf(freedom / (freedom + value**2 / error), freedom / 2, 0.5)
    return MeanDifference(count, value, Interval(value - half, value + half), p)


def paired_test(first: Array, second: Array) -> MeanDifference:
    """Two networks on the same images, independent of each other.

    Right or wrong: McNemar's exact test, and Newcombe's interval. Other values: random signs of the differences, and
    Student's interval.

    Args:
        first: what each image gives, (N,), N at least 1.
        second: the same of the other network.

    Source: Q. McNemar, Psychometrika 12 (1947), 153-157; R. G. Newcombe, Statist. Med. 17 (1998), 2635-2650, method
    10; R. A. Fisher, The Design of Experiments (1935), section 21.
    """
    gaps = np.asarray(second, np.float64) - first
    value, count = float(gaps.mean()), len(gaps)
    if set(np.unique([first, second])) <= {0.0, 1.0}:
        lost, won = int((gaps < 0).sum()), int((gaps > 0).sum())
        few = min(lost, won)
        p = 1.0 if lost == won else min(1.0, 2 * beta_cdf(0.5, lost + won - few, few + 1))
        return MeanDifference(count, value, _newcombe(np.asarray(first), np.asarray(second)), p)
    rng, as_large = np.random.default_rng(0), 1
    chunk = max(1, _CHUNK // count)
    for done in range(0, _ROUNDS, chunk):
        signs = rng.integers(0, 2, (min(chunk, _ROUNDS - done), count), np.int8) * 2.0 - 1
        as_large += int((np.abs(signs @ gaps) >= abs(gaps.sum()) * (1 - 1e-9)).sum())
    interval = mean_interval(gaps.tolist()) or Interval(-1.0, 1.0)
    return MeanDifference(count, value, interval, as_large / (_ROUNDS + 1))


def _newcombe(first: Array, second: Array) -> Interval:
    n, (a, b) = len(first), (int(first.sum()), int(second.sum()))
    both = int((first * second).sum())
    cross = both * (n - a - b + both) - (a - both) * (b - both)
    scale = math.sqrt(a * (n - a) * b * (n - b))
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / scale if scale else 0.0
    ends, shares = [wilson_interval(k, n) for k in (a, b)], (a / n, b / n)
    (down1, up1), (down2, up2) = (
        (share - end.low, end.high - share) for share, end in zip(shares, ends, strict=True)
    )
    value = shares[1] - shares[0]
    low = math.sqrt(max(down2**2 - 2 * phi * down2 * up1 + up1**2, 0.0))
    high = math.sqrt(max(down1**2 - 2 * phi * down1 * up2 + up2**2, 0.0))
    return Interval(value - low, value + high)


def holm(values: Sequence[float]) -> list[float]:
    """Probabilities of several tests at once, so that 0.05 is the risk of any false finding among them.

    Source: S. Holm, Scand. J. Statist. 6 (1979), 65-70.
    """
    found, worst = [0.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        worst = max(worst, min(1.0, values[at] * (len(values) - rank)))
        found[at] = worst
    return found
