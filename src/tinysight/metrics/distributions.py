"""Quantiles of the beta, binomial and beta-binomial distributions, without SciPy.

A few microseconds to milliseconds each: they are asked for a handful of times a run.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import numpy as np

_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) for X ~ Beta(a, b), the regularised incomplete beta function.

    Args:
        x: in [0, 1].
        a: above 0; need not be whole.
        b: above 0.

    Source: the continued fraction of Abramowitz & Stegun 26.5.8, evaluated by Lentz's method.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):  # there the mirrored fraction converges, and quickly
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    if front < -745.0:
        return 0.0
    return min(math.exp(front) / a * _fraction(x, a, b), 1.0)


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    value = d = 1.0 / (d if abs(d) > _TINY else _TINY)
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return value


@lru_cache(maxsize=1024)  # the same few numbers are asked for again and again
def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with P(X <= x) = `share` for X ~ Beta(a, b); a = 0 gives 0 and b = 0 gives 1."""
    if a <= 0.0 or b <= 0.0:
        return float(a > 0.0)
    low, high = 0.0, 1.0
    while high - low > 1e-10 * high + 1e-300:
        # Small answers by their exponent, so that 1e-9 takes no more halvings than 0.5.
        middle = math.sqrt(low * high) if 0.0 < low < high / 4 else (low + high) / 2
        if middle in (low, high):
            break
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return high


def binomial_quantile(share: float, total: int, chance: float) -> int:
    """The smallest k with P(X <= k) >= `share` for X ~ Binomial(total, chance)."""
    chances = range(total)
    return bisect_left(chances, share, key=lambda k: 1.0 - beta_cdf(chance, k + 1, total - k))


def beta_binomial_quantile(share: float, total: int, a: float, b: float) -> int:
    """The smallest k with P(X <= k) >= `share`, X ~ Binomial(total, p) and p ~ Beta(a, b).

    a = 0 gives 0, b = 0 gives `total`.
    """
    if min(a, b, total) <= 0:
        return total if a > 0 else 0
    k = np.arange(total, dtype=np.float64)
    steps = np.log((total - k) * (k + a)) - np.log((k + 1) * (total - k - 1 + b))
    first = _log_beta(a, total + b) - _log_beta(a, b)
    # Scaled to a sum of 1, which lgamma misses by rounding where a and b are in the millions.
    logs = np.concatenate([[first], first + np.cumsum(steps)])
    cumulated = np.cumsum(np.exp(logs - logs.max()))
    return int(np.searchsorted(cumulated, share * cumulated[-1] * (1 - 1e-12)))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
