"""Intervals: published values, coverage by simulation, and samples that belong together."""

from __future__ import annotations

import numpy as np
import pytest

from tinysight.errors import DataError
from tinysight.metrics.binary import roc_auc
from tinysight.metrics.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "expected"),
    [
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (1, 10, (0.0179, 0.4042)),
        (50, 100, (0.4038, 0.5962)),
        (15, 148, (0.0624, 0.1605)),  # Newcombe (1998), table I
    ],
)
def test_wilson(successes: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(successes, total) == pytest.approx(expected, abs=5e-5)


def test_wilson_widens_with_confidence() -> None:
    narrow, wide = wilson_interval(3, 20, 0.8), wilson_interval(3, 20, 0.99)
    assert wide.low < narrow.low < 0.15 < narrow.high < wide.high


@pytest.mark.parametrize("arguments", [(5, 4), (-1, 4), (0, 0), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_refuses(arguments: tuple[float, ...]) -> None:
    with pytest.raises(DataError):
        wilson_interval(*arguments)  # type: ignore[arg-type]


def test_bootstrap_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    interval = bootstrap_interval(lambda rows: values[rows].mean(), 400, seed=1)
    half = 1.96 * values.std() / 20
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_bootstrap_repeats_with_its_seed() -> None:
    values = np.arange(30.0)
    ends = [
        bootstrap_interval(lambda rows: values[rows].mean(), 30, repeats=50, seed=s)
        for s in (0, 0, 1)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_clusters_are_drawn_whole_and_widen() -> None:
    clusters = np.repeat(np.array(list("badcfe" * 2)), 25)  # six photographs, 50 crops each
    values = np.array([ord(c) for c in clusters], float)
    seen = []

    def mean(rows: np.ndarray) -> float:
        _, counts = np.unique(clusters[rows], return_counts=True)
        seen.append(bool((counts % 50 == 0).all()) and len(rows) == 300)
        return float(values[rows].mean())

    together = bootstrap_interval(mean, 300, clusters=clusters, repeats=200)
    assert all(seen)
    apart = bootstrap_interval(lambda rows: values[rows].mean(), 300, repeats=200)
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_samples_without_one_class_are_left_out_unless_they_are_most() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.7])

    def area(labels: np.ndarray) -> object:
        return lambda rows: roc_auc(scores[rows], labels[rows])["roc_auc"]

    low, high = bootstrap_interval(area(np.array([0, 0, 1, 1, 0])), 5)  # type: ignore[arg-type]
    assert 0 <= low < high <= 1
    with pytest.raises(DataError, match="defined in only 0 of 1000"):
        bootstrap_interval(area(np.ones(5, int)), 5)  # type: ignore[arg-type]


def test_bootstrap_refuses() -> None:
    for count, clusters in ((0, None), (3, np.array([1, 2]))):
        with pytest.raises(DataError, match="rows do not go"):
            bootstrap_interval(lambda rows: 0.0, count, clusters=clusters)
