"""Sizes and windows by hand, Pillow as oracle of the exact resize, what random windows obey."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinysight.errors import ConfigError, ImageError
from tinysight.registry import transforms
from tinysight.transforms.geometry import resize_to, short_size
from tinysight.transforms.resample import resample

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (20, 25, 10, (12, 10)),  # 12.5 rounds to even, down
        (20, 25, 30, (38, 30)),  # 37.5 rounds to even, up
        (480, 640, 256, (341, 256)),
        (640, 480, 256, (256, 341)),
        (1, 1, 7, (7, 7)),
        (1000, 1, 1, (1, 1000)),
    ],
)
def test_short_size(height: int, width: int, short: int, expected: tuple[int, int]) -> None:
    assert short_size(np.empty((height, width)), short) == expected


def test_size_is_width_then_height() -> None:
    assert transforms.build({"name": "resize", "size": [30, 10]})(RGB).shape == (10, 30, 3)
    assert transforms.build({"name": "center_crop", "size": [30, 10]})(RGB).shape == (10, 30, 3)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("bilinear", cv2.INTER_LINEAR),
        ("area", cv2.INTER_AREA),
        ("bicubic", cv2.INTER_CUBIC),
        ("lanczos", cv2.INTER_LANCZOS4),
    ],
)
def test_resize_is_opencv(name: str, flag: int) -> None:
    expected = cv2.resize(RGB, (33, 25), interpolation=flag)
    assert np.array_equal(resize_to(RGB, 33, 25, name), expected)


def test_same_size_is_the_same_image() -> None:
    assert resize_to(RGB, 60, 40) is RGB


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 70)] * 4),
    shape=st.sampled_from([(3,), (1,), ()]),
    extreme=st.booleans(),
)
def test_resample_is_pillow(
    name: str, sizes: tuple[int, int, int, int], shape: tuple[int, ...], extreme: bool
) -> None:
    old_height, old_width, height, width = sizes
    rng = np.random.default_rng(sizes)
    image = rng.integers(0, 256, (old_height, old_width, *shape), dtype=np.uint8)
    if extreme:  # over- and undershoot
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    flat = image[:, :, 0] if shape == (1,) else image
    oracle = Image.fromarray(flat).resize((width, height), Image.Resampling[name.upper()])
    result = resample(image, width, height, name)
    assert result.dtype == np.uint8
    assert np.array_equal(result, np.asarray(oracle).reshape(result.shape))


def test_resample_refuses_floats() -> None:
    with pytest.raises(ValueError, match="uint8"):
        resample(RGB.astype(np.float32), 8, 8, "bicubic")


def test_center_crop_leaves_the_odd_pixel_right_and_below() -> None:
    image = np.arange(5 * 4).reshape(5, 4)
    crop = transforms.build({"name": "center_crop", "size": [3, 2]})(image)
    assert crop.tolist() == [[4, 5, 6], [8, 9, 10]]


@pytest.mark.parametrize("name", ["center_crop", "random_crop"])
@pytest.mark.parametrize("size", [41, [61, 10], [10, 41]])
def test_too_small_for_the_crop(name: str, size: object) -> None:
    crop = transforms.build({"name": name, "size": size})
    with pytest.raises(ImageError, match="an image of 60 x 40 is smaller than the crop"):
        crop(RGB, np.random.default_rng(0))


def test_random_crop_reaches_every_place() -> None:
    image = np.arange(4 * 5).reshape(4, 5)
    crop = transforms.build({"name": "random_crop", "size": [3, 3]})
    rng = np.random.default_rng(0)
    assert {int(crop(image, rng)[0, 0]) for _ in range(200)} == {0, 1, 2, 5, 6, 7}


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    seed=st.integers(0, 10**6),
    log_ratio=st.booleans(),
    ratio=st.sampled_from([(1.0, 1.0), (0.75, 4 / 3), (0.01, 100.0)]),
)
def test_windows_lie_inside(
    width: int, height: int, seed: int, log_ratio: bool, ratio: tuple[float, float]
) -> None:
    crop = transforms.build(
        {"name": "random_resized_crop", "size": 8, "ratio": ratio, "log_ratio": log_ratio}
    )
    left, top, w, h = crop.draw(width, height, np.random.default_rng(seed))
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert min(w, h) >= 1


def test_windows_have_the_area_and_proportions_asked_for() -> None:
    crop = transforms.build(
        {"name": "random_resized_crop", "size": 8, "scale": [0.2, 0.5], "ratio": [0.5, 2.0]}
    )
    rng = np.random.default_rng(0)
    windows = np.array([crop.draw(1000, 1000, rng)[2:] for _ in range(500)])
    area, ratio = windows.prod(axis=1) / 1e6, windows[:, 0] / windows[:, 1]
    assert 0.195 < area.min() < 0.22
    assert 0.48 < area.max() <= 0.5
    assert 0.49 < ratio.min() < 0.55
    assert 1.9 < ratio.max() < 2.02


def test_a_window_by_attempts() -> None:
    spec = {
        "name": "random_resized_crop",
        "size": 8,
        "scale": [0.2, 0.5],
        "log_ratio": True,
        "attempts": 10,
    }
    crop = transforms.build(spec, "here")
    shares = []
    for seed in range(200):
        left, top, w, h = crop.draw(400, 300, np.random.default_rng(seed))
        assert 0 <= left <= 400 - w
        assert 0 <= top <= 300 - h
        assert 0.74 < w / h < 1.35
        shares.append(w * h / 120_000)
    assert 0.195 < min(shares) < 0.21
    assert 0.49 < max(shares) < 0.505
    # No window of a half or more fits: the largest in the middle, its sides rounded to even.
    spec |= {"scale": [0.5, 1.0], "ratio": [0.75, 1.25]}
    for size, window in {(100, 10): (44, 0, 12, 10), (10, 100): (0, 43, 10, 13)}.items():
        assert transforms.build(spec, "here").draw(*size, np.random.default_rng(0)) == window


def test_log_ratio_treats_upright_and_lying_alike() -> None:
    crop = transforms.build(
        {"name": "random_resized_crop", "size": 8, "scale": [0.1, 0.1], "ratio": [0.25, 4.0],
         "log_ratio": True}
    )  # fmt: skip
    rng = np.random.default_rng(0)
    windows = np.array([crop.draw(1000, 1000, rng)[2:] for _ in range(2000)])
    assert (windows[:, 0] > windows[:, 1]).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "both"])
def test_flip(direction: str) -> None:
    flip = transforms.build({"name": "random_flip", "p": 1.0, "direction": direction})
    expected = {"horizontal": RGB[:, ::-1], "vertical": RGB[::-1], "both": RGB[::-1, ::-1]}
    assert np.array_equal(flip(RGB, np.random.default_rng(0)), expected[direction])


def test_flip_keeps_its_probability() -> None:
    flip = transforms.build({"name": "random_flip", "p": 0.3})
    rng = np.random.default_rng(0)
    flipped = sum(flip(RGB, rng) is not RGB for _ in range(1000))
    assert 260 < flipped < 340


def test_random_resize_draws_size_and_interpolation() -> None:
    resize = transforms.build(
        {"name": "random_resize", "short": [8, 10], "interpolations": ["nearest", "area"]}
    )
    rng = np.random.default_rng(0)
    results = [resize(RGB, rng) for _ in range(60)]
    assert {r.shape[0] for r in results} == {8, 9, 10}
    assert len({r.tobytes() for r in results}) == 6


def test_a_sliver_is_not_enlarged_without_bound() -> None:
    sliver = np.zeros((1, 65_000, 3), np.uint8)
    with pytest.raises(ImageError, match="would be enlarged to 16640000 x 256"):
        transforms.build({"name": "resize", "short": 256})(sliver)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"name": "resize"}, "one of short and size"),
        ({"name": "resize", "short": 8, "size": 8}, "one of short and size"),
        ({"name": "resize", "size": [0, 8]}, "whole number"),
        ({"name": "resize", "size": "224"}, "whole number"),
        ({"name": "resize", "short": 8, "interpolation": "box"}, "'cv2' has no interpolation"),
        ({"name": "resize", "short": 8, "interpolation": "area", "backend": "pillow"}, "'pillow'"),
        ({"name": "random_resized_crop", "size": 8, "ratio": [2.0, 1.0]}, "ascending"),
        ({"name": "random_resize", "short": [9, 8]}, "ascending"),
    ],
)
def test_values_that_do_not_go_together(spec: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        transforms.build(spec)
