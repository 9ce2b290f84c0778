"""What random transforms share: when they apply, and which pixels they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms.base import Image, need

if TYPE_CHECKING:
    from numpy.random import Generator


class RandomTransform:
    """Draws whether to apply, where a subclass has a field `p`, then lets `apply` draw the rest.

    Attributes:
        pixels: "any"; "uint8"; or "rgb" for uint8 RGB, which grey images are made for `apply` and back again.
    """

    random: ClassVar[bool] = True
    sets_label: ClassVar[bool] = False
    pixels: ClassVar[str] = "any"

    def __call__(self, image: Image, rng: Generator | None = None) -> Any:
        """Image (H, W, C) to another with as many axes and the same dtype, and its label where that is set."""
        rng = need(rng)
        self.check(image)
        given = as_rgb(image) if self.pixels == "rgb" else image
        p = getattr(self, "p", None)
        if p is not None and rng.random() >= p:
            return (image, 0) if self.sets_label else image
        result = self.apply(given, rng)
        return like(result, image) if self.pixels == "rgb" else result

    def check(self, image: Image) -> None:
        """Raise `ImageError` where the transform cannot take `image`, whether it would apply or not."""
        if self.pixels != "any" and image.dtype != np.uint8:
            what = f"needs uint8 pixels, got {image.dtype}"
            raise ImageError("", what, "put it before normalize")

    def apply(self, image: Image, rng: Generator) -> Any:
        """What a call gives where the transform applies."""
        raise NotImplementedError


def as_rgb(image: Image) -> Image:
    """`image`, uint8, as (H, W, 3); grey ones get three equal channels.

    Raises:
        ImageError: not 1 or 3 channels.
    """
    if image.ndim == 3 and image.shape[2] == 3:
        return np.ascontiguousarray(image)
    if image.ndim == 3 and image.shape[2] != 1:
        raise ImageError("", f"needs 1 or 3 channels, got {image.shape[2]}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB))


def like(result: Image, image: Image) -> Image:
    """`result` (H, W, 3) with the axes and channels of the `image` that `as_rgb` was given."""
    if image.ndim == 2:
        return result[:, :, 0]
    return result if image.shape[2] == 3 else result[:, :, :1]
