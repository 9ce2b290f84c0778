"""AutoAugment and RandAugment at the scales of their first open implementations, which PaddleClas uses.

They differ from `auto_augment` and `rand_augment` in the scales, in always applying what was drawn,
and in how they move pixels: shear is bicubic, shift and rotation take the nearest pixel, and
rotation is always counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.augment.operations import (
    MID_GREY,
    OPERATIONS,
    Colour,
    as_rgb,
    check_colour,
    like,
)
from tinysight.transforms.augment.policies import ORIGINAL
from tinysight.transforms.base import Image, need

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator

_SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y")
_FACTORS = ("color", "contrast", "sharpness", "brightness")
_LARGEST = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,
    "translate_y": 150 / 331,
    "rotate": 30.0,
    **dict.fromkeys(_FACTORS, 0.9),
}
_CHOICES = (
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "color",
    "posterize",
    "solarize",
    "contrast",
    "sharpness",
    "brightness",
    "autocontrast",
    "equalize",
    "invert",
)


def _policy_value(name: str, level: int) -> float:
    """What level 0 to 9 of an AutoAugment policy means."""
    if name == "posterize":
        return float(np.linspace(8, 4, 10).round()[level])
    if name == "solarize":
        return float(np.linspace(256, 0, 10)[level])
    return float(np.linspace(0, _LARGEST.get(name, 0.0), 10)[level])


def _magnitude_value(name: str, magnitude: float) -> float:
    """What magnitude 0 to 10 of RandAugment means."""
    share = magnitude / 10
    if name == "posterize":
        return int(4.0 * share)
    return (256.0 if name == "solarize" else _LARGEST.get(name, 0.0)) * share


def _apply(pixels: Image, name: str, value: float, fill: Colour, rng: Generator) -> Image:
    if name in _SIGNED or name in _FACTORS:
        value *= (-1, 1)[int(rng.integers(0, 2))]
    if name in _FACTORS:
        value += 1
    shear = name.startswith("shear")
    return OPERATIONS[name](pixels, value, "bicubic" if shear else "nearest", fill)


@transforms.register("classic_auto_augment")
@dataclass(frozen=True)
class ClassicAutoAugment:
    """One pair of operations out of AutoAugment's 25 for ImageNet, at their first scales; uint8.

    Source: arXiv 1805.09501; PaddleClas' AutoAugment, with equal results for equal draws.

    Args:
        fill: colour of what comes into view, 0 to 255.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def __post_init__(self) -> None:
        check_colour(self.fill)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rng = need(rng)
        pixels = as_rgb(image, "classic_auto_augment")
        for name, p, level in ORIGINAL[int(rng.integers(0, len(ORIGINAL)))]:
            if rng.random() < p:
                name = name.removesuffix("_4_to_8")
                value = _policy_value(name, level)
                pixels = _apply(pixels, name, value, check_colour(self.fill), rng)
        return like(pixels, image)


@transforms.register("classic_rand_augment")
@dataclass(frozen=True)
class ClassicRandAugment:
    """A few operations of fourteen, all applied, at one fixed magnitude; uint8.

    Source: arXiv 1909.13719; PaddleClas' RandAugment, with equal results for equal draws. There,
    solarize and posterize are strongest at magnitude 0.

    Args:
        operations: how many per image, drawn with repetition.
        magnitude: 0 to 10.
        fill: colour of what comes into view, 0 to 255.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    operations: Annotated[int, Ge(1)] = 2
    magnitude: Annotated[float, Ge(0), Le(10)] = 5.0
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def __post_init__(self) -> None:
        check_colour(self.fill)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rng = need(rng)
        pixels = as_rgb(image, "classic_rand_augment")
        for _ in range(self.operations):
            name = _CHOICES[int(rng.choice(len(_CHOICES)))]
            value = _magnitude_value(name, self.magnitude)
            pixels = _apply(pixels, name, value, check_colour(self.fill), rng)
        return like(pixels, image)
