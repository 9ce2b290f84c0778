"""Where pixels come from: resizing and cropping. Sizes in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2

from tinysight.errors import ImageError
from tinysight.registry import transforms
from tinysight.transforms.base import (
    MAX_PIXELS,
    Image,
    same_axes,
    shape_text,
    width_height,
)
from tinysight.transforms.resample import FILTERS, resample

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le
    from numpy.random import Generator

Backend = Literal["cv2", "pillow"]
Interpolation = Literal["nearest", "bilinear", "area", "bicubic", "lanczos", "box", "hamming"]

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_KNOWN = {"cv2": list(_CV2), "pillow": ["nearest", *FILTERS]}


def resize_to(
    image: Image, width: int, height: int, interpolation: str = "bilinear", backend: str = "cv2"
) -> Image:
    """`image` at `width` x `height`; the same object where it has that size.

    Args:
        image: (H, W, C) or (H, W), uint8 or float32; "pillow" takes uint8 only.
        width: of the result, pixels, at least 1.
        height: of the result, pixels, at least 1.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos"; with cv2 also "area", with
            pillow "box", "hamming".
        backend: "cv2" (fixed neighbourhood) or "pillow" (smoothed when reducing; see `resample`).

    Raises:
        ImageError: the result would be larger than any image that `decode` accepts, as a sliver's
            is.
    """
    if image.shape[:2] == (height, width):
        return image
    if width * height > MAX_PIXELS:
        raise ImageError(
            "", f"an image of {shape_text(image)} would be enlarged to {width} x {height} pixels"
        )
    if backend == "pillow":
        return resample(image, width, height, interpolation)
    return same_axes(cv2.resize(image, (width, height), interpolation=_CV2[interpolation]), image)


def short_size(image: Image, short: int) -> tuple[int, int]:
    """(width, height) of `image` brought to a short side of `short`; halves round to even."""
    height, width = image.shape[:2]
    factor = short / min(height, width)
    return round(width * factor), round(height * factor)


def check_interpolation(interpolation: str, backend: str) -> None:
    """Raise `ValueError` where the backend does not have that interpolation."""
    known = _KNOWN.get(backend, [])
    if interpolation not in known:
        raise ValueError(
            f"backend {backend!r} has no interpolation {interpolation!r}; it has {', '.join(known)}"
        )


def crop(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """A view of that window of `image`."""
    return image[top : top + height, left : left + width]


def room(image: Image, width: int, height: int) -> tuple[int, int]:
    """Columns and rows that a crop leaves over; `ImageError` where it does not fit."""
    spare = image.shape[1] - width, image.shape[0] - height
    if min(spare) < 0:
        raise ImageError(
            "",
            f"an image of {shape_text(image)} is smaller than the crop of {width} x {height}",
            "resize it first: short at least as long as the crop",
        )
    return spare


@transforms.register("resize")
@dataclass(frozen=True)
class Resize:
    """Resize to a short side, keeping proportions, or to an exact size.

    Give one of `short` (pixels; the long side is rounded, halves to even) and `size`. "cv2" looks
    at a fixed number of neighbours ("area" smooths when reducing); "pillow" equals Pillow bit for
    bit.
    """

    random: ClassVar[bool] = False
    sets_label: ClassVar[bool] = False

    short: Annotated[int, Ge(1)] | None = None
    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] | None = None
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        if (self.short is None) == (self.size is None):
            raise ValueError("give one of short and size")
        width_height(self.size or self.short or 0)
        check_interpolation(self.interpolation, self.backend)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (h, w, C), dtype kept."""
        size = short_size(image, self.short) if self.short else width_height(self.size or 0)
        return resize_to(image, *size, self.interpolation, self.backend)


@transforms.register("center_crop")
@dataclass(frozen=True)
class CenterCrop:
    """Cut the middle out. An image that is too small is an error, never a smaller crop.

    An odd remainder leaves the larger part right and below, as in PaddleClas.
    """

    random: ClassVar[bool] = False
    sets_label: ClassVar[bool] = False

    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]

    def __post_init__(self) -> None:
        width_height(self.size)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to a view (h, w, C)."""
        width, height = width_height(self.size)
        spare_width, spare_height = room(image, width, height)
        return crop(image, spare_width // 2, spare_height // 2, width, height)


@transforms.register("center_square")
@dataclass(frozen=True)
class CenterSquare:
    """Cut out the middle square of a share of the short side and resize it.

    PaddleClas' CropImageAtRatio with `size` and `pad` has the share size / (size + pad).

    Args:
        size: side of the result, pixels.
        share: side of the square over the image's short side.
        interpolation: as in `resize`.
        backend: as in `resize`.
    """

    random: ClassVar[bool] = False
    sets_label: ClassVar[bool] = False

    size: Annotated[int, Ge(1)]
    share: Annotated[float, Gt(0), Le(1)] = 0.875
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        check_interpolation(self.interpolation, self.backend)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (size, size, C), dtype kept."""
        height, width = image.shape[:2]
        side = max(int(self.share * min(height, width)), 1)
        window = crop(image, (width - side) // 2, (height - side) // 2, side, side)
        return resize_to(window, self.size, self.size, self.interpolation, self.backend)
