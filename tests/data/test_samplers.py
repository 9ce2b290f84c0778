from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.errors import ConfigError
from tinysight.registry import samplers


def order(spec: dict, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    return samplers.build(spec)(labels, np.random.default_rng(seed))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 1.0]))
def test_balanced_gives_each_class_its_share_and_repeats_evenly(
    labels: list[int], power: float
) -> None:
    truth = np.array(labels)
    found = order({"name": "balanced", "power": power}, truth)
    assert len(found) == len(truth)
    classes, counts = np.unique(truth, return_counts=True)
    shares = counts ** (1 - power) / (counts ** (1 - power)).sum() * len(truth)
    for c, share in zip(classes, shares, strict=True):
        assert abs((truth[found] == c).sum() - share) < 1
        times = np.bincount(found, minlength=len(truth))[truth == c]
        assert times.max() - times.min() <= 1  # none is left out while another comes twice more


def test_balanced_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1])
    assert np.bincount(labels[order({"name": "balanced"}, labels)]).tolist() == [3, 3]


def test_the_order_follows_from_the_seed() -> None:
    labels = np.arange(40) % 3
    for name in ("shuffle", "balanced"):
        spec = {"name": name}
        assert (order(spec, labels, 1) == order(spec, labels, 1)).all()
        assert (order(spec, labels, 1) != order(spec, labels, 2)).any()


def test_weighted_draws_in_proportion() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    found = labels[order({"name": "weighted", "weights": [1, 9]}, labels)]
    assert abs(found.mean() - 0.5) < 0.08  # five standard deviations
    assert not order({"name": "weighted", "weights": [0, 1]}, np.array([1, 0, 0])).any()


def test_weighted_takes_the_largest_of_several_labels() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    only_second = order({"name": "weighted", "weights": [0, 1], "background": 0}, labels)
    assert set(only_second) == {1}
    only_none = order({"name": "weighted", "weights": [0, 0], "background": 2}, labels)
    assert set(only_none) == {2}


@pytest.mark.parametrize(
    ("spec", "labels", "message"),
    [
        ({"name": "balanced"}, np.zeros((3, 2)), "one class for each image; weighted"),
        ({"name": "weighted", "weights": [1]}, np.array([0, 1]), "1 weights for 2 classes"),
        ({"name": "weighted", "weights": [0, 0]}, np.array([0, 1]), "every image has a weight"),
    ],
)
def test_what_cannot_be_sampled(spec: dict, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        order(spec, labels)
