"""Random light, colour and compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.augment import tone
from tinysight.transforms.augment.pillow import shift_hue
from tinysight.transforms.base import Image, RandomTransform, bad_image, same_axes

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator

_VALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
# Of ImageNet's colours on a scale of 0 to 1; AlexNet, 2012
_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_VECTORS = np.array(_AXES, np.float32)


@transforms.register("random_brightness_contrast")
@dataclass(frozen=True)
class RandomBrightnessContrast(RandomTransform):
    """Change contrast about the mean level, then brightness, with probability `p`; uint8.

    Args:
        brightness: largest shift, up or down, as a share of 255.
        contrast: largest change of the contrast factor from 1, up or down.
        p: probability.
    """

    keeps_places: ClassVar[bool] = True
    pixels: ClassVar[str] = "uint8"

    brightness: Annotated[float, Ge(0), Le(1)] = 0.2
    contrast: Annotated[float, Ge(0), Le(1)] = 0.2
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        factor = 1.0 + rng.uniform(-self.contrast, self.contrast)
        shift = 255.0 * rng.uniform(-self.brightness, self.brightness)
        level = image.mean()
        values = (np.arange(256) - level) * factor + level + shift
        return same_axes(cv2.LUT(image, np.rint(values).clip(0, 255).astype(np.uint8)), image)


@transforms.register("random_jpeg")
@dataclass(frozen=True)
class RandomJpeg(RandomTransform):
    """Go through JPEG at a random quality with probability `p`; uint8, grey or RGB.

    Args:
        quality: lowest and highest, both included, 1 to 100.
        p: probability.
    """

    keeps_places: ClassVar[bool] = True
    pixels: ClassVar[str] = "uint8"

    quality: tuple[Annotated[int, Ge(1), Le(100)], Annotated[int, Ge(1), Le(100)]] = (40, 95)
    p: Annotated[float, Ge(0), Le(1)] = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError("quality should be two numbers from 1 to 100 in ascending order")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        return jpeg(image, int(rng.integers(self.quality[0], self.quality[1] + 1)))


@transforms.register("color_jitter")
@dataclass(frozen=True)
class ColorJitter(RandomTransform):
    """Change brightness, contrast, saturation and hue, in an order drawn per image; uint8.

    Each of the first three multiplies by a factor from max(0, 1 - x) to 1 + x, drawn uniformly; hue
    turns by up to `hue` of the circle either way. 0 leaves a property alone. Equals PaddlePaddle's
    ColorJitter on a Pillow image, with equal results for equal draws; hue goes through 8 bits.

    Args:
        brightness: largest change of the factor about black.
        contrast: largest change of the factor about the mean grey level.
        saturation: largest change of the factor about grey.
        hue: largest turn, up to half a circle.
        p: probability of doing anything.
        each: probability of each of the four changes.
    """

    keeps_places: ClassVar[bool] = True
    pixels: ClassVar[str] = "rgb"

    brightness: Annotated[float, Ge(0)] = 0.0
    contrast: Annotated[float, Ge(0)] = 0.0
    saturation: Annotated[float, Ge(0)] = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    each: Annotated[float, Ge(0), Le(1)] = 1.0

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        changes = (self.brightness, self.contrast, self.saturation, self.hue)
        for which in rng.permutation(4):
            change = changes[which]
            if self.each < 1 and rng.random() >= self.each:
                continue
            if change and which == 3:
                image = shift_hue(image, int(rng.uniform(-change, change) * 255))
            elif change:
                factor = (tone.brightness, tone.contrast, tone.color)[which]
                image = factor(image, rng.uniform(max(0.0, 1 - change), 1 + change))
        return image


@transforms.register("random_grayscale")
@dataclass(frozen=True)
class RandomGrayscale(RandomTransform):
    """Take the colour away with probability `p`; uint8. Channels stay, all alike."""

    keeps_places: ClassVar[bool] = True
    pixels: ClassVar[str] = "rgb"

    p: Annotated[float, Ge(0), Le(1)] = 0.1

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        return tone.color(image, 0.0)


@transforms.register("pca_lighting")
@dataclass(frozen=True)
class PcaLighting(RandomTransform):
    """Add a random colour along the axes in which ImageNet's colours vary; float pixels.

    Source: AlexNet, 2012; PaddleClas' PCALighting, with equal results for equal draws. The shift
    is in units of the pixels' scale 0 to 1 (about 0.02 at most axes), so put it after a
    `normalize` that only scales, or accept its effect on normalised pixels as PaddleClas does.

    Args:
        deviation: standard deviation of the draw along each axis.
    """

    keeps_places: ClassVar[bool] = True
    deviation: Annotated[float, Ge(0)] = 0.1

    def apply(self, image: Image, rng: Generator) -> Image:
        """Float32 image (H, W, 3) to the same shape and dtype."""
        if image.dtype == np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise bad_image("needs three channels of float pixels", "put normalize before")
        draw = rng.normal(0.0, self.deviation, 3).astype(np.float32)
        return np.asarray((image + (_VECTORS * draw * _VALUES).sum(axis=1)).astype(image.dtype))


def jpeg(image: Image, quality: int) -> Image:
    """`image` after a round through JPEG at `quality` (1 to 100); uint8, grey or RGB.

    Raises:
        ImageError: not 1 or 3 channels, or a side over JPEG's 65,500 pixels.
    """
    if image.ndim == 3 and image.shape[2] not in (1, 3):
        raise bad_image(f"JPEG takes 1 or 3 channels, got {image.shape[2]}")
    if max(image.shape[:2]) > 65_500:
        raise bad_image("JPEG takes at most 65500 pixels a side")
    colour = image.ndim == 3 and image.shape[2] == 3
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back: Any = cv2.imdecode(data, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    return cv2.cvtColor(back, cv2.COLOR_BGR2RGB, dst=back) if colour else same_axes(back, image)
