"""Calibration worked out by hand, and the temperature that made the scores is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

from tinysight.errors import DataError
from tinysight.metrics.binary import pr_area
from tinysight.metrics.calibration import (
    calibration,
    confidences,
    fit_temperature,
    reliability,
    soften,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from what they say."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (count, classes))
    labels = [rng.choice(classes, p=p) for p in softmax(logits)]
    return logits, np.array(labels)


def test_ece_by_hand() -> None:
    """Confidences .6 .6 .9 .9, of which one, both, one, both are right: gaps .1 and .1 of 1/2 each."""
    scores = np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.9, 0.1]])
    labels = np.array([0, 0, 1, 0])
    confidence, hit = confidences(scores, labels)
    assert confidence.tolist() == [0.6, 0.6, 0.9, 0.9]
    assert hit.tolist() == [True, False, True, True]
    curve = reliability(confidence, hit, 10)
    assert curve.accuracy.tolist() == [0.5, 1.0]
    assert curve.confidence == pytest.approx([0.6, 0.9])
    assert curve.number.tolist() == [2, 2]
    assert curve.ece == pytest.approx(0.1)
    found = calibration(scores, labels)
    assert list(found) == ["ece", "ece_mass", "brier", "nll"]
    assert found["brier"] == pytest.approx(2 * (0.16 + 0.36 + 0.01 + 0.01) / 4)


def test_bins_of_equal_numbers() -> None:
    confidence = np.array([0.5, 0.51, 0.52, 0.53, 0.97, 0.98, 0.99, 1.0])
    curve = reliability(confidence, np.ones(8, bool), 4, equal_mass=True)
    assert curve.number.tolist() == [2, 2, 2, 2]
    assert reliability(np.full(9, 0.7), np.ones(9, bool), 4, equal_mass=True).number.tolist() == [9]
    assert reliability(np.array([0.0, 1.0]), np.array([False, True]), 5).ece == 0


def test_as_scikit_learn() -> None:
    logits, labels = drawn(300, 3)
    scores = softmax(logits)
    assert calibration(scores, labels)["nll"] == pytest.approx(log_loss(labels, scores))
    logits, labels = drawn(300, 2)
    scores = softmax(logits)
    expected = 2 * brier_score_loss(labels, scores[:, 1])
    assert calibration(scores, labels)["brier"] == pytest.approx(expected)
    ties = scores[:, 1].round(1)
    assert pr_area(ties, labels) == pytest.approx(average_precision_score(labels, ties))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    logits, labels = drawn(3000, 4)
    scores = softmax(logits * temperature)
    found = fit_temperature(scores.astype(np.float32), labels)
    assert found == pytest.approx(temperature, rel=0.1)
    calm = soften(scores, found)
    assert calm == pytest.approx(softmax(logits * temperature / found))
    assert (calm.argmax(axis=1) == scores.argmax(axis=1)).all()
    assert calibration(calm, labels)["nll"] <= calibration(scores, labels)["nll"] + 1e-12


def test_several_labels_at_once() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (2000, 3))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    scores = 1 / (1 + np.exp(-2 * logits))
    assert fit_temperature(scores, labels) == pytest.approx(2, rel=0.06)
    assert soften(scores, 2.0, each=True) == pytest.approx(1 / (1 + np.exp(-logits)))
    assert calibration(scores, labels)["ece"] > 0.05
    labels[5:] = -1  # not known
    confidence, hit = confidences(scores, labels)
    assert confidence.tolist() == scores[:5].ravel().tolist()
    assert hit.tolist() == (labels[:5] == 1).ravel().tolist()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.ones((2, 2)), np.zeros((2, 3), int), r"both be .N, K., got .2, 2. and .2, 3."),
        (np.full((2, 2), np.nan), np.zeros((2, 2), int), "NaN"),
        (np.ones((2, 2)), -np.ones((2, 2), int), "no labels to measure against"),
        (np.ones((2, 2)), np.array([0, 2]), "2 classes of scores"),
    ],
)
def test_mistakes(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibration(scores, labels)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 20), st.booleans())
def test_every_sample_is_in_one_bin(values: list[float], bins: int, equal_mass: bool) -> None:
    confidence = np.array(values)
    curve = reliability(confidence, confidence > 0.5, bins, equal_mass=equal_mass)
    assert curve.number.sum() == len(values)
    assert len(curve.number) <= bins
    assert 0 <= curve.ece <= 1
