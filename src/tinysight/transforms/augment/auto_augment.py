"""RandAugment and AutoAugment: a few operations per image, drawn from a table or a policy.

Everything runs on uint8 pixels, before `normalize`, and equals what the same draws give with Pillow. Grey images are
taken as RGB. The classic ones are at the scales of their first open implementations, which PaddleClas uses: they always
apply what was drawn, shear is bicubic, shift and rotation take the nearest pixel, and rotation is always
counter-clockwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.augment import policies
from tinysight.transforms.augment.pillow import Colour, Filter
from tinysight.transforms.augment.policies import FACTORS, OPERATIONS, STRONGEST, Level
from tinysight.transforms.base import Image, RandomTransform

if TYPE_CHECKING:
    from annotated_types import Ge, Le
    from numpy.random import Generator

MEAN_COLOUR: Colour = (124, 116, 104)  # ImageNet's mean
MID_GREY: Colour = (128, 128, 128)
_Noisy: TypeAlias = "RandAugment | AutoAugment"
# The order decides what a draw means, so it is that of the published code.
_CHOICES = (
    *("autocontrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize_add"),
    *FACTORS,
    *policies.MOVES[1:],
)
# `w0`, the only set there is: how often each choice comes, without repeating one.
_WEIGHTS = (0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1)
_SHARES = np.array(_WEIGHTS) / np.array(_WEIGHTS).sum()


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
            known = "there are mN, nN, mstdX, incN, wN"
            raise ValueError(f"unknown section {section!r} in {spec!r}; {known}")
        if match[1] in found:
            raise ValueError(f"section {match[1]!r} is there twice in {spec!r}")
        found[match[1]] = float(match[2])
    magnitude, operations, weights = found.get("m", 10), found.get("n", 2), found.get("w")
    if magnitude > STRONGEST:
        raise ValueError(f"m should be 0 to 10, got {magnitude:g} in {spec!r}")
    if weights:
        raise ValueError(f"w should be 0, got {weights:g} in {spec!r}")
    if not 1 <= operations <= (np.inf if weights is None else np.count_nonzero(_WEIGHTS)):
        raise ValueError(f"n should be at least 1{'' if weights is None else ' and at most 13'}")
    which, rising = None if weights is None else 0, bool(found.get("inc"))
    return Strength(int(magnitude), int(operations), found.get("mstd", 0.0), rising, which)


class _FromPolicy(RandomTransform):
    """Applies operations to uint8 RGB; `fill` is the colour of what comes into view."""

    pixels: ClassVar[str] = "rgb"
    fill: Colour

    def __post_init__(self) -> None:
        if len(self.fill) != 3 or not all(0 <= v <= 255 for v in self.fill):
            raise ValueError(f"fill should be three numbers from 0 to 255, got {list(self.fill)}")


@transforms.register("rand_augment")
@dataclass(frozen=True)
class RandAugment(_FromPolicy):
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
        interpolation: filter of rotation, shear and shift; "random" draws bilinear or bicubic each time.
        fill: colour of what comes into view, 0 to 255; ImageNet's mean.
    """

    spec: str = "rand-m9-mstd0.5-inc1"
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MEAN_COLOUR

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_spec(self.spec)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        strength = parse_spec(self.spec)
        shares = None if strength.weights is None else _SHARES
        # One draw of them all, as in the published code.
        chosen = rng.choice(len(_CHOICES), strength.operations, replace=shares is None, p=shares)
        table = policies.RISING if strength.rising else policies.FALLING
        for index in chosen:
            if rng.random() > 0.5:
                continue
            level, deviation = table[_CHOICES[index]], strength.deviation
            image = _step(image, level, strength.magnitude, self, rng, deviation)
        return image


@transforms.register("auto_augment")
@dataclass(frozen=True)
class AutoAugment(_FromPolicy):
    """One pair of operations out of 25 that a search found for ImageNet, at timm's scales; uint8.

    Args:
        policy: "original" (arXiv 1805.09501), "v0" (EfficientNet on TPUs); with an r at the end,
            posterize grows stronger with its level.
        p: probability of doing anything.
        deviation: standard deviation of the level, which goes from 0 to 10.
        interpolation: filter of rotation, shear and shift; "random" draws bilinear or bicubic each time.
        fill: colour of what comes into view, 0 to 255; ImageNet's mean.
    """

    policy: Literal["original", "originalr", "v0", "v0r"] = "original"
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    deviation: Annotated[float, Ge(0)] = 0.0
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MEAN_COLOUR

    def __post_init__(self) -> None:
        if self.policy not in policies.POLICIES:
            known = ", ".join(policies.POLICIES)
            raise ValueError(f"policy should be one of {known}, got {self.policy!r}")
        super().__post_init__()

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        policy = policies.POLICIES[self.policy]
        for name, p, strength in policy[int(rng.integers(0, len(policy)))]:
            if p < 1 and rng.random() > p:
                continue
            rising = name == "posterize_rising"
            level = policies.RISING["posterize"] if rising else policies.FALLING[name]
            image = _step(image, level, strength, self, rng, self.deviation)
        return image


def _step(
    image: Image, level: Level, magnitude: float, of: _Noisy, rng: Generator, deviation: float
) -> Image:
    """One operation; draws its strength, its sign, and the interpolation where there is one."""
    if deviation > 0:
        magnitude = float(rng.normal(magnitude, deviation))
    value = level.value(min(STRONGEST, max(0.0, magnitude)))
    if level.signed and rng.random() > 0.5:
        value = -value
    value += level.centre
    filter_: Filter = "bilinear" if of.interpolation == "bilinear" else "bicubic"
    if of.interpolation == "random" and level.operation in policies.MOVES:
        filter_ = ("bilinear", "bicubic")[int(rng.integers(0, 2))]
    return OPERATIONS[level.operation](image, value, filter_, of.fill)


_SIGNED = policies.MOVES[1:]  # all but the rotation
_LARGEST = {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, **dict.fromkeys(FACTORS, 0.9)}
_RANGES = {"posterize": (8.0, 4.0), "solarize": (256.0, 0.0)}  # those that do not begin at 0
_CLASSIC_CHOICES = (
    *(*_SIGNED, "rotate", "color", "posterize", "solarize", "contrast", "sharpness"),
    *("brightness", "autocontrast", "equalize", "invert"),
)


def _largest(name: str) -> float:
    return _LARGEST.get(name.split("_")[0], 0.0)


def _policy_value(name: str, level: int) -> float:
    """What level 0 to 9 of an AutoAugment policy means."""
    start, stop = _RANGES.get(name, (0.0, _largest(name)))
    value = float(np.linspace(start, stop, 10)[level])
    return round(value) if name == "posterize" else value


def _magnitude_value(name: str, magnitude: float) -> float:
    """What magnitude 0 to 10 of RandAugment means."""
    share = magnitude / 10
    if name == "posterize":
        return int(4.0 * share)
    return (256.0 if name == "solarize" else _largest(name)) * share


def _apply(image: Image, name: str, value: float, fill: Colour, rng: Generator) -> Image:
    if name in _SIGNED or name in FACTORS:
        value *= (-1, 1)[int(rng.integers(0, 2))]
    if name in FACTORS:
        value += 1
    shear = name.startswith("shear")
    return OPERATIONS[name](image, value, "bicubic" if shear else "nearest", fill)


@transforms.register("classic_auto_augment")
@dataclass(frozen=True)
class ClassicAutoAugment(_FromPolicy):
    """One pair of operations out of AutoAugment's 25 for ImageNet, at their first scales; uint8.

    Source: arXiv 1805.09501; PaddleClas' AutoAugment, with equal results for equal draws.

    Args:
        fill: colour of what comes into view, 0 to 255.
    """

    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        for name, p, level in policies.ORIGINAL[int(rng.integers(0, len(policies.ORIGINAL)))]:
            if rng.random() < p:
                name = name.removesuffix("_4_to_8")
                image = _apply(image, name, _policy_value(name, level), self.fill, rng)
        return image


@transforms.register("classic_rand_augment")
@dataclass(frozen=True)
class ClassicRandAugment(_FromPolicy):
    """A few operations of fourteen, all applied, at one fixed magnitude; uint8.

    Source: arXiv 1909.13719; PaddleClas' RandAugment, with equal results for equal draws. There,
    solarize and posterize are strongest at magnitude 0.

    Args:
        operations: number of operations per image, >= 1, drawn with repetition.
        magnitude: strength, 0 to 10.
        fill: colour of what comes into view, 0 to 255.
    """

    operations: Annotated[int, Ge(1)] = 2
    magnitude: Annotated[float, Ge(0), Le(10)] = 5.0
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        for _ in range(self.operations):
            name = _CLASSIC_CHOICES[int(rng.choice(len(_CLASSIC_CHOICES)))]
            image = _apply(image, name, _magnitude_value(name, self.magnitude), self.fill, rng)
        return image


_MIXED = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)


@transforms.register("aug_mix")
@dataclass(frozen=True)
class AugMix(_FromPolicy):
    """The image mixed with a weighted mean of chains of operations on it; uint8.

    Source: arXiv 1912.02781; PaddleClas' AugMix, without its equal draws.

    Args:
        p: chance that it is applied.
        chains: number of chains.
        depth: operations of a chain; 0 draws 1 to 3.
        severity: largest strength of an operation, up to 10.
        concentration: of the draws of the weights; small ones choose one chain, and the image or its mixture.
        fill: colour of what comes into view, 0 to 255.
    """

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    chains: Annotated[int, Ge(1)] = 3
    depth: Annotated[int, Ge(0), Le(10)] = 1
    severity: Annotated[float, Ge(0.1), Le(10)] = 1.0
    concentration: Annotated[float, Ge(0.01)] = 0.1
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = (0, 0, 0)

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        weights = rng.dirichlet([self.concentration] * self.chains)
        share, mixed = rng.beta(self.concentration, self.concentration), np.zeros(image.shape)
        for weight in weights:
            chain = image
            for _ in range(self.depth or int(rng.integers(1, 4))):
                level = policies.RISING[_MIXED[int(rng.integers(0, len(_MIXED)))]]
                value = level.value(rng.uniform(0.1, self.severity))
                if level.operation.startswith("translate"):
                    value *= 1 / 3 / 0.45  # up to a third of the image
                value *= (-1, 1)[int(rng.integers(0, 2))] if level.signed else 1
                chain = OPERATIONS[level.operation](chain, value, "bilinear", self.fill)
            mixed += weight * chain
        return np.asarray((1.0 - share) * image + share * mixed, np.uint8)
