"""Normalisation against its formula, and what the random changes of light may do."""

from __future__ import annotations

import numpy as np
import pytest

from tinysight.errors import ConfigError, ImageError
from tinysight.registry import transforms
from tinysight.transforms.augment.blur import gaussian_blur
from tinysight.transforms.augment.photometric import jpeg
from tinysight.transforms.photometric import IMAGENET_MEAN, IMAGENET_STD, normalize

RGB = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [1 / 255, 0.00392157, 1.0])
def test_table_and_formula_agree_bit_for_bit(scale: float) -> None:
    mean, std = np.float32([IMAGENET_MEAN]), np.float32([IMAGENET_STD])
    formula = (RGB.astype(np.float32) * np.float32(scale) - mean) / std
    for image in (RGB, RGB.astype(np.float32), RGB.astype(np.int32)):
        result = normalize(image, IMAGENET_MEAN, IMAGENET_STD, scale)
        assert result.dtype == np.float32
        assert np.array_equal(result, formula)


def test_the_two_usual_scales_differ() -> None:
    one, other = (normalize(RGB, IMAGENET_MEAN, IMAGENET_STD, s) for s in (1 / 255, 0.00392157))
    assert not np.array_equal(one, other)
    assert np.abs(one - other).max() < 1e-5


def test_one_number_for_all_channels() -> None:
    result = normalize(RGB, (0.5,), (0.25,), 1 / 255)
    assert np.array_equal(result, normalize(RGB, (0.5,) * 3, (0.25,) * 3, 1 / 255))
    assert normalize(RGB[:, :, 0], (0.5,), (0.25,), 1 / 255).shape == (30, 40)


def test_wrong_number_of_channels() -> None:
    with pytest.raises(ImageError, match="1 channels, but mean has 3 and std 3"):
        normalize(RGB[:, :, 0], IMAGENET_MEAN, IMAGENET_STD, 1 / 255)
    with pytest.raises(ConfigError, match="mean has 2 numbers and std 3"):
        transforms.build({"name": "normalize", "mean": [0.1, 0.2]})
    with pytest.raises(ConfigError, match="std may not be 0"):
        transforms.build({"name": "normalize", "std": [0.2, 0.0, 0.2]})


def test_brightness_moves_the_level_and_contrast_does_not() -> None:
    middle = np.clip(RGB, 100, 150)
    light = transforms.build({"name": "random_brightness_contrast", "contrast": 0.0})
    moves = [light(middle, np.random.default_rng(s)).mean() - middle.mean() for s in range(50)]
    assert max(map(abs, moves)) <= 51.5
    assert min(moves) < -30
    assert max(moves) > 30
    contrast = transforms.build({"name": "random_brightness_contrast", "brightness": 0.0})
    results = [contrast(middle, np.random.default_rng(s)) for s in range(50)]
    assert max(abs(r.mean() - middle.mean()) for r in results) < 0.6
    spread = [r.std() / middle.std() for r in results]
    assert 0.79 < min(spread) < 0.9
    assert 1.1 < max(spread) < 1.21


def test_jpeg_keeps_colours_and_loses_more_at_lower_quality() -> None:
    flat = np.full((16, 16, 3), (200, 90, 30), np.uint8)
    assert np.abs(jpeg(flat, 95).astype(int) - flat).max() <= 4
    smooth = gaussian_blur(RGB, 2.0)
    losses = [np.abs(jpeg(smooth, q).astype(int) - smooth).mean() for q in (95, 60, 20)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2] / 2


def test_jpeg_refuses() -> None:
    with pytest.raises(ImageError, match="1 or 3 channels"):
        jpeg(np.zeros((8, 8, 4), np.uint8), 90)
    with pytest.raises(ImageError, match="65500"):
        jpeg(np.zeros((1, 65_501, 3), np.uint8), 90)
    with pytest.raises(ConfigError, match="ascending"):
        transforms.build({"name": "random_jpeg", "quality": [90, 40]})


@pytest.mark.parametrize("name", ["random_jpeg", "random_brightness_contrast"])
def test_light_comes_before_normalize(name: str) -> None:
    with pytest.raises(ImageError, match="put it before normalize"):
        transforms.build({"name": name})(RGB.astype(np.float32), np.random.default_rng(0))
