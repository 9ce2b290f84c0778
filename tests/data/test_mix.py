"""Mixed batches: images and labels by the same share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.data.mix import apply_one, box, patches, soft
from tinysight.errors import ConfigError, DataError
from tinysight.registry import batch_transforms

SPECS: list[dict[str, Any]] = [
    {"name": "mixup"},
    {"name": "mixup", "alpha": 0.2},
    {"name": "cutmix", "alpha": 1.0},
    {"name": "cutmix"},
    {"name": "fmix"},
    {"name": "fmix", "alpha": 0.3, "decay": 1.0},
    {"name": "mixup_cutmix"},
    {"name": "mixup_cutmix", "per": "pair", "mixup_alpha": 0.0},
    {"name": "mixup_cutmix", "per": "image", "each": 0.5, "bounds": [0.2, 0.8]},
]


def batch(n: int = 6, classes: int = 4, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is all i, so that a mixed pixel says whom it comes from."""
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 3, size, size)
    return images.clone(), torch.arange(n) % classes


def test_every_batch_transform_is_here() -> None:
    assert sorted({s["name"] for s in SPECS}) == batch_transforms.names()


@pytest.mark.parametrize("spec", SPECS, ids=str)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 7), shape=st.tuples(*[st.integers(1, 9)] * 2))
def test_promises(spec: dict[str, Any], seed: int, n: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.random((n, 3, *shape), dtype=np.float32))
    targets = torch.from_numpy(rng.integers(0, 5, n))
    before = images.clone(), targets.clone()
    mix = batch_transforms.build(spec)
    mixed, rows = mix(images, targets, np.random.default_rng(seed), 5)
    again = mix(images, targets, np.random.default_rng(seed), 5)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    assert torch.equal(mixed, again[0])
    assert torch.equal(rows, again[1])
    assert mixed.shape == images.shape
    assert mixed.dtype == torch.float32
    assert rows.shape == (n, 5)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows.sum(dim=1), torch.ones(n))
    assert rows.min() >= 0
    low, high = images.min(dim=0).values, images.max(dim=0).values
    assert bool(((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all())
    # Soft targets that are one-hot mix as class ids do.
    same = mix(images, soft(targets, 5), np.random.default_rng(seed), 5)
    assert torch.equal(same[1], rows)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_labels_mix_as_the_pixels_do_between_partners(spec: dict[str, Any]) -> None:
    ends = spec["name"] == "mixup_cutmix"
    for seed in range(20):
        images, targets = batch(n=6, classes=6)
        mixed, rows = batch_transforms.build(spec)(images, targets, np.random.default_rng(seed), 6)
        partners = np.random.default_rng(seed).permutation(6)
        for i, partner in enumerate(range(5, -1, -1) if ends else partners):
            if i == partner:
                assert torch.allclose(mixed[i], images[i])
                continue
            share = float(rows[i, i])
            assert float(rows[i, partner]) == pytest.approx(1 - share, abs=1e-6)
            assert float(mixed[i].mean()) == pytest.approx(
                share * i + (1 - share) * partner, abs=1e-4
            )


def test_mixup_by_hand() -> None:
    class Told:
        def permutation(self, n: int) -> np.ndarray:
            return np.array([1, 0])

        def beta(self, a: float, b: float) -> float:
            assert a == b == 0.2
            return 0.75

    images = torch.tensor([0.0, 4.0])[:, None, None, None]
    mixed, rows = batch_transforms.build({"name": "mixup", "alpha": 0.2})(
        images, torch.tensor([0, 2]), Told(), 3
    )
    assert mixed.flatten().tolist() == [1.0, 3.0]
    assert rows.tolist() == [[0.75, 0.0, 0.25], [0.25, 0.0, 0.75]]


def test_box_by_hand() -> None:
    class Told:
        def __init__(self, *answers: int) -> None:
            self._answers = list(answers)

        def integers(self, low: int, high: int) -> int:
            return self._answers.pop(0)

    # A quarter of the area is half of each side; a middle at the border leaves a quarter of that.
    assert box(8, 16, 0.75, Told(4, 8)) == (2, 4, 6, 12)  # type: ignore[arg-type]
    assert box(8, 16, 0.75, Told(0, 0)) == (0, 0, 2, 4)  # type: ignore[arg-type]
    assert box(8, 16, 1.0, Told(3, 3)) == (3, 3, 3, 3)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_patches_cover_exactly_their_share(
    height: int, width: int, share: float, seed: int
) -> None:
    mask = patches(height, width, share, 3.0, np.random.default_rng(seed))
    assert mask.shape == (height, width)
    assert mask.sum() == round(share * height * width)


def test_patches_are_patches() -> None:
    def edges(decay: float) -> int:
        mask = patches(64, 64, 0.5, decay, np.random.default_rng(0)).astype(int)
        return int(np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum())

    assert edges(3.0) < 500 < 3000 < edges(0.0)


def test_at_most_one_is_applied_as_often_as_p_says() -> None:
    both = [
        batch_transforms.build({"name": "mixup", "alpha": 0.8, "p": 0.3}),
        batch_transforms.build({"name": "cutmix", "alpha": 1.0, "p": 0.5}),
    ]
    counts = {"mixup": 0, "cutmix": 0, "none": 0}
    images, targets = batch(n=4, size=8)
    for seed in range(400):
        mixed, rows = apply_one(both, images, targets, np.random.default_rng(seed), 4)
        assert rows.shape == (4, 4)
        whole = bool((mixed == mixed.round()).all())
        what = "none" if torch.equal(mixed, images) else "cutmix" if whole else "mixup"
        counts[what] += 1
    # A permutation of four is the identity once in 24, and a rectangle may be empty.
    assert 90 < counts["mixup"] < 140
    assert 150 < counts["cutmix"] < 220
    assert counts["none"] > 60


def test_p_zero_changes_nothing_but_the_form_of_the_labels() -> None:
    images, targets = batch()
    never = [batch_transforms.build({"name": "mixup", "p": 0.0})]
    mixed, rows = apply_one(never, images, targets, np.random.default_rng(0), 4)
    assert mixed is images
    assert torch.equal(rows, soft(targets, 4))
    assert apply_one([], images, targets, np.random.default_rng(0), 4) == (images, targets)


def test_probabilities_beyond_one_are_refused() -> None:
    both = [batch_transforms.build({"name": n}) for n in ("mixup", "cutmix")]
    with pytest.raises(ConfigError, match="add up to 2"):
        apply_one(both, *batch(), np.random.default_rng(0), 4)


def test_a_label_beyond_the_classes_is_named() -> None:
    with pytest.raises(DataError, match="label 9, but there are 4 classes, 0 to 3"):
        soft(torch.tensor([0, 9]), 4)
    with pytest.raises(DataError, match="label -1"):
        soft(torch.tensor([0, -1]), 4)
    with pytest.raises(DataError, match="3 labels, but 4 classes"):
        soft(torch.zeros(2, 3), 4)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mixup", "alpha": 0.0},
        {"name": "cutmix", "p": 1.1},
        {"name": "fmix", "decay": -1.0},
        {"name": "mixup", "prob": 0.5},
    ],
)
def test_schema_refuses(spec: dict[str, Any]) -> None:
    _, problems = batch_transforms.check(spec, "transforms.batch[0]")
    assert problems


@pytest.mark.parametrize("per", ["batch", "pair", "image"])
def test_partners_lie_as_far_from_the_other_end(per: str) -> None:
    images, targets = batch(6, 6)
    mix = batch_transforms.build({"name": "mixup_cutmix", "per": per, "cutmix_alpha": 0.0})
    mixed, rows = mix(images, targets, np.random.default_rng(1), 6)
    kept = rows[torch.arange(6), targets]
    assert torch.allclose(rows[torch.arange(6), 5 - targets], 1 - kept)
    # An image is all its own number, so a mixed one says the share too.
    assert torch.allclose(mixed[:, 0, 0, 0], kept * targets + (1 - kept) * (5 - targets), atol=1e-5)
    assert torch.equal(kept[:3], kept.flip(0)[:3]) == (per != "image")
    assert (len(kept.unique()) == 1) == (per == "batch")


def test_a_rectangle_within_bounds_mixes_by_its_area() -> None:
    images, targets = batch(4, 4, size=20)
    spec = {"name": "mixup_cutmix", "mixup_alpha": 0.0, "per": "image", "bounds": [0.25, 0.5]}
    mixed, rows = batch_transforms.build(spec)(images, targets, np.random.default_rng(0), 4)
    for i, image in enumerate(mixed[:, 0]):
        there = image == 3 - i
        height, width = (there.any(dim=d).sum() for d in (1, 0))
        assert there.sum() == height * width  # whole: it lies inside
        assert 5 <= min(height, width) <= max(height, width) < 10
        assert float(rows[i, i]) == pytest.approx(1 - int(there.sum()) / 400)
