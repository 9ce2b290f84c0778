"""The threshold is the right one, and what it promises holds on images that it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tinysight.errors import ConfigError, DataError
from tinysight.metrics.binary import tpr_at_fpr
from tinysight.metrics.intervals import effective_number
from tinysight.metrics.operating_point import (
    Counts,
    at_target_fpr,
    at_target_precision,
    at_threshold,
    between,
    expected_fpr,
    needed_for_rate,
    needed_negatives,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]

# Negatives as networks score them: heaped at 0 with a long tail, saturated, quantised, nearly all equal.
SCORES: dict[str, Draw] = {
    "heaped at 0": lambda rng, n: rng.beta(0.3, 8, n).astype(np.float32),
    "softmax": lambda rng, n: (1 / (1 + np.exp(-rng.normal(-4, 2.5, n)))).astype(np.float32),
    "int8 steps": lambda rng, n: np.round(rng.beta(0.5, 5, n) * 127) / 127,
    "two decimals": lambda rng, n: rng.beta(0.5, 6, n).round(2),
    "ten values": lambda rng, n: rng.beta(0.7, 3, n).round(1),
    "two heaps": lambda rng, n: np.where(rng.random(n) < 0.03, 0.999, rng.beta(0.3, 8, n).round(3)),
}


def with_positives(
    rng: np.random.Generator, draw: Draw, negatives: int, positives: int
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate([draw(rng, negatives), 1 - draw(rng, positives) * 0.9])
    return scores, np.repeat([0, 1], [negatives, positives])


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("negatives", "positives", "held_out", "target"),
    [
        (2000, 40, 2000, 0.01),
        (5000, 25, 1500, 1e-3),  # heavy imbalance
        (120, 120, 900, 0.05),
        (60, 60, 400, 0.01),  # fewer negatives than one in a hundred needs
        (300, 30, 40, 0.1),
    ],
)
def test_100_splits(
    name: str, negatives: int, positives: int, held_out: int, target: float
) -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        chosen = at_target_fpr(*with_positives(rng, SCORES[name], negatives, positives), target)
        realised = (SCORES[name](rng, held_out) >= chosen.threshold).mean()
        stated = expected_fpr(chosen.counts, held_out, allowed=chosen.allowed)
        inside += stated.low <= realised <= stated.high
    assert inside >= 93


@settings(derandomize=True, max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(SCORES)),
    st.integers(10, 1000),
    st.integers(0, 60),
    st.integers(1, 1500),
    st.floats(-3, -0.5).map(lambda x: 10.0**x),
    st.integers(0, 2**32),
)
def test_coverage(
    name: str, negatives: int, positives: int, held_out: int, target: float, seed: int
) -> None:
    """In the long run at least 95 %; of 200 splits fewer than 179 with a chance below 1 in 2,000."""
    rng = np.random.default_rng(seed)
    inside = 0
    for _ in range(200):
        chosen = at_target_fpr(*with_positives(rng, SCORES[name], negatives, positives), target)
        realised = (SCORES[name](rng, held_out) >= chosen.threshold).mean()
        stated = expected_fpr(chosen.counts, held_out, allowed=chosen.allowed)
        inside += stated.low <= realised <= stated.high
    assert stats.binom.cdf(178, 200, 0.95) < 1 / 2000
    assert inside > 178


@pytest.mark.parametrize("target", [0.3, 0.02, 1e-3])
def test_the_long_run_rates_and_the_threshold_lie_inside(target: float) -> None:
    """Against the distribution itself: normal logits, so true rates and the true threshold are known."""
    rng = np.random.default_rng(3)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    best = sigmoid(stats.norm.isf(target))
    inside = np.zeros(3)
    for _ in range(200):
        logits = np.concatenate([rng.normal(0, 1, 900), rng.normal(2, 1, 150)])
        found = at_target_fpr(sigmoid(logits), np.repeat([0, 1], [900, 150]), target)
        cut = np.log(found.threshold / (1 - found.threshold))
        assert found.fpr and found.tpr and found.interval
        inside += (
            found.fpr.low <= stats.norm.sf(cut) <= found.fpr.high,
            found.tpr.low <= stats.norm.sf(cut, 2) <= found.tpr.high,
            found.interval.low <= best <= found.interval.high,
        )
    assert (inside >= 0.93 * 200).all(), inside


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_long_run_precision_lies_inside(target: float) -> None:
    rng = np.random.default_rng(4)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    inside = np.zeros(3)
    for _ in range(200):
        logits = np.concatenate([rng.normal(0, 1, 600), rng.normal(3, 1, 100)])
        found = at_target_precision(sigmoid(logits), np.repeat([0, 1], [600, 100]), target)
        cut = np.log(found.threshold / (1 - found.threshold))
        fpr, tpr = stats.norm.sf(cut), stats.norm.sf(cut, 3)
        assert found.fpr and found.tpr and found.precision
        inside += (
            found.precision.low <= 100 * tpr / (100 * tpr + 600 * fpr) <= found.precision.high,
            found.tpr.low <= tpr <= found.tpr.high,
            found.fpr.low <= fpr <= found.fpr.high,
        )
    assert (inside >= 0.93 * 200).all(), inside


def test_target_fpr_by_hand() -> None:
    """Ten negatives at 0.0 ... 0.9, positives between them: two may pass, so 0.8 and 0.9 do."""
    scores = np.array([*np.arange(10) / 10, 0.72, 0.85, 0.95, 0.1])
    labels = np.array([0] * 10 + [1] * 4)
    found = at_target_fpr(scores, labels, 0.2)
    assert 0.7 < found.threshold <= 0.72
    assert found.counts == Counts(4, 10, 3, 2)
    assert found.fpr and found.fpr.value == 0.2
    assert (found.fpr.low, found.fpr.high) == pytest.approx(
        (stats.beta.ppf(0.025, 2, 9), stats.beta.ppf(0.975, 3, 8))
    )
    assert found.tpr and found.tpr.value == 0.75
    assert found.precision and found.precision.value == 0.6
    assert found.allowed == 2
    # Of ten at a rate of 0.2 there are 0 to 5 in 95 %: no upper end, and the sixth highest below.
    assert found.interval == (0.4, 1.0)


def test_ties_are_all_in_or_all_out() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.5, 0.9, 0.9])
    labels = np.array([0, 0, 0, 0, 0, 1])
    found = at_target_fpr(scores, labels, 0.6)  # three might pass, but the 0.5 are three more
    assert found.counts == Counts(1, 5, 1, 1)
    assert found.allowed == 3
    assert 0.5 < found.threshold < 0.9
    assert found.fpr and found.fpr.high == pytest.approx(stats.beta.ppf(0.975, 4, 2))


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=40),
    st.sampled_from([0.01, 0.1, 0.25, 0.29, 0.5]),
)
def test_the_same_images_as_the_metric(pairs: list[tuple[int, int]], target: float) -> None:
    scores, labels = np.array([s for s, _ in pairs]) / 13, np.array([y for _, y in pairs])
    if labels.all():
        with pytest.raises(DataError, match="no negatives"):
            at_target_fpr(scores, labels, target)
        return
    found, metric = at_target_fpr(scores, labels, target), tpr_at_fpr(scores, labels, target)
    assert found.fpr and found.fpr.value <= target
    if metric["tpr"]:
        assert found.tpr and found.tpr.value == metric["tpr"]
        assert found.fpr.value == metric["fpr"]


def test_target_precision_by_hand() -> None:
    """Falling: 1 1 0 1 0 0 1; precision 1, 1, .67, .75, .6, .5, .57."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    labels = np.array([1, 1, 0, 1, 0, 0, 1])
    found = at_target_precision(scores, labels, 0.75)
    assert 0.5 < found.threshold < 0.6
    assert found.counts == Counts(4, 3, 3, 1)
    assert found.precision and found.precision.value == 0.75
    assert at_target_precision(scores, labels, 1.0).counts == Counts(4, 3, 2, 0)
    assert at_target_precision(scores, labels, 0.5).counts == Counts(4, 3, 4, 3)
    with pytest.raises(DataError, match=r"no threshold reaches.*the best is 0\.5"):
        at_target_precision(np.array([0.9, 0.1]), np.array([0, 1]), 0.9)


def test_no_threshold_lies_above_1() -> None:
    scores, labels = np.array([1.0, 1.0, 0.2, 1.0]), np.array([0, 0, 0, 1])
    with pytest.raises(DataError, match="2 of 3 negatives have a score of 1; look at them"):
        at_target_fpr(scores, labels, 0.1)
    assert at_target_fpr(scores, labels, 0.7).counts.false_positives == 2


def test_a_given_threshold_includes_its_equals() -> None:
    found = at_threshold(np.array([0.2, 0.5, 0.5, 0.7]), np.array([0, 0, 1, 1]), 0.5)
    assert found.counts == Counts(2, 2, 2, 1)
    assert (found.interval, found.target, found.rule) == (None, None, "threshold")


def test_warnings_say_how_many_are_needed() -> None:
    assert needed_negatives(0.01) == 800
    assert needed_negatives(1e-4) == 80_000
    k = 8
    assert stats.beta.ppf(0.975, k + 1, 800 - k) <= 0.02 < stats.beta.ppf(0.975, k, 700 - k + 1)
    assert needed_for_rate(0.9) == 139
    rng = np.random.default_rng(0)
    scores, labels = with_positives(rng, SCORES["softmax"], 200, 400)
    few = at_target_fpr(scores, labels, 1e-3)
    (warning,) = few.warnings
    assert "200 negatives cannot support target_fpr 0.001" in warning
    assert "8000 would keep it below twice the target" in warning
    assert few.counts.false_positives == 0
    assert at_target_fpr(scores, labels, 0.2).warnings == ()
    (warning,) = at_target_fpr(scores[:210], labels[:210], 0.2).warnings
    assert warning.startswith("10 positives tell little")
    assert (
        "called positive cannot support"
        in at_target_precision(scores[:220], labels[:220], 0.9).warnings[0]
    )
    (warning,) = at_threshold(scores[:200], labels[:200], 0.5).warnings
    assert warning.startswith("no positives among the 200")


def test_a_new_sample_is_less_certain_than_the_long_run() -> None:
    counts = Counts(0, 1000, 0, 10)
    assert expected_fpr(counts, 10**6).high == pytest.approx(
        stats.beta.ppf(0.975, 11, 990), rel=1e-3
    )
    assert expected_fpr(counts, 100).high == stats.betabinom.ppf(0.975, 100, 11, 990) / 100
    assert expected_fpr(counts, 100).low == 0.0
    with pytest.raises(DataError, match="no negatives"):
        expected_fpr(counts, 0)


def test_clusters_count_for_less() -> None:
    """Every negative three times over is worth no more than once."""
    rng = np.random.default_rng(5)
    scores, labels = with_positives(rng, SCORES["softmax"], 500, 50)
    ids = np.arange(550)
    one = at_target_fpr(scores, labels, 0.05)
    three = at_target_fpr(np.tile(scores, 3), np.tile(labels, 3), 0.05, clusters=np.tile(ids, 3))
    assert three.threshold == one.threshold
    assert three.effective == pytest.approx(500, rel=0.01)
    assert three.fpr and one.fpr and three.fpr == pytest.approx(one.fpr, rel=0.05)
    assert effective_number(np.array([True, False]), np.array([0, 1])) == 2
    assert effective_number(np.array([False] * 6), np.array([0, 0, 0, 1, 1, 1])) == 2
    with pytest.raises(DataError, match="3 ids for 550 samples"):
        at_target_fpr(scores, labels, 0.05, clusters=ids[:3])


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_between_separates_also_in_float32(a: float, b: float) -> None:
    low, high = sorted((np.float32(a), np.float32(b)))
    if low < high:
        assert low < np.float32(between(float(low), float(high))) <= high


def test_between_is_short_where_there_is_room() -> None:
    assert between(0.1, 0.9) == 0.5
    assert between(0.8712, 0.8799) == 0.876
    assert between(0.0, 1.0) == 0.5


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 2.0])
def test_targets_out_of_range(target: float) -> None:
    with pytest.raises(ConfigError, match="target_fpr: should be between 0 and 1"):
        at_target_fpr(np.array([0.1, 0.2]), np.array([0, 1]), target)
    if target != 1.0:
        with pytest.raises(ConfigError, match="target_precision: should be above 0"):
            at_target_precision(np.array([0.1, 0.2]), np.array([0, 1]), target)
