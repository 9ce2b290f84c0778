"""Random colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from tinysight.errors import ImageError
from tinysight.registry import transforms
from tinysight.transforms import tone
from tinysight.transforms.augment.operations import as_rgb, like
from tinysight.transforms.base import Image, need

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator

_VALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]],
    np.float32,
)  # of ImageNet's colours on a scale of 0 to 1; AlexNet, 2012


@transforms.register("color_jitter")
@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, in an order drawn per image; uint8.

    Each of the first three multiplies by a factor from max(0, 1 - x) to 1 + x, drawn uniformly; hue
    turns by up to `hue` of the circle either way. 0 leaves a property alone. Equals PaddlePaddle's
    ColorJitter on a Pillow image, with equal results for equal draws; hue goes through 8 bits.

    Args:
        brightness: largest change of the factor.
        contrast: likewise, about the mean grey level.
        saturation: likewise.
        hue: largest turn, up to half a circle.
        p: probability of doing anything.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    brightness: Annotated[float, Ge(0)] = 0.0
    contrast: Annotated[float, Ge(0)] = 0.0
    saturation: Annotated[float, Ge(0)] = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rng = need(rng)
        pixels = as_rgb(image, "color_jitter")
        if rng.random() >= self.p:
            return image
        factors = (
            (self.brightness, tone.brightness),
            (self.contrast, tone.contrast),
            (self.saturation, tone.color),
        )
        for which in rng.permutation(4):
            if which == 3:
                if self.hue:
                    pixels = tone.shift_hue(pixels, int(rng.uniform(-self.hue, self.hue) * 255))
                continue
            change, apply = factors[which]
            if change:
                pixels = apply(pixels, rng.uniform(max(0.0, 1 - change), 1 + change))
        return like(pixels, image)


@transforms.register("random_grayscale")
@dataclass(frozen=True)
class RandomGrayscale:
    """Take the colour away with probability `p`; uint8. Channels stay, all alike."""

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    p: Annotated[float, Ge(0), Le(1)] = 0.1

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        pixels = as_rgb(image, "random_grayscale")
        if need(rng).random() >= self.p:
            return image
        return like(tone.color(pixels, 0.0), image)


@transforms.register("pca_lighting")
@dataclass(frozen=True)
class PcaLighting:
    """Add a random colour along the axes in which ImageNet's colours vary; float pixels.

    Source: AlexNet, 2012; PaddleClas' PCALighting, with equal results for equal draws. The shift
    is in units of the pixels' scale 0 to 1 (about 0.02 at most axes), so put it after a
    `normalize` that only scales, or accept its effect on normalised pixels as PaddleClas does.

    Args:
        deviation: standard deviation of the draw along each axis.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    deviation: Annotated[float, Ge(0)] = 0.1

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Float32 image (H, W, 3) to the same shape and dtype."""
        rng = need(rng)
        if image.dtype == np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(
                "", "pca_lighting needs three channels of float pixels", "put normalize before"
            )
        draw = rng.normal(0.0, self.deviation, 3).astype(np.float32)
        shift = (_VECTORS * draw * _VALUES).sum(axis=1)
        shifted: Image = (image + shift).astype(image.dtype)
        return shifted
