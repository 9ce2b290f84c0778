"""AutoAugment, RandAugment and AugMix at the scales of their first open implementations, which PaddleClas uses.

They always apply what was drawn, on uint8 pixels before `normalize`, with equal results for equal draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.augment import policies
from tinysight.transforms.augment.auto_augment import FromPolicy
from tinysight.transforms.augment.erasing import cover
from tinysight.transforms.augment.pillow import Colour, Filter, affine
from tinysight.transforms.augment.policies import FACTORS, OPERATIONS
from tinysight.transforms.base import Image, RandomTransform

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le
    from numpy.random import Generator

MID_GREY: Colour = (128, 128, 128)
_BLACK: Colour = (0, 0, 0)
_SLIDES = policies.MOVES[1:]  # all but the rotation
_LARGEST = {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, **dict.fromkeys(FACTORS, 0.9)}
_RANGES = {"posterize": (8.0, 4.0), "solarize": (256.0, 0.0), "cutout": (0.0, 20.0)}
_CHOICES = (
    *(*_SLIDES, "rotate", "color", "posterize", "solarize", "contrast", "sharpness"),
    *("brightness", "autocontrast", "equalize", "invert"),
)


class _Scale(NamedTuple):
    """How an implementation reads a magnitude; `values` take the share of the strongest.

    Attributes:
        choices: operations, in the order that decides what a draw means.
        signed: those that go either way.
        values: numbers of the operations that differ from the first implementation's.
        filters: of shears, shifts and rotations.
    """

    choices: tuple[str, ...]
    signed: tuple[str, ...]
    values: Mapping[str, Callable[[float], float]]
    filters: tuple[Filter, Filter, Filter]


_EFFICIENTNET = ("solarize_add", "contrast", "sharpness", "brightness", *_CHOICES[-3:], "cutout")
_SCALES = {
    "first": _Scale(
        _CHOICES,
        (*_SLIDES, *FACTORS),
        {"posterize": lambda share: int(4.0 * share), "solarize": lambda share: 256.0 * share},
        ("bicubic", "nearest", "nearest"),
    ),
    "efficientnetv2": _Scale(
        (*_CHOICES[:8], *_EFFICIENTNET),
        policies.MOVES,
        {
            **dict.fromkeys(FACTORS, lambda share: 1.8 * share + 0.1),
            "posterize": lambda share: int(4.0 * share),
            "solarize": lambda share: int(256.0 * share),
            "solarize_add": lambda share: int(110.0 * share),
            "cutout": lambda share: int(40 * share),
        },
        ("nearest", "nearest", "nearest"),
    ),
    "mobilevitv2": _Scale(
        _CHOICES,
        (*policies.MOVES, *FACTORS),
        {
            "posterize": lambda share: 8 - int(4.0 * share),
            "solarize": lambda share: 255.0 * (1 - share),
        },
        ("bicubic", "bicubic", "bicubic"),
    ),
}


def _largest(name: str) -> float:
    return _LARGEST.get(name.split("_")[0], 0.0)


def _policy_value(name: str, level: int) -> float:
    """What level 0 to 9 of a policy means."""
    start, stop = _RANGES.get(name, (0.0, _largest(name)))
    value = float(np.linspace(start, stop, 10)[level])
    return round(value) if name in ("posterize", "cutout") else value


def _apply(
    image: Image, name: str, value: float, fill: Colour, rng: Generator, scale: str = "first"
) -> Image:
    """One operation, and the draw of its direction."""
    rules = _SCALES[scale]
    if name == "cutout":
        return cover(image, int(value), (fill[0] if scale == "efficientnetv2" else 0), rng)
    if name in rules.signed:
        value *= (-1, 1)[int(rng.integers(0, 2))]
        value += name in FACTORS
    move = name.split("_")[0] if name in policies.MOVES else "shear"
    kind = ("shear", "translate", "rotate").index(move)
    grey = name == "rotate" and scale != "mobilevitv2"
    return OPERATIONS[name](image, value, rules.filters[kind], MID_GREY if grey else fill)


@transforms.register("classic_auto_augment")
@dataclass(frozen=True)
class ClassicAutoAugment(FromPolicy):
    """One pair of operations out of AutoAugment's 25 for ImageNet, at their first scales; uint8.

    Source: arXiv 1805.09501; PaddleClas' AutoAugment, with equal results for equal draws.

    Args:
        fill: colour of what comes into view, 0 to 255; a rotation takes grey.
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
class ClassicRandAugment(FromPolicy):
    """A few operations of fourteen or sixteen, all applied, at one fixed magnitude; uint8.

    Source: arXiv 1909.13719; PaddleClas' RandAugment, with equal results for equal draws. There,
    solarize and posterize are strongest at magnitude 0.

    Args:
        operations: number of operations per image, >= 1, drawn with repetition.
        magnitude: strength, 0 to 10.
        scale: numbers of the "first" implementation, of "efficientnetv2" (RandAugmentV2: adds solarize-add and a
            square that is covered) or of "mobilevitv2" (RandAugmentV3: everything bicubic, the rotation either way).
        shift: share of the side that an image is shifted by at magnitude 10.
        fill: colour of what comes into view, 0 to 255; a rotation takes grey but for "mobilevitv2".
    """

    operations: Annotated[int, Ge(1)] = 2
    magnitude: Annotated[float, Ge(0), Le(10)] = 5.0
    scale: Literal["first", "efficientnetv2", "mobilevitv2"] = "first"
    shift: Annotated[float, Ge(0)] = 150 / 331
    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        rules, share = _SCALES[self.scale], self.magnitude / 10
        for _ in range(self.operations):
            name = rules.choices[int(rng.choice(len(rules.choices)))]
            most = self.shift if name.startswith("translate") else _largest(name)
            value = rules.values[name](share) if name in rules.values else most * share
            image = _apply(image, name, value, self.fill, rng, self.scale)
        return image


@transforms.register("classic_rand_pairs")
@dataclass(frozen=True)
class ClassicRandPairs(FromPolicy):
    """Two operations of fifteen, each applied with probability 1/2, at levels drawn from 1 to 9; uint8.

    Source: the augmentation of ML-Decoder, arXiv 2111.12933; PaddleClas' RandAugmentV4, with equal results for equal
    draws.

    Args:
        fill: colour of what comes into view, 0 to 255; a rotation takes grey.
    """

    fill: tuple[Annotated[int, Ge(0), Le(255)], ...] = MID_GREY

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        count = 9 * (len(_CHOICES) + 1)
        for one in divmod(int(rng.integers(0, count * count)), count):
            which, level = divmod(one, 9)
            if rng.random() < 0.5:
                name = (*_CHOICES, "cutout")[which]
                image = _apply(image, name, _policy_value(name, level + 1), self.fill, rng)
        return image


_MIXED = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)


@transforms.register("augmix")
@dataclass(frozen=True)
class AugMix(RandomTransform):
    """The image mixed with a mixture of chains of operations; uint8.

    Source: arXiv 1912.02781 without its consistency loss; PaddleClas' AugMix, with equal results for equal draws.

    Args:
        p: probability.
        alpha: of the Dirichlet and Beta distributions that the shares are drawn from.
        width: number of chains.
        depth: operations of a chain; 0 draws 1 to 3 for each.
        severity: largest strength of an operation, of 10.
    """

    pixels: ClassVar[str] = "rgb"

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    alpha: Annotated[float, Gt(0)] = 0.1
    width: Annotated[int, Ge(1)] = 3
    depth: Annotated[int, Ge(0)] = 1
    severity: Annotated[float, Gt(0.1), Le(10)] = 1.0

    def apply(self, image: Image, rng: Generator) -> Image:
        """Uint8 image to uint8 of the same shape."""
        shares = np.float32(rng.dirichlet([self.alpha] * self.width))
        share = np.float32(rng.beta(self.alpha, self.alpha))
        mixture = np.zeros(image.shape)
        for one in shares:
            chain = image
            for _ in range(self.depth or int(rng.integers(1, 4))):
                chain = self._one(chain, _MIXED[int(rng.choice(len(_MIXED)))], rng)
            mixture += one * chain.astype(np.float32)
        kept = (np.float32(1) - share) * image.astype(np.float32)
        return np.asarray((kept + np.float64(share) * mixture).astype(np.uint8))

    def _one(self, image: Image, name: str, rng: Generator) -> Image:
        if name in ("autocontrast", "equalize"):
            return OPERATIONS[name](image, 0.0, "nearest", _BLACK)
        level = rng.uniform(0.1, self.severity) / 10
        if name in ("posterize", "solarize"):
            steps = {"posterize": 4, "solarize": 256}[name]
            return OPERATIONS[name](image, steps - int(level * steps), "nearest", _BLACK)
        height, width = image.shape[:2]
        most = {"rotate": 30, "translate_x": width / 3, "translate_y": height / 3}.get(name, 0.3)
        value = level * most if name.startswith("shear") else int(level * most)
        value = -value if rng.uniform(0.0, 1.0) > 0.5 else value
        if not name.startswith("translate"):
            return OPERATIONS[name](image, value, "bilinear", _BLACK)
        x, y = (value, 0.0) if name == "translate_x" else (0.0, value)
        return affine(image, (1.0, 0.0, x, 0.0, 1.0, y), "bilinear", _BLACK)
