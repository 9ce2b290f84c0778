"""Random windows, sizes, mirror images and rotations. Sizes in pixels; `size` is a side or [width, height]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms import geometry
from tinysight.transforms.base import (
    Image,
    RandomTransform,
    check_area,
    check_range,
    same_axes,
    width_height,
)
from tinysight.transforms.geometry import Backend, Interpolation, crop, resize_to

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

_USUAL: tuple[Interpolation, ...] = ("bilinear", "area", "bicubic")
_FLIPS = {"horizontal": 1, "vertical": 0, "both": -1}
_RESAMPLINGS = tuple(geometry.CV2_INTERPOLATIONS.values())  # whose order decides what a draw means


@transforms.register("random_crop")
@dataclass(frozen=True)
class RandomCrop(RandomTransform):
    """Cut out a window at a uniform place; an image that is too small is an error.

    PaddleClas' RandCropImageV2 draws from one row and one column too many, so that now and then its
    window is a pixel short; this one is not.

    Args:
        size: size of the window, pixels.
        pad: number of rows and columns of zeros put around the image first.
    """

    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
    pad: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        width_height(self.size)
        check_area(2 * self.pad, 2 * self.pad)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to a view (h, w, C)."""
        if self.pad:
            image = np.pad(image, ((self.pad,) * 2, (self.pad,) * 2, (0, 0))[: image.ndim])
        width, height = width_height(self.size)
        spare_width, spare_height = geometry.room(image, width, height)
        top = int(rng.integers(0, spare_height + 1))
        left = int(rng.integers(0, spare_width + 1))
        return crop(image, left, top, width, height)


@transforms.register("random_resized_crop")
@dataclass(frozen=True)
class RandomResizedCrop(RandomTransform):
    """Cut out a window of random area and proportions and resize it.

    One draw always succeeds: the proportions are drawn first, then the area between what was asked
    and what fits. This is PaddleClas' rule, with equal results for equal draws (aspect, area,
    left, top).

    Args:
        size: size of the result, pixels.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width over height, before the image's own proportions limit
            the area.
        log_ratio: draw the ratio log-uniformly, so that upright and lying windows are equally
            likely.
        interpolation: interpolation that `backend` has; see `resize`.
        backend: "cv2" or "pillow"; see `resize`.
        attempts: torchvision's and paddle.vision's rule where it is not 0: area and proportions are
            drawn up to so many times until the window fits, else it is the largest one in the middle
            that `ratio` allows.
    """

    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
    scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.08, 1.0)
    ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (3 / 4, 4 / 3)
    log_ratio: bool = False
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"
    attempts: Annotated[int, Ge(0), Le(100)] = 0

    def __post_init__(self) -> None:
        width_height(self.size)
        geometry.check_interpolation(self.interpolation, self.backend)
        check_range("scale", self.scale)
        check_range("ratio", self.ratio)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to (h, w, C), dtype kept."""
        window = crop(image, *self.draw(image.shape[1], image.shape[0], rng))
        return resize_to(window, *width_height(self.size), self.interpolation, self.backend)

    def draw(self, width: int, height: int, rng: Generator) -> tuple[int, int, int, int]:
        """(left, top, width, height) of a window in an image of `width` x `height`."""
        if self.attempts:
            return self._of_attempts(width, height, rng)
        wide = math.sqrt(self._ratio(rng))
        tall = 1.0 / wide
        fits = min(width / height / wide**2, height / width / tall**2)
        share = rng.uniform(min(self.scale[0], fits), min(self.scale[1], fits))
        side = math.sqrt(width * height * share)
        w, h = min(max(int(side * wide), 1), width), min(max(int(side * tall), 1), height)
        return int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h

    def _ratio(self, rng: Generator) -> float:
        low, high = self.ratio
        if self.log_ratio:
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        return float(rng.uniform(low, high))

    def _of_attempts(self, width: int, height: int, rng: Generator) -> tuple[int, int, int, int]:
        for _ in range(self.attempts):
            side = math.sqrt(width * height * rng.uniform(*self.scale))
            wide = math.sqrt(self._ratio(rng))
            w, h = round(side * wide), round(side / wide)
            if 0 < w <= width and 0 < h <= height:
                left = int(rng.integers(0, width - w + 1))
                return left, int(rng.integers(0, height - h + 1)), w, h
        low, high = self.ratio
        w, h = min(width, round(height * high)), min(height, round(width / low))
        w, h = max(w, 1), max(h, 1)
        return (width - w) // 2, (height - h) // 2, w, h


@transforms.register("random_resize")
@dataclass(frozen=True)
class RandomResize(RandomTransform):
    """Resize to a short side with an interpolation drawn per image, so that none is learnt.

    `short` may be a range [smallest, largest], both included, drawn uniformly.
    """

    short: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
    interpolations: Annotated[tuple[Interpolation, ...], MinLen(1)] = _USUAL

    def __post_init__(self) -> None:
        low, high = width_height(self.short)
        if low > high:
            raise ValueError("short should be in ascending order")
        for interpolation in self.interpolations:
            geometry.check_interpolation(interpolation, "cv2")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to (h, w, C), dtype kept."""
        low, high = width_height(self.short)
        short = int(rng.integers(low, high + 1))
        interpolation = self.interpolations[int(rng.integers(0, len(self.interpolations)))]
        return resize_to(image, *geometry.short_size(image, short), interpolation)


@transforms.register("random_flip")
@dataclass(frozen=True)
class RandomFlip(RandomTransform):
    """Mirror with probability `p`: left to right, top to bottom, or both at once (half a turn)."""

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    direction: Literal["horizontal", "vertical", "both"] = "horizontal"

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        return same_axes(cv2.flip(image, _FLIPS[self.direction]), image)

    def with_boxes(self, image: Image, boxes: Image, rng: Generator) -> tuple[Image, Image]:
        """The image and its boxes (B, 5), mirrored or not."""
        if rng.random() >= self.p:
            return image, boxes
        moved, (height, width) = boxes.copy(), image.shape[:2]
        if self.direction != "vertical":
            moved[:, [1, 3]] = width - boxes[:, [3, 1]]
        if self.direction != "horizontal":
            moved[:, [2, 4]] = height - boxes[:, [4, 2]]
        return self.apply(image, rng), moved


@transforms.register("random_resampling")
@dataclass(frozen=True)
class RandomResampling(RandomTransform):
    """Reduce to a square of a random side and enlarge again, each with a random interpolation.

    Makes a model indifferent to how images were resized. Source: PaddleClas'
    RandomInterpolationAugment, with equal results for equal draws.

    Args:
        scale: smallest and largest side of the square, as a share of the height.
        p: probability.
    """

    scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.2, 1.0)
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __post_init__(self) -> None:
        check_range("scale", self.scale)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        side = max(int(rng.uniform(*self.scale) * image.shape[0]), 1)
        down, up = (_RESAMPLINGS[int(rng.choice(len(_RESAMPLINGS)))] for _ in range(2))
        small = cv2.resize(image, (side, side), interpolation=down)
        return same_axes(cv2.resize(small, image.shape[1::-1], interpolation=up), image)


@transforms.register("random_rotation")
@dataclass(frozen=True)
class RandomRotation(RandomTransform):
    """Turn about the middle by an angle drawn uniformly; size kept, corners cut, gaps filled.

    OpenCV's rotation, as PaddlePaddle's RandomRotation has it, with equal results for equal draws
    and the same OpenCV.

    Args:
        degrees: largest angle either way, or [smallest, largest]; counter-clockwise.
        p: probability.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos".
        fill: colour of the gaps, one number or one per channel, in the unit of the pixels.
    """

    degrees: Annotated[float, Ge(0), Le(360)] | tuple[float, float] = 90.0
    p: Annotated[float, Ge(0), Le(1)] = 0.5
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    fill: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)

    def __post_init__(self) -> None:
        if isinstance(self.degrees, tuple) and self.degrees[0] > self.degrees[1]:
            raise ValueError("degrees should be in ascending order")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        both = self.degrees if isinstance(self.degrees, tuple) else (-self.degrees, self.degrees)
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(*both), 1)
        colour = self.fill if len(self.fill) > 1 else self.fill * 4
        flags = geometry.CV2_INTERPOLATIONS[self.interpolation]
        turned = cv2.warpAffine(image, turn, (width, height), flags=flags, borderValue=colour)
        return same_axes(turned, image)


@transforms.register("random_turn")
@dataclass(frozen=True)
class RandomRotate90(RandomTransform):
    """Turn by a number of quarters drawn from `quarters`, counter-clockwise; sets the label to it.

    For learning which way up an image is (PaddleClas' RandomRot90). Exact: no pixel changes.
    """

    sets_label: ClassVar[bool] = True

    quarters: Annotated[tuple[Annotated[int, Ge(0), Le(3)], ...], MinLen(1)] = (0, 1, 2, 3)

    def apply(self, image: Image, rng: Generator) -> tuple[Image, int]:
        """Image (H, W, C) to (H, W, C) or (W, H, C), and the label."""
        quarters = self.quarters[int(rng.integers(0, len(self.quarters)))]
        return np.ascontiguousarray(np.rot90(image, quarters)), quarters
