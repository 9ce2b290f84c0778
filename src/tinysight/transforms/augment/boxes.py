"""Random windows and sizes for images with boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import Image, RandomTransform
from tinysight.transforms.boxes import boxes_in
from tinysight.transforms.geometry import Interpolation, check_interpolation, crop, resize_to

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

_ALL: tuple[Interpolation, ...] = ("nearest", "bilinear", "area", "bicubic", "lanczos")


@transforms.register("random_box_crop")
@dataclass(frozen=True)
class RandomBoxCrop(RandomTransform):
    """Cut out a window that overlaps some box by a drawn threshold and holds the centre of at least one; or nothing.

    The thresholds and the choice to leave the image whole come in a random order; the first that a window is found for
    counts. Boxes are cut to the window, those whose centre is outside are left out. An image without boxes stays whole.

    Args:
        overlaps: least intersection over union of the window and a box.
        scale: smallest and largest share of a side, before the ratio.
        ratio: smallest and largest width over height, in those of the image.
        tries: windows drawn for each threshold.

    Source: PaddleDetection's RandomCrop, after arXiv:1512.02325.
    """

    overlaps: tuple[Annotated[float, Ge(0), Le(1)], ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.3, 1.0)
    ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.5, 2.0)
    tries: Annotated[int, Ge(1)] = 50

    def apply(self, image: Image, rng: Generator) -> Image:
        """The image as it is: it has no boxes here."""
        return image

    def with_boxes(self, image: Image, boxes: Image, rng: Generator) -> tuple[Image, Image]:
        """A window of the image and the boxes (B, 5) in it."""
        height, width = image.shape[:2]
        centres = (boxes[:, 1:3] + boxes[:, 3:]) / 2
        for choice in rng.permutation(len(self.overlaps) + 1) if len(boxes) else ():
            if choice == len(self.overlaps):
                break
            for _ in range(self.tries):
                window = self._window(width, height, rng)
                low, high = window[:2], window[:2] + window[2:]
                held = ((centres > low) & (centres < high)).all(axis=1)
                if held.any() and _overlap(boxes, low, high) >= self.overlaps[choice]:
                    left, top, wide, tall = (int(v) for v in window)
                    cut = crop(image, left, top, wide, tall)
                    return cut, boxes_in(boxes[held], (left, top), (tall, wide))
        return image, boxes

    def _window(self, width: int, height: int, rng: Generator) -> np.ndarray:
        """Left, top, width and height."""
        scale = rng.uniform(*self.scale)
        low, high = max(self.ratio[0], scale**2), min(self.ratio[1], scale**-2)
        side = np.sqrt(rng.uniform(low, high))
        wide, tall = max(int(width * scale * side), 1), max(int(height * scale / side), 1)
        wide, tall = min(wide, width), min(tall, height)
        left, top = rng.integers(0, width - wide + 1), rng.integers(0, height - tall + 1)
        return np.array([left, top, wide, tall])


@transforms.register("random_size")
@dataclass(frozen=True)
class RandomSize(RandomTransform):
    """Resize to a square of a random side, with a random interpolation; the images of a training batch draw alike.

    Args:
        sizes: sides in pixels.
        interpolations: names that `resize` has.
    """

    per_batch: ClassVar[bool] = True

    sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (576, 608, 640, 672, 704)
    interpolations: Annotated[tuple[Interpolation, ...], MinLen(1)] = _ALL

    def __post_init__(self) -> None:
        for name in self.interpolations:
            check_interpolation(name, "cv2")

    def apply(self, image: Image, rng: Generator) -> Image:
        """Image (H, W, C) to (size, size, C), dtype kept."""
        size = self.sizes[int(rng.integers(len(self.sizes)))]
        how = self.interpolations[int(rng.integers(len(self.interpolations)))]
        return resize_to(image, size, size, how)

    def with_boxes(self, image: Image, boxes: Image, rng: Generator) -> tuple[Image, Image]:
        """The image and its boxes (B, 5), scaled alike."""
        result = self.apply(image, rng)
        return result, boxes_in(boxes, (0, 0), result.shape, scaled_from=image.shape)


def _overlap(boxes: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """The largest intersection over union of a window and boxes (B, 5)."""
    own = np.prod(boxes[:, 3:] - boxes[:, 1:3], axis=1)
    inner = np.minimum(boxes[:, 3:], high) - np.maximum(boxes[:, 1:3], low)
    common = np.prod(inner.clip(0), axis=1)
    return float((common / (own + np.prod(high - low) - common)).max())
