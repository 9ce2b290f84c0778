"""Erasing, hiding, padding, turning, colour: by hand, and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinysight.errors import ConfigError, ImageError
from tinysight.registry import transforms

ZEROS = np.zeros((40, 60, 3), np.float32)


def run(image: np.ndarray, seed: int = 0, **spec: Any) -> Any:
    return transforms.build(spec)(image, np.random.default_rng(seed))


def erased(image: np.ndarray) -> tuple[int, int, int]:
    """Height, width and number of the pixels that are not zero."""
    rows, columns = np.nonzero((image != 0).any(axis=2))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, len(rows)


@pytest.mark.parametrize("log_aspect", [True, False])
def test_an_erased_rectangle_has_the_area_and_the_proportions_asked_for(log_aspect: bool) -> None:
    spec = {"name": "random_erasing", "p": 1.0, "area": [0.1, 0.2], "aspect": 0.5, "value": [9.0]}
    taller = 0
    for seed in range(200):
        height, width, count = erased(run(ZEROS, seed, log_aspect=log_aspect, **spec))
        assert height * width == count  # whole
        assert 0.08 < count / (40 * 60) < 0.23  # sides are rounded
        assert 0.45 < height / width < 2.2
        taller += height > width
    # Drawn uniformly from 1/2 to 2, two of three rectangles stand; log-uniformly, one of two.
    assert (80 < taller < 120) if log_aspect else (110 < taller < 160)


def test_erasing_modes() -> None:
    spec = {"name": "random_erasing", "p": 1.0, "area": [0.3, 0.3], "aspect": 1.0}
    colours = {
        m: run(ZEROS, 1, mode=m, **spec)[ZEROS != 1].reshape(-1, 3) for m in ("rand", "pixel")
    }
    for mode, pixels in colours.items():
        covered = pixels[(pixels != 0).any(axis=1)]
        assert len(np.unique(covered, axis=0)) == (1 if mode == "rand" else len(covered))
    covered = colours["pixel"][(colours["pixel"] != 0).any(axis=1)]
    assert abs(covered.mean()) < 0.1
    assert abs(covered.std() - 1) < 0.1
    three = run(ZEROS, 1, mode="const", value=[1.0, 2.0, 3.0], **spec)
    assert sorted(np.unique(three.reshape(-1, 3), axis=0).tolist()) == [[0, 0, 0], [1, 2, 3]]


def test_erasing_gives_up_where_nothing_fits() -> None:
    spec = {"name": "random_erasing", "p": 1.0, "area": [1.0, 1.0], "aspect": 1.0, "attempts": 3}
    assert run(ZEROS, **spec) is ZEROS


def test_erasing_happens_as_often_as_p() -> None:
    spec = {"name": "random_erasing", "p": 0.25, "value": [1.0]}
    count = sum(run(ZEROS, seed, **spec) is not ZEROS for seed in range(400))
    assert 70 < count < 130


def test_noise_is_for_normalised_pixels() -> None:
    with pytest.raises(ImageError, match="put normalize before"):
        run(ZEROS.astype(np.uint8), name="random_erasing", mode="pixel")
    with pytest.raises(ImageError, match="value has 2"):
        run(ZEROS, name="random_erasing", value=[1.0, 2.0])


def test_hide_and_seek_covers_whole_squares() -> None:
    ones = np.ones((40, 60, 3), np.uint8)
    hidden = run(ones, 3, name="hide_and_seek", sizes=[16])
    squares = {
        tuple(np.unique(hidden[y : y + 16, x : x + 16]))
        for y in range(0, 40, 16)
        for x in range(0, 60, 16)
    }
    assert squares == {(0,), (1,)}
    assert run(ones, name="hide_and_seek", sizes=[0]) is ones


def test_pad_by_hand() -> None:
    image = np.array([[[1], [2]]], np.uint8)
    assert run(image, name="pad", border=(1, 0, 0, 1), fill=[9.0])[:, :, 0].tolist() == [
        [9, 1, 2],
        [9, 9, 9],
    ]
    assert run(image, name="pad", border=[1, 0], mode="edge")[0, :, 0].tolist() == [1, 1, 2, 2]
    assert run(image, name="pad", border=[1, 0], mode="reflect")[0, :, 0].tolist() == [2, 1, 2, 1]
    symmetric = run(image, name="pad", border=[2, 0], mode="symmetric")
    assert symmetric[0, :, 0].tolist() == [2, 1, 1, 2, 2, 1]
    assert run(image, name="pad", size=[3, 1], at="end")[0, :, 0].tolist() == [0, 1, 2]
    assert run(image, name="pad", size=[5, 1], at=[1, 0])[0, :, 0].tolist() == [0, 1, 2, 0, 0]
    assert run(image, name="pad", multiple=4).shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({}, ConfigError),
        ({"border": 1, "size": 4}, ConfigError),
        ({"border": [1, 2, 3]}, ConfigError),
        ({"size": 1}, ImageError),
        ({"size": [4, 4], "at": [3, 0]}, ImageError),
        ({"border": 1, "fill": [127.5]}, ImageError),
        ({"border": 1, "fill": [300.0]}, ImageError),
        ({"border": 1, "fill": [1.0, 2.0]}, ImageError),
        ({"border": 2, "mode": "reflect"}, ImageError),
    ],
)
def test_pad_refuses(spec: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        run(np.zeros((2, 2, 3), np.uint8), name="pad", **spec)
    assert caught.value.problems[0].what


def test_turn_sets_the_label_to_the_quarters() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    seen = set()
    for seed in range(30):
        turned, label = run(image, seed, name="random_turn")
        assert np.array_equal(turned, np.rot90(image, label))
        seen.add(label)
    assert seen == {0, 1, 2, 3}


def test_rotation_turns_counter_clockwise_and_fills() -> None:
    image = np.zeros((31, 31, 3), np.uint8)
    image[:10, 12:19] = 255  # a mark at the top
    spec = {"name": "random_rotation", "p": 1.0, "degrees": [90.0, 90.0], "fill": [50.0]}
    turned = run(image, **spec)
    assert turned[15, 4, 0] == 255
    assert turned[4, 15, 0] == 0
    slanted = run(image, **{**spec, "degrees": [45.0, 45.0]})
    assert slanted[0, 0].tolist() == [50, 50, 50]


def test_jitter_of_nothing_changes_nothing() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(run(image, name="color_jitter"), image)
    grey = run(image, name="random_grayscale", p=1.0)
    assert np.ptp(grey, axis=2).max() == 0


def test_jitter_keeps_to_its_range() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    levels = [
        int(run(image, seed, name="color_jitter", brightness=0.3)[0, 0, 0]) for seed in range(300)
    ]
    assert 70 <= min(levels) < 75
    assert 125 < max(levels) <= 130


def test_appended_channels_are_zero() -> None:
    four = run(np.ones((2, 3, 3), np.float32), name="append_channels")
    assert four.shape == (2, 3, 4)
    assert not four[:, :, 3].any()


def test_center_square_by_hand() -> None:
    row = np.arange(8, dtype=np.uint8)
    image = np.repeat(np.tile(row, (4, 1))[:, :, None], 3, axis=2)
    # Half of the short side 4 is 2: columns 3 and 4, enlarged by repeating them.
    square = run(image, name="center_square", size=4, share=0.5, interpolation="nearest")
    assert square[0, :, 0].tolist() == [3, 3, 4, 4]


def test_padded_crop_reaches_every_corner() -> None:
    image = np.full((4, 4, 3), 255, np.uint8)
    crops = [run(image, seed, name="random_crop", size=4, pad=2) for seed in range(60)]
    assert {tuple(c[(0, 0, -1, -1), (0, -1, 0, -1), 0] // 255) for c in crops} >= {
        (0, 0, 0, 1),
        (1, 0, 0, 0),
    }
