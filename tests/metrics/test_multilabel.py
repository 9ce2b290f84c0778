"""Several labels an image: hand-worked cases, and scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, hamming_loss, precision_recall_fscore_support

from tinysight.errors import DataError
from tinysight.metrics.multilabel import (
    average_precision,
    best_mean_accuracy,
    hamming,
    label_report,
    mean_accuracy,
    multilabel_accuracy,
    multilabel_map,
)

# Two labels, four images; the second label of the last is unknown.
SCORES = np.array([[0.9, 0.6], [0.8, 0.1], [0.3, 0.7], [0.2, 0.9]])
LABELS = np.array([[1, 1], [0, 0], [1, 0], [0, -1]])


def test_mean_accuracy_by_hand() -> None:
    found = mean_accuracy(SCORES, LABELS)
    # label 0: hit, false alarm, miss, rejection; label 1: hit, rejection, false alarm
    assert found["label_pos_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["label_neg_recall"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found["mA"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["label_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # images: 2 of 2; one false alarm; a miss and a false alarm; nothing said, nothing there
    assert found["instance_prec"] == found["instance_recall"] == found["instance_acc"] == 1 / 4
    assert found["instance_f1"] == 1 / 4
    assert next(iter(found)) == "mA"
    parity = mean_accuracy(SCORES, LABELS, f1_of_mean_recall=True)
    assert parity["label_f1"] == pytest.approx(2 * 0.5 * 0.75 / 1.25)  # precision 1/2 of both


def test_nothing_found_is_zero_and_no_warning() -> None:
    found = mean_accuracy(np.zeros((2, 2)), np.ones((2, 2), int))
    assert set(found.values()) == {0.0}


def test_maps_by_hand() -> None:
    # label 0, by score: 1 0 1 0 -> (1 + 2/3) / 2; label 1 without its unknown: 0 1 0 -> 1/2
    assert multilabel_map(SCORES, LABELS)["mAP"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    # best precision at or beyond recalls 0 .. .5 is 1, then 2/3; of label 1 always 1/2
    eleven = multilabel_map(SCORES, LABELS, "eleven")["mAP"]
    assert eleven == pytest.approx(((6 + 5 * 2 / 3) / 11 + 1 / 2) / 2)
    absent = np.column_stack([LABELS, np.zeros(4, int)])
    wider = np.column_stack([SCORES, np.zeros(4)])
    assert multilabel_map(wider, absent) == multilabel_map(SCORES, LABELS)
    with pytest.raises(DataError, match="no label occurs"):
        multilabel_map(SCORES, np.zeros((4, 2), int))


def test_shares_by_hand() -> None:
    assert hamming(SCORES, LABELS)["hamming"] == pytest.approx(3 / 7)
    assert multilabel_accuracy(SCORES, LABELS, "label")["accuracy"] == pytest.approx(4 / 7)
    assert multilabel_accuracy(SCORES, LABELS)["accuracy"] == pytest.approx(2 / 4)
    # thresholds .05, .15, .25, .35: right are 3, 4, 5, 4 of the 7
    best = best_mean_accuracy(SCORES, LABELS, start=0.05, end=0.45, steps=4)
    assert best == pytest.approx({"mean_accuracy": 5 / 7, "threshold": 0.25})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_as_in_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(60).reshape(20, 3) / 60  # no ties
    labels = rng.integers(0, 2, (20, 3))
    labels[0] = 1
    report = label_report(scores > 0.5, labels)
    expected = precision_recall_fscore_support(labels, scores > 0.5, zero_division=0)
    for ours, theirs in zip((*report[1:], report.support), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    theirs = [average_precision_score(labels[:, i], scores[:, i]) for i in range(3)]
    assert multilabel_map(scores, labels)["mAP"] == pytest.approx(np.mean(theirs))
    assert average_precision(scores[:, 0], labels[:, 0] > 0) == pytest.approx(theirs[0])
    assert hamming(scores, labels)["hamming"] == pytest.approx(hamming_loss(labels, scores > 0.5))


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (SCORES, LABELS[:, 0], "both be"),
        (SCORES[:3], LABELS, "both be"),
        (np.zeros((0, 2)), np.zeros((0, 2), int), "no labels"),
        (SCORES, np.full((4, 2), -1), "no labels"),
        (SCORES * np.nan, LABELS, "NaN"),
    ],
)
def test_what_cannot_be_measured(scores: np.ndarray, labels: np.ndarray, words: str) -> None:
    for metric in (mean_accuracy, multilabel_map, hamming, best_mean_accuracy, multilabel_accuracy):
        with pytest.raises(DataError, match=words):
            metric(scores, labels)
