"""Random rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, need, same_axes

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


@transforms.register("random_rotation")
@dataclass(frozen=True)
class RandomRotation:
    """Turn about the middle by an angle drawn uniformly; size kept, corners cut, gaps filled.

    OpenCV's rotation, as PaddlePaddle's RandomRotation has it, with equal results for equal draws
    and the same OpenCV.

    Args:
        degrees: largest angle either way, or [smallest, largest]; counter-clockwise.
        p: probability.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos".
        fill: colour of the gaps, one number or one per channel, in the unit of the pixels.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    degrees: Annotated[float, Ge(0), Le(360)] | tuple[float, float] = 90.0
    p: Annotated[float, Ge(0), Le(1)] = 0.5
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    fill: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)

    def __post_init__(self) -> None:
        if isinstance(self.degrees, tuple) and self.degrees[0] > self.degrees[1]:
            raise ValueError("degrees should be in ascending order")

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        rng = need(rng)
        if rng.random() >= self.p:
            return image
        both = self.degrees if isinstance(self.degrees, tuple) else (-self.degrees, self.degrees)
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(*both), 1)
        colour = self.fill if len(self.fill) > 1 else self.fill * 4
        turned = cv2.warpAffine(
            image, turn, (width, height), flags=_CV2[self.interpolation], borderValue=colour
        )
        return same_axes(turned, image)


@transforms.register("random_turn")
@dataclass(frozen=True)
class RandomRotate90:
    """Turn by a number of quarters drawn from `quarters`, counter-clockwise; sets the label to it.

    For learning which way up an image is (PaddleClas' RandomRot90). Exact: no pixel changes.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = True

    quarters: Annotated[tuple[Annotated[int, Ge(0), Le(3)], ...], MinLen(1)] = (0, 1, 2, 3)

    def __call__(self, image: Image, rng: Generator | None = None) -> tuple[Image, int]:
        """Image (H, W, C) to (H, W, C) or (W, H, C), and the label."""
        quarters = self.quarters[int(need(rng).integers(0, len(self.quarters)))]
        return np.ascontiguousarray(np.rot90(image, quarters)), quarters


@transforms.register("random_resampling")
@dataclass(frozen=True)
class RandomResampling:
    """Reduce to a square of a random side and enlarge again, each with a random interpolation.

    Makes a model indifferent to how images were resized. Source: PaddleClas'
    RandomInterpolationAugment, with equal results for equal draws.

    Args:
        scale: smallest and largest side of the square, as a share of the height.
        p: probability.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False

    scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.2, 1.0)
    p: Annotated[float, Ge(0), Le(1)] = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale should be two positive numbers in ascending order")

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        rng = need(rng)
        if rng.random() >= self.p:
            return image
        side = max(int(rng.uniform(*self.scale) * image.shape[0]), 1)
        down, up = (_ALL[int(rng.choice(len(_ALL)))] for _ in range(2))
        small = cv2.resize(image, (side, side), interpolation=down)
        back = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=up)
        return same_axes(back, image)


_ALL = tuple(_CV2[n] for n in ("nearest", "bilinear", "area", "bicubic", "lanczos"))
