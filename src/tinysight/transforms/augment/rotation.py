"""Random rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, RandomTransform, same_axes
from tinysight.transforms.geometry import CV2_INTERPOLATIONS

if TYPE_CHECKING:
    from annotated_types import Ge, Le, MinLen
    from numpy.random import Generator


@transforms.register("random_rotation")
@dataclass(frozen=True)
class RandomRotation(RandomTransform):
    """Turn about the middle by an angle drawn uniformly; size kept, corners cut, gaps filled.

    OpenCV's rotation, as PaddlePaddle's RandomRotation has it, with equal results for equal draws
    and the same OpenCV.

    Args:
        degrees: largest angle either way, or [smallest, largest]; counter-clockwise.
        p: probability.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos".
        fill: colour of the gaps, one number or one per channel, in the unit of the pixels.
    """

    degrees: Annotated[float, Ge(0), Le(360)] | tuple[float, float] = 90.0
    p: Annotated[float, Ge(0), Le(1)] = 0.5
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    fill: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)

    def __post_init__(self) -> None:
        if isinstance(self.degrees, tuple) and self.degrees[0] > self.degrees[1]:
            raise ValueError("degrees should be in ascending order")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to the same shape and dtype."""
        both = self.degrees if isinstance(self.degrees, tuple) else (-self.degrees, self.degrees)
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(*both), 1)
        colour = self.fill if len(self.fill) > 1 else self.fill * 4
        flags = CV2_INTERPOLATIONS[self.interpolation]
        turned = cv2.warpAffine(image, turn, (width, height), flags=flags, borderValue=colour)
        return same_axes(turned, image)


@transforms.register("random_turn")
@dataclass(frozen=True)
class RandomRotate90(RandomTransform):
    """Turn by a number of quarters drawn from `quarters`, counter-clockwise; sets the label to it.

    For learning which way up an image is (PaddleClas' RandomRot90). Exact: no pixel changes.
    """

    sets_label: ClassVar[bool] = True

    quarters: Annotated[tuple[Annotated[int, Ge(0), Le(3)], ...], MinLen(1)] = (0, 1, 2, 3)

    def apply(self, image: Image, rng: Generator) -> tuple[Image, int]:
        """Image (H, W, C) to (H, W, C) or (W, H, C), and the label."""
        quarters = self.quarters[int(rng.integers(0, len(self.quarters)))]
        return np.ascontiguousarray(np.rot90(image, quarters)), quarters
