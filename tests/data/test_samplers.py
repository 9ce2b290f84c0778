from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.golden import Case, each_case
from support.options import Options
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


def batches_of(labels: np.ndarray, size: int, each: int, seed: int = 0) -> list[np.ndarray]:
    sampler = samplers.build({"name": "pk", "per_identity": each})
    return sampler.batches(labels, size, np.random.default_rng(seed))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(2, 4))
def test_pk_batches_have_p_identities_and_no_image_twice(counts: list[int], each: int) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    found = batches_of(labels, 2 * each, each)
    for batch in found:
        identities, images = np.unique(labels[batch], return_counts=True)
        assert len(identities) == 2
        assert images.tolist() == [min(each, counts[i]) for i in identities]
        assert np.count_nonzero(np.diff(labels[batch])) == 1  # an identity's images are neighbours
    taken = np.concatenate(found)
    assert len(set(taken)) == len(taken)
    # Two of the identities with the most groups left: all groups but those of one that has more than all others.
    groups = [max(n // each, 1) for n in counts]
    assert len(found) == min(sum(groups) // 2, sum(groups) - max(groups))
    assert len(batches_of(labels, 2 * each, each, seed=1)) == len(found)


def test_pk_by_hand() -> None:
    """Five images of one identity, two each of two others and one without: in twos, one of the five is left over."""
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, -1])
    found = batches_of(labels, 4, 2)
    assert sorted(sorted(set(labels[batch])) for batch in found) == [[0, 1], [0, 2]]
    assert all(np.bincount(labels[batch], minlength=3)[0] == 2 for batch in found)
    assert sorted(np.concatenate(found))[4:] == [5, 6, 7, 8]
    others = [set(np.concatenate(batches_of(labels, 4, 2, seed))) for seed in range(9)]
    assert set.union(*others) == set(range(9))  # another one is left over in another epoch


@pytest.mark.parametrize(
    ("labels", "size", "message"),
    [
        (np.zeros((4, 2)), 4, "pk needs one identity for each image"),
        (
            np.array([0, 0, 1, 1]),
            5,
            "batches of 5 images cannot hold .*; set it to a multiple of 2",
        ),
        (np.array([0, 0, 1, 1]), 2, "cannot hold two or more identities of 2"),
        (np.array([0, 0, 1, 1]), 6, "3 identities, but the list has 2; set it to at most 4"),
    ],
)
def test_what_pk_cannot_divide(labels: np.ndarray, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        batches_of(labels, size, 2)


@each_case("sampler", lambda case: case["sampler"] == "MultiScaleSampler")
def test_sizes_and_batches_of_several_scales(case: Case) -> None:
    """Sizes and numbers of images as recorded; the order is drawn by another generator."""
    options = Options(case["kwargs"], case["id"])
    options.without_effect("shuffle", "drop_last", "seed")
    scales = options["scales"] if options.get("is_training", True) else options["scales"][:1]
    sampler = samplers.build(
        {"name": "multi_scale", "sizes": scales, "divisor": options.get("divided_factor", 32)}
    )
    batch, count = options["first_bs"], case["n"]
    options.check()
    pairs = [[*size, images] for size, images in sampler.scales(batch)]
    assert pairs == case["img_batch_pairs"]
    labels, sizes = np.zeros(count, int), sampler.image_sizes(count, batch)
    first, second = (sampler.batches(labels, batch, np.random.default_rng(s)) for s in (0, 1))
    assert sorted(np.concatenate(first).tolist()) == [*range(count)]
    assert [len(part) for part in first] == [len(part) for part in second]
    allowed = [(tuple(size), images) for *size, images in pairs]
    made = [(size, len(part)) for size, part in zip(sizes, first, strict=True)]
    assert all(one in allowed for one in made[:-2])
    assert min(len(part) for part in first) >= (2 if min(n for _, n in allowed) > 1 else 1)


def test_sizes_below_the_divisor_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least the divisor, 32"):
        samplers.build({"name": "multi_scale", "sizes": [64, 31]})
