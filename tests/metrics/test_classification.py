"""One of K: hand-worked cases with ties and uneven classes, and scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from tinysight.errors import DataError
from tinysight.metrics.classification import accuracy, class_report, confusion_matrix, topk
from tinysight.registry import metrics

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
LABELS = np.array([1, 2, 1, 1])


def test_topk_by_hand() -> None:
    # Ranks of the labels: 0, 2, 1, and 1, since the tie goes to the lower id.
    assert topk(SCORES, LABELS, (1, 2, 3, 9)) == {"top1": 0.25, "top2": 0.75, "top3": 1, "top9": 1}
    assert topk(SCORES, np.array([1, 2, 1, 0]))["top1"] == 0.5


def test_all_equal_scores_count_the_lowest_ids() -> None:
    scores, labels = np.zeros((4, 4)), np.arange(4)
    assert topk(scores, labels, (1, 2)) == {"top1": 0.25, "top2": 0.5}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), k=st.integers(1, 6))
def test_topk_is_a_stable_sort(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, k)).astype(np.float32)  # many ties
    labels = rng.integers(0, k, n)
    order = np.argsort(-scores, axis=1, kind="stable")
    for top in range(1, k + 2):
        expected = (order[:, :top] == labels[:, None]).any(axis=1).mean()
        assert topk(scores, labels, (top,)) == {f"top{top}": pytest.approx(expected)}
    assert accuracy(scores, labels)["accuracy"] == topk(scores, labels)["top1"]


def test_confusion_matrix_by_hand() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion_matrix(np.array([], int), np.array([], int), 2).tolist() == [[0, 0], [0, 0]]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40))
def test_class_report_is_scikit_learn(seed: int, n: int) -> None:
    labels, predicted = np.random.default_rng(seed).integers(0, 4, (2, n))
    report = class_report(confusion_matrix(labels, predicted, 4))
    oracle = precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    for ours, theirs in zip((*report[1:], report.support), oracle, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("name", ["topk", "accuracy"])
@pytest.mark.parametrize(
    ("scores", "labels", "what"),
    [
        (SCORES, LABELS[:3], "4 rows of scores, but labels of shape"),
        (SCORES, LABELS[:, None], "labels of shape"),
        (SCORES[:0], LABELS[:0], "no samples"),
        (SCORES[:, 0], LABELS, "should be"),
        (SCORES, np.array([0, 1, 2, 3]), "labels from 0 to 3, but 3 classes"),
        (SCORES, np.array([0, 1, 2, -1]), "labels from -1"),
        (SCORES, LABELS.astype(float), "whole numbers"),
        (np.where(SCORES == 0.7, np.nan, SCORES), LABELS, "1 rows of scores hold NaN; the first"),
    ],
)
def test_refused(name: str, scores: np.ndarray, labels: np.ndarray, what: str) -> None:
    with pytest.raises(DataError, match=what):
        metrics.build({"name": name}, scores=scores, labels=labels)


def test_confusion_matrix_refuses() -> None:
    with pytest.raises(DataError, match="outside 0 to 1"):
        confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(DataError, match="beside"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)


@pytest.mark.parametrize("name", sorted(set(metrics.names()) - {"coco"}))  # which takes boxes
def test_registered_metrics_take_and_return_the_same(name: str) -> None:
    spec, problems = metrics.check({"name": name}, "metrics.0")
    assert not problems
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
    labels = np.array([0, 1, 1, 0])
    try:
        metrics.build(spec, scores=scores, labels=labels)
    except DataError:  # it takes several labels an image
        labels = np.array([[1, 0], [0, 1], [1, -1], [0, 1]])
    before = scores.copy(), labels.copy()
    values = metrics.build(spec, scores=scores, labels=labels)
    assert values
    assert all(type(v) is float for v in values.values())
    assert all(np.array_equal(a, b) for a, b in zip(before, (scores, labels), strict=True))


def test_metrics_are_the_ones_promised() -> None:
    assert {"accuracy", "roc_auc", "topk", "tpr_at_fpr"} <= set(metrics.names())
    assert metrics.build({"name": "topk", "k": [1, 2]}, scores=SCORES, labels=LABELS) == {
        "top1": 0.25,
        "top2": 0.75,
    }


def test_macro_rates_by_hand() -> None:
    # labels 1 2 1 1, best 1 0 2 0: class 1 has precision 1 and recall 1/3, class 2 nothing
    found = metrics.build({"name": "class_report"}, scores=SCORES, labels=LABELS)
    expected = {"macro_f1": 1 / 4, "macro_precision": 1 / 2, "macro_recall": 1 / 6}
    assert found == pytest.approx(expected)
