"""Blur as arithmetic: kernels and filters, without randomness and without labels.

Lengths in pixels, angles in degrees. Kernels sum to 1, so brightness stays. Borders are mirrored
without repeating the edge pixel.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from tinysight.transforms.base import Image, same_axes

_FINE = 8  # sub-pixel steps


def gaussian_blur(image: Image, sigma: float) -> Image:
    """`image` under a round Gaussian of standard deviation `sigma`; the same object for 0."""
    if sigma <= 0:
        return image
    return same_axes(cv2.GaussianBlur(image, (0, 0), sigma), image)


def motion_kernel(length: float, angle: float) -> Image:
    """Kernel (k, k), k odd, float32, sum 1: a straight line through the middle, anti-aliased.

    Points along the line are shared bilinearly among their four pixels, so any length and angle has
    a kernel of its own. Its standard deviation along the line is near length / sqrt(12), a little
    more for short lines.

    Args:
        length: length of the camera's path, pixels, >= 0.
        angle: direction, degrees counter-clockwise from the horizontal; 180 is 0 again.
    """
    reach = math.ceil(length / 2)
    steps = max(math.ceil(length * _FINE), 1)
    along = ((np.arange(steps) + 0.5) / steps - 0.5) * length
    x = reach + along * math.cos(math.radians(angle))
    y = reach - along * math.sin(math.radians(angle))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    side = 2 * reach + 1
    kernel = np.zeros((side + 1, side + 1))  # one more, for the neighbour of the last pixel
    for dy, row_share in ((0, top + 1 - y), (1, y - top)):
        for dx, column_share in ((0, left + 1 - x), (1, x - left)):
            np.add.at(kernel, (top + dy, left + dx), row_share * column_share)
    return _sum_to_one(kernel[:side, :side])


def motion_blur(image: Image, length: float, angle: float) -> Image:
    """`image` smeared along a straight line; see `motion_kernel`."""
    return filter_with(image, motion_kernel(length, angle))


def disk_kernel(radius: float) -> Image:
    """Kernel (k, k), k odd, float32, sum 1: the share of each pixel that a disk covers."""
    reach = max(math.ceil(radius - 0.5), 0)
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - 0.5 - reach
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float64)
    kernel = inside.reshape(2 * reach + 1, _FINE, 2 * reach + 1, _FINE).mean(axis=(1, 3))
    if not kernel.any():  # a disk between the sub-pixels
        kernel[reach, reach] = 1.0
    return _sum_to_one(kernel)


def disk_blur(image: Image, radius: float) -> Image:
    """`image` out of focus by a disk of `radius`."""
    return filter_with(image, disk_kernel(radius))


def down_up(image: Image, factor: float) -> Image:
    """`image` reduced by `factor` (1 or more), area, and enlarged again, bicubic."""
    height, width = image.shape[:2]
    small = max(round(width / factor), 1), max(round(height / factor), 1)
    if small == (width, height):
        return image
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return same_axes(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC), image)


def _sum_to_one(kernel: Image) -> Image:
    scaled: Image = (kernel / kernel.sum()).astype(np.float32)
    return scaled


def filter_with(image: Image, kernel: Image) -> Image:
    """`image` correlated with `kernel` (k, k) about its middle; dtype kept, uint8 rounded."""
    return same_axes(cv2.filter2D(image, -1, kernel), image)


def kernel_motion_kernel(size: int, angle: float, normalize: bool = True) -> Image:
    """PaddleClas' motion kernel: a diagonal turned by `angle` and divided by `size`.

    Turning cuts the ends of the diagonal off, so the result sums to 0.64 to 1.0 and would darken
    the image; `normalize` divides by that sum.

    Returns:
        (size, size) float64.
    """
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1)
    kernel: Image = cv2.warpAffine(np.diag(np.ones(size)), turn, (size, size)) / size
    return kernel / kernel.sum() if normalize else kernel


def stretch_contrast(image: Image) -> Image:
    """`image`, uint8, scaled so that its darkest value is 0 and its lightest 255."""
    return same_axes(cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX), image)
