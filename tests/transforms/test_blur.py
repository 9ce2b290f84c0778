"""Kernels by their moments, and labels that cannot be read from brightness or contrast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.errors import ConfigError
from tinysight.registry import transforms
from tinysight.transforms.augment import blur

RGB = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def moments(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (x, y) from the middle, y upwards, and covariance (2, 2)."""
    reach = len(kernel) // 2
    y, x = np.mgrid[reach : -reach - 1 : -1, -reach : reach + 1]
    points = np.stack([x.ravel(), y.ravel()])
    weights = kernel.ravel().astype(np.float64)
    mean = points @ weights
    return mean, (points * weights) @ points.T - np.outer(mean, mean)


@settings(max_examples=200, deadline=None)
@given(length=st.floats(0, 60), angle=st.floats(0, 180))
def test_motion_kernel(length: float, angle: float) -> None:
    kernel = blur.motion_kernel(length, angle)
    assert kernel.dtype == np.float32
    assert kernel.shape[0] == kernel.shape[1]
    assert len(kernel) % 2 == 1
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    mean, covariance = moments(kernel)
    assert np.abs(mean).max() < 1e-3
    along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    across = np.array([-along[1], along[0]])
    assert length**2 / 12 - 0.05 <= along @ covariance @ along <= length**2 / 12 + 0.3
    assert across @ covariance @ across <= 0.3  # a thin line


def test_motion_kernel_by_hand() -> None:
    assert blur.motion_kernel(0, 77).tolist() == [[1.0]]
    flat = blur.motion_kernel(2, 0)  # 1/2 on the middle, the rest shared by its neighbours
    np.testing.assert_allclose(flat, [[0, 0, 0], [0.25, 0.5, 0.25], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(blur.motion_kernel(2, 90), flat.T, atol=1e-6)


def test_motion_angle_is_counter_clockwise() -> None:
    kernel = blur.motion_kernel(9, 45)
    middle = len(kernel) // 2
    assert kernel[:middle, middle + 1 :].sum() > 0.3  # right of the middle and above it
    assert kernel[:middle, :middle].sum() < 1e-6


@pytest.mark.parametrize(
    "blurred",
    [blur.gaussian_blur(RGB, 2.0), blur.motion_blur(RGB, 9.0, 30.0)],
    ids=["gaussian", "motion"],
)
def test_blur_smooths_and_keeps_the_level(blurred: np.ndarray) -> None:
    assert blurred.shape == RGB.shape
    assert blurred.dtype == np.uint8
    assert blurred.mean() == pytest.approx(RGB.mean(), abs=1.5)
    assert np.abs(np.diff(blurred.astype(int), axis=1)).mean() < 30  # 85 before


def test_gaussian_has_the_deviation_asked_for() -> None:
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    _, covariance = moments(blur.gaussian_blur(point, 3.0))
    np.testing.assert_allclose(covariance, np.diag([9.0, 9.0]), atol=0.2)
    assert blur.gaussian_blur(RGB, 0) is RGB


def test_the_reference_kernel_darkens_and_ours_does_not() -> None:
    sums = [
        blur.kernel_motion_kernel(size, angle, normalize=False).sum()
        for size in (5, 7, 9, 11)
        for angle in range(-45, 45)
    ]
    assert min(sums) < 0.7
    assert max(sums) == pytest.approx(1.0)
    assert blur.kernel_motion_kernel(7, 30).sum() == pytest.approx(1.0)


def test_stretch_fills_the_range() -> None:
    dull = (RGB // 4 + 60).astype(np.uint8)
    stretched = blur.stretch_contrast(dull)
    assert (stretched.min(), stretched.max()) == (0, 255)


@pytest.mark.parametrize("spec", [{"name": "random_blur", "view": 64}, {"name": "kernel_blur"}])
def test_label_says_whether_pixels_changed(spec: dict[str, object]) -> None:
    transform = transforms.build(spec)
    rng = np.random.default_rng(0)
    results = [transform(RGB, rng) for _ in range(300)]
    assert all((image is RGB) == (label == 0) for image, label in results)
    assert 120 < sum(label for _, label in results) < 180


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("name", ["random_blur", "kernel_blur"])
def test_always_and_never(name: str, p: float) -> None:
    transform = transforms.build({"name": name, "p": p})
    assert {transform(RGB, np.random.default_rng(s))[1] for s in range(30)} == {int(p)}


@pytest.mark.parametrize("name", ["random_blur", "kernel_blur"])
def test_label_cannot_be_read_from_brightness(name: str) -> None:
    transform = transforms.build({"name": name, "p": 1.0})
    levels = [transform(RGB, np.random.default_rng(s))[0].mean() for s in range(60)]
    assert max(abs(level - RGB.mean()) for level in levels) < 2


def test_strength_follows_the_size_of_the_image() -> None:
    transform = transforms.build(
        {"name": "random_blur", "p": 1.0, "families": ["gaussian"], "min_sigma": 2.0,
         "max_sigma": 2.0, "view": 32}
    )  # fmt: skip
    result, _ = transform(RGB, np.random.default_rng(0))  # short side 64: twice the view
    assert np.array_equal(result, blur.gaussian_blur(RGB, 4.0))


def test_refused() -> None:
    with pytest.raises(ConfigError, match="at most max_sigma"):
        transforms.build({"name": "random_blur", "min_sigma": 3.0, "max_sigma": 2.0})
    with pytest.raises(ConfigError, match="families"):
        transforms.build({"name": "random_blur", "families": ["box"]})
