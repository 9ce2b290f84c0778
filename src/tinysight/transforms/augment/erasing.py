"""Random erasing: covers parts of an image, so that no single part decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, RandomTransform, bad_image, check_range

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, Lt, MinLen
    from numpy.random import Generator


@transforms.register("random_erasing")
@dataclass(frozen=True)
class RandomErasing(RandomTransform):
    """Cover a random rectangle with one colour, one random colour, or noise.

    Source: arXiv 1708.04896, in PaddleClas' form, with equal results for equal draws. Put it after
    `normalize`: the random values are drawn from N(0, 1), the distribution of normalised pixels.
    Only `const` works on uint8.

    Args:
        p: probability.
        mode: "const": `value`; "rand": one random colour; "pixel": each pixel its own.
        area: smallest and largest share of the image.
        aspect: smallest height over width; the largest is 1 / aspect.
        log_aspect: draw the proportions log-uniformly, so that upright and lying rectangles are
            equally likely.
        attempts: rectangles that do not fit are drawn again so often; then the image stays.
        value: for "const", one number for all channels or one per channel, in the unit of the
            pixels.
    """

    keeps_places: ClassVar[bool] = True
    p: Annotated[float, Ge(0), Le(1)] = 0.5
    mode: Literal["const", "rand", "pixel"] = "const"
    area: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.02, 0.4)
    aspect: Annotated[float, Gt(0), Le(1)] = 0.3
    log_aspect: bool = False
    attempts: Annotated[int, Ge(1)] = 100
    value: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)

    def __post_init__(self) -> None:
        check_range("area", self.area)

    def check(self, image: Image) -> None:
        """Refuse pixels that `mode` or `value` are not for."""
        channels = image.shape[2] if image.ndim == 3 else 1
        if self.mode != "const" and image.dtype == np.uint8:
            raise bad_image(f"mode {self.mode} is for normalised pixels", "put normalize before")
        if len(self.value) not in (1, channels):
            raise bad_image(f"{channels} channels, but value has {len(self.value)}")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        window = self.draw(image.shape[1], image.shape[0], rng)
        if window is None:
            return image
        left, top, width, height = window
        result: Image = image.copy()
        part = result[top : top + height, left : left + width]
        if self.mode == "const":
            part[:] = self.value if image.ndim == 3 else self.value[0]
        else:
            one = (height, width) if self.mode == "pixel" else (1, 1)
            part[:] = rng.standard_normal((*one, *image.shape[2:]), np.float32)
        return result

    def draw(self, width: int, height: int, rng: Generator) -> tuple[int, int, int, int] | None:
        """(left, top, width, height) of a rectangle that fits; None after too many attempts."""
        low, high = self.aspect, 1 / self.aspect
        if self.log_aspect:
            low, high = math.log(low), math.log(high)
        for _ in range(self.attempts):
            area = rng.uniform(*self.area) * (width * height)
            aspect = rng.uniform(low, high)
            if self.log_aspect:
                aspect = math.exp(aspect)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w < width and 0 < h < height:
                top = int(rng.integers(0, height - h + 1))
                left = int(rng.integers(0, width - w + 1))
                return left, top, w, h
        return None


@transforms.register("hide_and_seek")
@dataclass(frozen=True)
class HideAndSeek(RandomTransform):
    """Cut the image into squares and cover each with zeros with probability `hide`.

    Source: arXiv 1811.02545. PaddleClas' operator takes the axes of an (H, W, C) image for
    (C, H, W) and so covers its first columns only; this one covers the whole image.

    Args:
        sizes: sides of a square, pixels; one is drawn per image, 0 leaves the image alone.
        hide: probability, per square.
    """

    keeps_places: ClassVar[bool] = True
    sizes: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 16, 32, 44, 56)
    hide: Annotated[float, Ge(0), Le(1)] = 0.5

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        side = self.sizes[int(rng.choice(len(self.sizes)))]
        if side == 0:
            return image
        result: Image = image.copy()
        for left in range(0, image.shape[1], side):
            for top in range(0, image.shape[0], side):
                if rng.random() < self.hide:
                    result[top : top + side, left : left + side] = 0
        return result


def cover(image: Image, reach: int, value: int, rng: Generator) -> Image:
    """A copy of `image` with a square of `value`, `reach` pixels to each side of a uniform place, cut at the border."""
    height, width = image.shape[:2]
    row, column = int(rng.integers(0, height + 1)), int(rng.integers(0, width + 1))
    result: Image = image.copy()
    result[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach] = value
    return result


@transforms.register("cutout")
@dataclass(frozen=True)
class Cutout(RandomTransform):
    """Cover squares around uniform places, each with one colour; they are cut at the border.

    Source: arXiv 1708.04552; PaddleClas' Cutout, with equal results for equal draws (row, column, colour). Its squares
    are a pixel longer than `length` where that is even.

    Args:
        holes: number of squares.
        length: side of a square, pixels.
        fill: one number for all channels or one per channel, in the unit of the pixels; None draws a colour for each
            square, 0 to 255.
    """

    holes: Annotated[int, Ge(1)] = 1
    length: Annotated[int, Ge(1)] = 112
    fill: Annotated[tuple[float, ...], MinLen(1)] | None = (0.0,)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        (height, width), half = image.shape[:2], self.length // 2
        channels = image.shape[2] if image.ndim == 3 else 1
        if self.fill is not None and len(self.fill) not in (1, channels):
            raise bad_image(f"{channels} channels, but fill has {len(self.fill)}")
        result: Image = image.copy()
        for _ in range(self.holes):
            row, column = int(rng.integers(0, height)), int(rng.integers(0, width))
            fill = self.fill or [int(rng.integers(0, 256)) for _ in range(channels)]
            rows = slice(max(row - half, 0), row + half + 1)
            columns = slice(max(column - half, 0), column + half + 1)
            result[rows, columns] = fill if image.ndim == 3 else fill[0]
        return result


@transforms.register("grid_mask")
@dataclass(frozen=True)
class GridMask(RandomTransform):
    """Cover the image with zeros but for squares on a grid of random width and place, or these squares.

    Source: arXiv 2001.04086; the mask of PaddleClas' GridMask for equal draws.

    Args:
        step: smallest and largest width of the grid, pixels; the largest is not drawn.
        ratio: share of a step that a stripe of zeros takes.
        rotate: the grid is turned by a whole number of degrees below this.
        squares: cover the squares, and leave what is between them, as the paper does.
        p: probability.
    """

    step: tuple[Annotated[int, Ge(2)], Annotated[int, Ge(2)]] = (96, 224)
    ratio: Annotated[float, Gt(0), Lt(1)] = 0.5
    rotate: Annotated[int, Ge(1), Le(360)] = 1
    squares: bool = False
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __post_init__(self) -> None:
        if self.step[0] >= self.step[1]:
            raise ValueError("step should be two whole numbers, the first below the second")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        (height, width), step = image.shape[:2], int(rng.integers(*self.step))
        tall, wide, stripe = int(1.5 * height), int(1.5 * width), int(step * self.ratio + 0.5)
        starts = int(rng.integers(0, step)), int(rng.integers(0, step))
        rows, columns = (
            (np.arange(side) - start) % step >= stripe
            for side, start in zip((tall, wide), starts, strict=True)
        )
        kept = (rows[:, None] & columns).astype(np.uint8)
        degrees = int(rng.integers(0, self.rotate))
        if degrees:
            turn = cv2.getRotationMatrix2D(((wide - 1) / 2, (tall - 1) / 2), degrees, 1.0)
            kept = np.asarray(cv2.warpAffine(kept, turn, (wide, tall), flags=cv2.INTER_NEAREST))
        top, left = (tall - height) // 2, (wide - width) // 2
        mask = kept[top : top + height, left : left + width] != self.squares
        mask = mask if image.ndim == 2 else mask[:, :, None]
        return np.asarray(image * mask).astype(image.dtype)
