"""Random light and random compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.registry import transforms
from tinysight.transforms.base import Image, need, same_axes

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator


def _only_uint8(image: Image, what: str) -> None:
    if image.dtype != np.uint8:
        raise ImageError(
            "", f"{what} needs uint8 pixels, got {image.dtype}", "put it before normalize"
        )


@transforms.register("random_brightness_contrast")
@dataclass(frozen=True)
class RandomBrightnessContrast:
    """Change contrast about the mean level, then brightness, with probability `p`; uint8.

    Args:
        brightness: largest shift, up or down, as a share of 255.
        contrast: largest change of the contrast factor from 1, up or down.
        p: probability.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    brightness: Annotated[float, Ge(0), Le(1)] = 0.2
    contrast: Annotated[float, Ge(0), Le(1)] = 0.2
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        _only_uint8(image, "random_brightness_contrast")
        rng = need(rng)
        if rng.random() >= self.p:
            return image
        factor = 1.0 + rng.uniform(-self.contrast, self.contrast)
        shift = 255.0 * rng.uniform(-self.brightness, self.brightness)
        level = image.mean()
        values = (np.arange(256) - level) * factor + level + shift
        return same_axes(cv2.LUT(image, np.rint(values).clip(0, 255).astype(np.uint8)), image)


@transforms.register("random_jpeg")
@dataclass(frozen=True)
class RandomJpeg:
    """Go through JPEG at a random quality with probability `p`; uint8, grey or RGB.

    Args:
        quality: lowest and highest, both included, 1 to 100.
        p: probability.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    quality: tuple[Annotated[int, Ge(1), Le(100)], Annotated[int, Ge(1), Le(100)]] = (40, 95)
    p: Annotated[float, Ge(0), Le(1)] = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError("quality should be two numbers from 1 to 100 in ascending order")

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        _only_uint8(image, "random_jpeg")
        rng = need(rng)
        if rng.random() >= self.p:
            return image
        return jpeg(image, int(rng.integers(self.quality[0], self.quality[1] + 1)))


def jpeg(image: Image, quality: int) -> Image:
    """`image` after a round through JPEG at `quality` (1 to 100); uint8, grey or RGB.

    Raises:
        ImageError: not 1 or 3 channels, or a side over JPEG's 65,500 pixels.
    """
    if image.ndim == 3 and image.shape[2] not in (1, 3):
        raise ImageError("", f"JPEG takes 1 or 3 channels, got {image.shape[2]}")
    if max(image.shape[:2]) > 65_500:
        raise ImageError("", "JPEG takes at most 65500 pixels a side")
    colour = image.ndim == 3 and image.shape[2] == 3
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back: Any = cv2.imdecode(data, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    return cv2.cvtColor(back, cv2.COLOR_BGR2RGB, dst=back) if colour else same_axes(back, image)
