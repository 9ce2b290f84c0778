"""Pixel values of a network's input: normalisation and channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, bad_image, check_area, same_axes

if TYPE_CHECKING:
    from annotated_types import Gt, Le, MinLen
    from numpy.random import Generator

_MOST = 1e18  # of a mean, a deviation or a factor: their products are still numbers in float32
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(image: Image, mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> Image:
    """`(image * scale - mean) / std` per channel, every step in float32 as in PaddleClas.

    A scale of 1/255 and one of 0.00392157 differ in the last bits of the result, so a bundle says
    which.

    Args:
        image: (H, W, C) or (H, W), any numeric dtype; uint8 goes through a table of its 256
            possible answers.
        mean: one per channel, or one for all, in the unit of `image * scale`.
        std: one per channel, or one for all; not zero.
        scale: factor applied first.

    Returns:
        A new float32 array of the same shape.

    Raises:
        ImageError: `mean` and `std` are not for this number of channels.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if not {len(mean), len(std)} <= {1, channels}:
        raise bad_image(f"{channels} channels, but mean has {len(mean)} and std {len(std)}")
    if image.dtype == np.uint8:
        return same_axes(cv2.LUT(image, _table(mean, std, scale, channels)), image)
    scaled: Image = image.astype(np.float32) * np.float32(scale)
    scaled -= np.asarray(mean, np.float32)
    scaled /= np.asarray(std, np.float32)
    return scaled


@lru_cache(maxsize=16)
def _table(mean: tuple[float, ...], std: tuple[float, ...], scale: float, channels: int) -> Image:
    """The answer for each uint8 value and channel, (256, 1, C) float32."""
    values = np.arange(256, dtype=np.float32)[:, None].repeat(channels, axis=1)
    with np.errstate(all="ignore"):  # what comes of absurd numbers is met where the scores are
        centred = values * np.float32(scale) - np.asarray(mean, np.float32)
        return np.ascontiguousarray((centred / np.asarray(std, np.float32))[:, None, :])


@lru_cache(maxsize=16)
def channel_tables(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float
) -> tuple[Image, Image, Image]:
    """What `normalize` makes of each uint8 value of red, green and blue: three of (256,) float32."""
    table = _table(mean, std, scale, 3)
    red, green, blue = (np.ascontiguousarray(table[:, 0, c]) for c in range(3))
    return red, green, blue


@transforms.register("normalize")
@dataclass(frozen=True)
class Normalize:
    """Subtract the mean and divide by the deviation, in float32; see the function `normalize`.

    Args:
        mean: per channel, in the unit of `image * scale`; the default is ImageNet's on [0, 1].
        std: per channel.
        scale: factor applied first; 1/255 takes uint8 to [0, 1].
    """

    keeps_places: ClassVar[bool] = True
    mean: Annotated[tuple[float, ...], MinLen(1)] = IMAGENET_MEAN
    std: Annotated[tuple[float, ...], MinLen(1)] = IMAGENET_STD
    scale: Annotated[float, Gt(0)] = 1 / 255

    def __post_init__(self) -> None:
        for value in (*self.mean, *self.std, self.scale):
            if not abs(value) < _MOST:  # a TypeError where it is no number
                raise ValueError(f"{value!r} is beyond what pixels may be")
        if 0 in self.std:
            raise ValueError("std may not be 0")
        if not (self.mean and self.std) or 1 != len(self.mean) != len(self.std) != 1:
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}")

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to float32 of the same shape."""
        return normalize(image, self.mean, self.std, self.scale)


@transforms.register("append_channels")
@dataclass(frozen=True)
class AppendChannels:
    """Append channels of zeros: some accelerators want four. After `normalize` (mean level 0).

    Args:
        channels: number of channels of the result, at most 16; an image with more is an error.
    """

    keeps_places: ClassVar[bool] = True
    channels: Annotated[int, Gt(0), Le(16)] = 4

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (H, W, channels), dtype kept."""
        if image.ndim != 3 or image.shape[2] > self.channels:
            raise bad_image(f"cannot make {self.channels} channels of {image.shape}")
        check_area(image.shape[1], image.shape[0], self.channels)
        return np.pad(image, ((0, 0), (0, 0), (0, self.channels - image.shape[2])))


@transforms.register("cast")
@dataclass(frozen=True)
class Cast:
    """Change the number type of the pixels, their values as near as it holds them.

    Args:
        dtype: "float32", or "float16" for a network that was exported to take half precision.
    """

    keeps_places: ClassVar[bool] = True
    dtype: Literal["float16", "float32"] = "float32"

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to the same shape in that type."""
        return image.astype(self.dtype, copy=False)
