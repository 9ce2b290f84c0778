"""Operating point and area: hand-worked, by brute force, and with scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tinysight.errors import DataError
from tinysight.metrics.binary import precision_recall_curve, roc_auc, roc_curve, tpr_at_fpr

SCORES, LABELS = np.array([0.9, 0.6, 0.7, 0.1]), np.array([1, 1, 0, 0])


@pytest.mark.parametrize(
    ("max_fpr", "expected"),
    [
        (0.0, (0.5, 0.0, 0.9)),  # only the 0.9 lies above every negative
        (0.49, (0.5, 0.0, 0.9)),
        (0.5, (1.0, 0.5, 0.6)),  # letting one negative of two in finds both positives
        (1.0, (1.0, 1.0, 0.1)),  # the lowest threshold among the best
    ],
)
def test_operating_point_by_hand(max_fpr: float, expected: tuple[float, float, float]) -> None:
    point = tpr_at_fpr(SCORES, LABELS, max_fpr)
    assert list(point) == ["tpr", "fpr", "threshold"]  # the first picks the best epoch
    assert tuple(point.values()) == pytest.approx(expected)


def test_limit_is_inclusive_and_counted_exactly() -> None:
    scores = np.concatenate([np.linspace(0, 0.5, 1000), [0.499999]])
    labels = np.array([0] * 1000 + [1])
    for grid in (None, 1_000_000):
        point = tpr_at_fpr(scores, labels, 1e-3, grid=grid)  # one of a thousand lies above
        assert point["tpr"] == 1
        assert point["fpr"] == 1e-3


def test_tied_scores_stand_or_fall_together() -> None:
    scores, labels = np.array([0.5, 0.5, 0.5, 0.2]), np.array([1, 1, 0, 0])
    assert tpr_at_fpr(scores, labels, 0.4)["tpr"] == 0
    assert tpr_at_fpr(scores, labels, 0.5)["tpr"] == 1


def test_nothing_found_leaves_a_finite_threshold_above_every_score() -> None:
    for labels in ([0, 1], [0, 0]):
        for grid in (None, 10):
            for dtype in (np.float16, np.float32, np.float64):
                scores = np.array([0.9, 0.1], dtype)
                point = tpr_at_fpr(scores, np.array(labels), 0.0, grid=grid)
                assert (point["tpr"], point["fpr"]) == (0, 0)
                assert not (scores >= point["threshold"]).any()
                assert point["threshold"] < 0.91


def test_no_negatives() -> None:
    with pytest.raises(DataError, match="no negatives"):
        tpr_at_fpr(np.array([0.9, 0.1]), np.array([1, 1]), 0.1)
    point = tpr_at_fpr(np.array([0.9, 0.0]), np.array([1, 1]), 0.1, grid=10_000)
    assert point == {"tpr": 0.5, "fpr": 0.0, "threshold": 0.0}  # 0 does not exceed 0


def test_column_one_and_any_label_but_zero() -> None:
    table = np.stack([1 - SCORES, SCORES, np.zeros(4)], axis=1)
    assert tpr_at_fpr(table, LABELS * 2, 0.5) == tpr_at_fpr(SCORES, LABELS, 0.5)
    assert roc_auc(table, LABELS * 2) == roc_auc(SCORES, LABELS)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 40),
    max_fpr=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    coarse=st.booleans(),
)
def test_sweeps_against_brute_force(seed: int, n: int, max_fpr: float, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, 11, n) / 10 if coarse else rng.random(n)).astype(np.float32)
    labels = rng.integers(0, 2, n)
    labels[0] = 0

    def rates(called: np.ndarray) -> tuple[float, float]:
        return called[labels == 1].sum() / max((labels == 1).sum(), 1), called[labels == 0].mean()

    exact = [rates(scores >= t) for t in np.unique(scores)]
    point = tpr_at_fpr(scores, labels, max_fpr)
    assert point["tpr"] == max((tpr for tpr, fpr in exact if fpr <= max_fpr), default=0)
    assert rates(scores >= point["threshold"]) == (point["tpr"], point["fpr"])

    steps = [rates(scores > np.float32(i / 100)) for i in range(100)]
    coarse_point = tpr_at_fpr(scores, labels, max_fpr, grid=100)
    best = max((tpr for tpr, fpr in steps if fpr <= max_fpr), default=0)
    assert coarse_point["tpr"] == best <= point["tpr"]
    if best:
        first = next(i for i, (tpr, fpr) in enumerate(steps) if fpr <= max_fpr and tpr == best)
        assert coarse_point["threshold"] == first / 100
        assert coarse_point["fpr"] == steps[first][1]


def test_a_million_samples() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random(1_000_000), rng.integers(0, 2, 1_000_000)
    point = tpr_at_fpr(scores, labels, 0.1)
    assert point["tpr"] == pytest.approx(0.1, abs=0.01)
    assert roc_auc(scores, labels)["roc_auc"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], 0.75),
        ([0.5, 0.5], [0, 1], 0.5),  # a tie counts half
        ([0.1, 0.9], [1, 0], 0.0),
        ([0.3, 0.5, 0.5], [0, 0, 1], 0.75),
    ],
)
def test_area_by_hand(scores: list[float], labels: list[int], expected: float) -> None:
    assert roc_auc(np.array(scores), np.array(labels)) == {"roc_auc": expected}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 50))
def test_area_is_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 8, n) / 8, rng.integers(0, 2, n)
    labels[:2] = 0, 1
    assert roc_auc(scores, labels)["roc_auc"] == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize(
    ("scores", "labels", "what"),
    [
        ([[0.1], [0.2]], [0, 1], "K from 2"),
        ([], [], "no samples"),
        ([0.1, np.nan], [0, 1], "NaN"),
        ([0.1, 0.2], [0], "labels of shape"),
        ([0.1, 0.2], [0.0, 1.0], "whole numbers"),
    ],
)
@pytest.mark.parametrize("metric", [tpr_at_fpr, roc_auc])
def test_refused(metric: object, scores: list[float], labels: list[int], what: str) -> None:
    with pytest.raises(DataError, match=what):
        metric(np.array(scores), np.array(labels))  # type: ignore[operator]


def test_area_needs_both_classes() -> None:
    with pytest.raises(DataError, match="2 positives, 0 negatives"):
        roc_auc(np.array([0.1, 0.2]), np.array([1, 1]))


def test_roc_curve_by_hand_and_against_its_area() -> None:
    scores, labels = np.array([0.9, 0.6, 0.7, 0.1, 0.6]), np.array([1, 1, 0, 0, 0])
    fpr, tpr, thresholds = roc_curve(scores, labels)
    assert thresholds.tolist() == [np.inf, 0.9, 0.7, 0.6, 0.1]
    assert tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    assert fpr.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    assert area == pytest.approx(roc_auc(scores, labels)["roc_auc"])


def test_precision_recall_by_hand() -> None:
    curve = precision_recall_curve(np.array([0.9, 0.7, 0.7, 0.2]), np.array([1, 0, 1, 0]))
    expected = ([1, 2 / 3, 1 / 2], [0.5, 1, 1], [0.9, 0.7, 0.2])
    for ours, known in zip(curve, expected, strict=True):
        assert ours.tolist() == pytest.approx(known)
    with pytest.raises(DataError, match="no positives"):
        precision_recall_curve(np.array([0.5]), np.array([0]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.booleans()), min_size=1))
def test_precision_recall_as_in_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([s for s, _ in rows]), np.array([int(y) for _, y in rows])
    assume(labels.any())
    curve = precision_recall_curve(scores, labels)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve[0], precision[-2::-1])
    np.testing.assert_allclose(curve[1], recall[-2::-1])
    np.testing.assert_array_equal(curve[2], thresholds[::-1])
