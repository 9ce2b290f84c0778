"""Blurring some of the images and labelling them by it: 1 blurred, 0 left alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2

from tinysight.registry import transforms
from tinysight.transforms.base import Image, RandomTransform, same_axes
from tinysight.transforms.blur import (
    filter_with,
    gaussian_blur,
    kernel_motion_kernel,
    motion_blur,
    stretch_contrast,
)

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

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

    sets_label: ClassVar[bool] = True

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    families: Annotated[tuple[Literal["gaussian", "motion"], ...], MinLen(1)] = (
        "gaussian",
        "motion",
    )
    min_sigma: Annotated[float, Gt(0)] = 1.0
    max_sigma: Annotated[float, Gt(0)] = 5.0
    view: Annotated[int, Ge(1)] = 256

    def __post_init__(self) -> None:
        if not 0 < self.min_sigma <= self.max_sigma:
            raise ValueError("min_sigma should be positive and at most max_sigma")
        unknown = set(self.families) - {"gaussian", "motion"}
        if unknown or not self.families:
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
        width = SIZES[int(rng.integers(0, len(SIZES)))]
        height = SIZES[int(rng.integers(0, len(SIZES)))]
        return same_axes(cv2.GaussianBlur(image, (width, height), 0), image)

    def motion(self, image: Image, rng: Generator) -> Image:
        """The motion half; draws size, then angle."""
        size = SIZES[int(rng.integers(0, len(SIZES)))]
        angle = int(rng.integers(-MAX_ANGLE, MAX_ANGLE))
        kernel = kernel_motion_kernel(size, angle, self.normalize_kernel)
        blurred = filter_with(image, kernel)
        return stretch_contrast(blurred) if self.stretch else blurred
