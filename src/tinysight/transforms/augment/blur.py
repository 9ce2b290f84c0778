"""Blurs some of the images and sets their labels: 1 blurred, 0 unchanged.

The functions at the end hold the arithmetic: lengths in pixels, angles in degrees. Kernels sum to 1, so brightness
stays. Borders are mirrored without repeating the edge pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, RandomTransform, same_axes

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

Family = Literal["gaussian", "motion"]
_FINE = 8  # sub-pixel steps
SIZES = (5, 7, 9, 11)  # PaddleClas' kernels
MAX_ANGLE = 45


@transforms.register("random_blur")
@dataclass(frozen=True)
class RandomBlur(RandomTransform):
    """Blur with probability `p`, visibly at the size that a model sees; sets the label.

    The strength is drawn log-uniformly between `min_sigma` and `max_sigma`, pixels of standard
    deviation in a view of short side `view`, and scaled to the image at hand: a large photograph
    gets a wide kernel. Gaussian blur is round; motion blur is a straight line of the same deviation
    at any angle. Neither changes brightness or contrast, so the label cannot be read from those.
    Put it before the resize, and let `min_sigma` be the smallest blur that you promise to find.

    Args:
        p: probability of blurring, and so of label 1.
        families: drawn with equal chance.
        min_sigma: weakest blur, px at `view`.
        max_sigma: strongest blur, px at `view`.
        view: short side, px, of the image that a model sees before its crop.
    """

    keeps_places: ClassVar[bool] = True
    sets_label: ClassVar[bool] = True

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    families: Annotated[tuple[Family, ...], MinLen(1)] = ("gaussian", "motion")
    min_sigma: Annotated[float, Gt(0)] = 1.0
    max_sigma: Annotated[float, Gt(0)] = 5.0
    view: Annotated[int, Ge(1)] = 256

    def __post_init__(self) -> None:
        if not 0 < self.min_sigma <= self.max_sigma:
            raise ValueError("min_sigma should be positive and at most max_sigma")
        if not self.families or set(self.families) - {"gaussian", "motion"}:
            raise ValueError(f"families should be of gaussian and motion, got {self.families!r}")

    def apply(self, image: Image, rng: Generator) -> tuple[Image, int]:
        """Image (H, W, C) to the same shape and dtype, and the label."""
        family = self.families[int(rng.integers(0, len(self.families)))]
        sigma = math.exp(rng.uniform(math.log(self.min_sigma), math.log(self.max_sigma)))
        sigma *= min(image.shape[:2]) / self.view
        if family == "gaussian":
            return gaussian_blur(image, sigma), 1
        return motion_blur(image, sigma * math.sqrt(12.0), rng.uniform(0.0, 180.0)), 1


@transforms.register("kernel_blur")
@dataclass(frozen=True)
class KernelBlur(RandomTransform):
    """PaddleClas' blur: small kernels, whatever the size of the image; sets the label.

    Gaussian: width and height drawn independently from 5, 7, 9, 11, deviation as OpenCV derives it
    from them. Motion: a diagonal of one of those sizes, turned by whole degrees from -45 to 44.

    PaddleClas betrays the label in two ways, both off here: it stretches contrast to 0..255
    after motion blur only (`stretch`), and its motion kernel sums to 0.64 to 1.0, which darkens
    (`normalize_kernel` mends that). A model trained so may learn contrast or brightness in place of
    blur. With `stretch=True, normalize_kernel=False` the result equals PaddleClas' for equal
    draws.

    Args:
        p: probability of blurring, and so of label 1.
        stretch: stretch contrast after motion blur.
        normalize_kernel: make the motion kernel sum to 1.
    """

    keeps_places: ClassVar[bool] = True
    sets_label: ClassVar[bool] = True

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    stretch: bool = False
    normalize_kernel: bool = True

    def apply(self, image: Image, rng: Generator) -> tuple[Image, int]:
        """Image (H, W, C) to the same shape and dtype, and the label."""
        if rng.random() >= 0.5:
            return self.gaussian(image, rng), 1
        return self.motion(image, rng), 1

    def gaussian(self, image: Image, rng: Generator) -> Image:
        """The Gaussian half; draws width, then height."""
        width, height = (SIZES[int(rng.integers(0, len(SIZES)))] for _ in range(2))
        return same_axes(cv2.GaussianBlur(image, (width, height), 0), image)

    def motion(self, image: Image, rng: Generator) -> Image:
        """The motion half; draws size, then angle."""
        size = SIZES[int(rng.integers(0, len(SIZES)))]
        angle = int(rng.integers(-MAX_ANGLE, MAX_ANGLE))
        kernel = kernel_motion_kernel(size, angle, self.normalize_kernel)
        blurred = same_axes(cv2.filter2D(image, -1, kernel), image)
        return stretch_contrast(blurred) if self.stretch else blurred


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
    kernel = kernel[:side, :side]
    return np.asarray(kernel / kernel.sum(), np.float32)


def motion_blur(image: Image, length: float, angle: float) -> Image:
    """`image` smeared along a straight line; see `motion_kernel`."""
    return same_axes(cv2.filter2D(image, -1, motion_kernel(length, angle)), image)


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
