"""RandAugment and AutoAugment: a few operations per image, drawn from a table or a policy.

Everything runs on uint8 pixels, before `normalize`, and equals what the same draws give with
Pillow. Grey images are taken as RGB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.affine import Filter
from tinysight.transforms.augment.operations import (
    FALLING,
    MEAN_COLOUR,
    MOVES,
    OPERATIONS,
    RISING,
    STRONGEST,
    Level,
    as_rgb,
    check_colour,
    draw_value,
    like,
)
from tinysight.transforms.augment.policies import POLICIES
from tinysight.transforms.base import Image, need

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator

# The order decides what a draw means, so it is that of the published code.
_CHOICES = (
    "autocontrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize_add",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
# Set 0, the only one there is: how often each choice comes, without repeating one.
_WEIGHTS = (
    (0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1),
)


class Strength(NamedTuple):
    """What `rand-m9-mstd0.5-inc1` says."""

    magnitude: int = 10
    operations: int = 2
    deviation: float = 0.0
    rising: bool = False
    weights: int | None = None


@lru_cache(maxsize=16)
def parse_spec(spec: str) -> Strength:
    """Read a RandAugment spec in timm's language: `rand` and sections such as `m9`, by dashes.

    `m` magnitude 0 to 10 (default 10), `n` operations (2), `mstd` standard deviation of the
    magnitude (0), `inc` 1 for tables that grow stronger with the magnitude (0), `w` 0 for drawing
    operations by published weights and without repetition.

    Raises:
        ValueError: another section, or a number out of its range.
    """
    head, *sections = spec.split("-")
    if head != "rand":
        raise ValueError(f"spec should begin with 'rand', as in rand-m9-mstd0.5-inc1, got {spec!r}")
    found: dict[str, float] = {}
    for section in sections:
        match = re.fullmatch(r"(mstd|inc|m|n|w)(\d+(?:\.\d+)?)", section)
        if not match or (match[1] != "mstd" and "." in match[2]):
            raise ValueError(
                f"unknown section {section!r} in {spec!r}; there are mN, nN, mstdX, incN, wN"
            )
        if match[1] in found:
            raise ValueError(f"section {match[1]!r} is there twice in {spec!r}")
        found[match[1]] = float(match[2])
    if found.get("m", 0) > STRONGEST:
        raise ValueError(f"m should be 0 to 10, got {found['m']:g} in {spec!r}")
    if found.get("w", 0) >= len(_WEIGHTS):
        raise ValueError(f"w should be 0, got {found['w']:g} in {spec!r}")
    operations = int(found.get("n", 2))
    possible = np.count_nonzero(_WEIGHTS[0]) if "w" in found else np.inf
    if not 1 <= operations <= possible:
        raise ValueError(f"n should be at least 1{' and at most 13' if 'w' in found else ''}")
    return Strength(
        int(found.get("m", 10)),
        operations,
        found.get("mstd", 0.0),
        bool(found.get("inc", 0)),
        int(found["w"]) if "w" in found else None,
    )


@transforms.register("rand_augment")
@dataclass(frozen=True)
class RandAugment:
    """A few operations of fifteen, each applied with probability 1/2, at a noisy magnitude; uint8.

    The operations: autocontrast, equalize, invert, rotate (30 degrees at magnitude 10), posterize,
    solarize, solarize-add, colour, contrast, brightness, sharpness, shear (0.3) and shift (0.45 of
    the side) along both axes. Source: arXiv 1909.13719 in the form of timm, whose language `spec`
    is. Deviations: `inc0` means no (there, any number means yes), an unknown section is an error
    (there, one without a number is passed over), posterizing to 0 bits gives black (an error in
    recent Pillow).

    Args:
        spec: `rand`, then by dashes mN magnitude 0 to 10, nN operations, mstdX its deviation, inc1
            tables that grow stronger, w0 published weights. See `parse_spec`.
        p: probability of doing anything.
        interpolation: of rotation, shear and shift; "random" draws bilinear or bicubic each time.
        fill: colour of what comes into view, 0 to 255; ImageNet's mean.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    spec: str = "rand-m9-mstd0.5-inc1"
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MEAN_COLOUR

    def __post_init__(self) -> None:
        parse_spec(self.spec)
        check_colour(self.fill)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rng = need(rng)
        strength = parse_spec(self.spec)
        pixels = as_rgb(image, "rand_augment")
        if rng.random() >= self.p:
            return image
        weights = None if strength.weights is None else _shares(strength.weights)
        chosen = rng.choice(
            len(_CHOICES), strength.operations, replace=weights is None, p=weights
        )  # one draw of them all, as in the published code
        table = RISING if strength.rising else FALLING
        for index in chosen:
            if rng.random() > 0.5:
                continue
            level = table[_CHOICES[index]]
            magnitude, deviation = strength.magnitude, strength.deviation
            pixels = _step(pixels, level, magnitude, self, rng, deviation)
        return like(pixels, image)


def _shares(index: int) -> np.ndarray:
    weights = np.array(_WEIGHTS[index])
    return np.asarray(weights / weights.sum())


@transforms.register("auto_augment")
@dataclass(frozen=True)
class AutoAugment:
    """One pair of operations out of 25 that a search found for ImageNet, at timm's scales; uint8.

    Args:
        policy: "original" (arXiv 1805.09501), "v0" (EfficientNet on TPUs); with an r at the end,
            posterize grows stronger with its level.
        p: probability of doing anything.
        deviation: standard deviation of the level, which goes from 0 to 10.
        interpolation: of rotation, shear and shift; "random" draws bilinear or bicubic each time.
        fill: colour of what comes into view, 0 to 255; ImageNet's mean.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    policy: Literal["original", "originalr", "v0", "v0r"] = "original"
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    deviation: Annotated[float, Ge(0)] = 0.0
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MEAN_COLOUR

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"policy should be one of {', '.join(POLICIES)}, got {self.policy!r}")
        check_colour(self.fill)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rng = need(rng)
        pixels = as_rgb(image, "auto_augment")
        if rng.random() >= self.p:
            return image
        policy = POLICIES[self.policy]
        for name, p, strength in policy[int(rng.integers(0, len(policy)))]:
            if p < 1 and rng.random() > p:
                continue
            level = RISING["posterize"] if name == "posterize_rising" else FALLING[name]
            pixels = _step(pixels, level, strength, self, rng, self.deviation)
        return like(pixels, image)


def _step(
    pixels: Image,
    level: Level,
    magnitude: float,
    settings: RandAugment | AutoAugment,
    rng: Generator,
    deviation: float,
) -> Image:
    """One operation; draws its strength, its sign, and the interpolation where there is one."""
    if deviation > 0:
        magnitude = float(rng.normal(magnitude, deviation))
    value = draw_value(level, min(STRONGEST, max(0.0, magnitude)), rng)
    filter_: Filter = "bilinear" if settings.interpolation == "bilinear" else "bicubic"
    if settings.interpolation == "random" and level.operation in MOVES:
        filter_ = ("bilinear", "bicubic")[int(rng.integers(0, 2))]
    return OPERATIONS[level.operation](pixels, value, filter_, check_colour(settings.fill))
