"""Quantiles beside SciPy's, and where the answer is known without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tinysight.metrics.distributions import (
    beta_binomial_quantile,
    beta_cdf,
    beta_quantile,
    binomial_quantile,
)

SHARES = st.sampled_from([0.001, 0.025, 0.5, 0.975])
SHAPES = st.floats(-1, 5).map(lambda x: 10.0**x)


@given(SHARES, SHAPES, SHAPES)
def test_beta_as_scipy(share: float, a: float, b: float) -> None:
    expected = float(stats.beta.ppf(share, a, b))
    assert beta_quantile(share, a, b) == pytest.approx(expected, rel=1e-6, abs=1e-200)
    assert beta_cdf(expected, a, b) == pytest.approx(
        float(stats.beta.cdf(expected, a, b)), abs=1e-8
    )


@given(SHARES, st.integers(0, 20_000), st.floats(-5, 0).map(lambda x: 10.0**x))
def test_binomial_as_scipy(share: float, total: int, chance: float) -> None:
    assert binomial_quantile(share, total, chance) == stats.binom.ppf(share, total, chance)


@given(
    SHARES.filter(lambda s: s != 0.5), st.integers(1, 400), st.integers(1, 60), st.integers(1, 5000)
)
def test_beta_binomial_as_scipy(share: float, total: int, a: int, b: int) -> None:
    found = beta_binomial_quantile(share, total, a, b)
    # SciPy's own distribution function decides, but for its rounding: (k + 1) / 200 may be 0.025 exactly.
    assert stats.betabinom.cdf(found, total, a, b) >= share - 1e-9
    assert found == 0 or stats.betabinom.cdf(found - 1, total, a, b) < share + 1e-9


def test_by_hand() -> None:
    assert beta_quantile(0.5, 1, 1) == pytest.approx(0.5)
    assert beta_quantile(0.95, 1, 10) == pytest.approx(1 - 0.05**0.1)  # none of ten
    assert (beta_quantile(0.3, 0, 5), beta_quantile(0.3, 5, 0)) == (0.0, 1.0)
    assert (beta_cdf(-1, 2, 3), beta_cdf(2, 2, 3)) == (0.0, 1.0)
    assert beta_binomial_quantile(0.5, 9, 1, 1) == 4  # uniform on 0 to 9
    assert (beta_binomial_quantile(0.5, 9, 0, 1), beta_binomial_quantile(0.5, 9, 1, 0)) == (0, 9)
    assert beta_binomial_quantile(0.5, 0, 1, 1) == 0
