from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tinysight.metrics.paired import holm, mean_interval, paired_test, t_quantile, welch_test


@pytest.mark.parametrize("freedom", [1, 2, 4.5, 30, 1000])
def test_quantiles_of_student(freedom: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_the_interval_of_a_mean_by_hand() -> None:
    """Mean 2, standard deviation 1, three values: 2 +- 4.303 / sqrt(3)."""
    found = mean_interval([1, 2, 3])
    assert found
    assert found == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert mean_interval([1.0]) is None


def test_welch_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5).tolist(), rng.normal(1, 2, 4).tolist()
    found, peer = welch_test(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(peer.pvalue)
    assert found.interval == pytest.approx(tuple(peer.confidence_interval()))
    assert welch_test([1.0, 1.0], [1.0, 1.0]).p == 1
    assert welch_test([1.0, 1.0], [2.0, 2.0]).p == 0


def test_right_or_wrong_by_hand() -> None:
    """Of ten images on which two networks differ the second is right on nine: p = 2 * (1 + 10) / 2 ** 10."""
    first = np.array([1.0] + [0.0] * 9 + [1.0] * 30 + [0.0] * 10)
    second = np.array([0.0] + [1.0] * 9 + [1.0] * 30 + [0.0] * 10)
    found = paired_test(first, second)
    assert (found.number, found.value) == (50, pytest.approx(8 / 50))
    assert found.p == pytest.approx(22 / 1024)
    assert 0 < found.interval.low < found.value < found.interval.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_two_networks_may_be_swapped(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs, float).T
    one, other = paired_test(first, second), paired_test(second, first)
    lost, won = int((first > second).sum()), int((first < second).sum())
    peer = stats.binomtest(won, lost + won).pvalue if lost + won else 1.0
    assert one.p == pytest.approx(peer)
    assert one.p == pytest.approx(other.p)
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert one.interval.low - 1e-12 <= one.value <= one.interval.high + 1e-12


def test_the_interval_covers_the_true_difference() -> None:
    """Correlated networks, right on 0.8 and 0.7 of all images: 95 of 100 intervals of 80 images hold 0.1."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(400):
        shared = rng.random(80) < 0.5
        draws = rng.random((2, 80))
        draws[1][shared] = draws[0][shared]
        found = paired_test((draws[0] < 0.7) * 1.0, (draws[1] < 0.8) * 1.0)
        inside += found.interval.low <= 0.1 <= found.interval.high
    assert 0.92 <= inside / 400 <= 0.985


def test_other_values_against_every_choice_of_signs() -> None:
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.3, 1, 12)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 12)).reshape(12, -1)
    exact = float((np.abs(signs.T @ gaps) >= abs(gaps.sum()) - 1e-12).mean())
    found = paired_test(np.zeros(12), gaps)
    assert found.p == pytest.approx(exact, abs=0.03)
    assert found.interval == pytest.approx(tuple(stats.ttest_1samp(gaps, 0).confidence_interval()))


def test_holm_by_hand() -> None:
    """Smallest times 3, next times 2, never below one before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
