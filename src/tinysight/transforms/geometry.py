"""Where pixels come from: resizing, cropping and padding. Sizes in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import cv2
import numpy as np

from tinysight.registry import transforms
from tinysight.transforms.base import (
    MAX_PIXELS,
    Image,
    bad_image,
    check_area,
    same_axes,
    size_of,
    width_height,
)

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le, MinLen
    from numpy.random import Generator

Backend = Literal["cv2", "pillow"]
Place = Literal["start", "center", "end"]
Interpolation = Literal["nearest", "bilinear", "area", "bicubic", "lanczos", "box", "hamming"]

_CV2 = {"nearest": "NEAREST", "bilinear": "LINEAR", "area": "AREA", "bicubic": "CUBIC"}
_CV2 |= {"lanczos": "LANCZOS4"}
CV2_INTERPOLATIONS: dict[str, int] = {k: getattr(cv2, f"INTER_{v}") for k, v in _CV2.items()}
_BORDERS = {"edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}
_BORDERS |= {"symmetric": cv2.BORDER_REFLECT}
_PILLOW = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_KNOWN = {"cv2": tuple(CV2_INTERPOLATIONS), "pillow": _PILLOW}


def resize_to(
    image: Image, width: int, height: int, interpolation: str = "bilinear", backend: str = "cv2"
) -> Image:
    """`image` at `width` x `height`; the same object where it has that size.

    Args:
        image: (H, W, C) or (H, W), uint8 or float32; "pillow" takes uint8 only.
        width: width of the result, pixels, >= 1.
        height: height of the result, pixels, >= 1.
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
        what = f"an image of {size_of(image)} would be enlarged to {width} x {height} pixels"
        raise bad_image(what)
    if backend == "pillow":
        from tinysight.transforms.resample import resample  # most bundles do without

        return resample(image, width, height, interpolation)
    flag = CV2_INTERPOLATIONS[interpolation]
    return same_axes(cv2.resize(image, (width, height), interpolation=flag), image)


def short_size(image: Image, short: int) -> tuple[int, int]:
    """(width, height) of `image` brought to a short side of `short`; halves round to even."""
    height, width = image.shape[:2]
    factor = short / min(height, width)
    return round(width * factor), round(height * factor)


def check_interpolation(interpolation: str, backend: str) -> None:
    """Raise `ValueError` where the backend does not have that interpolation."""
    known = _KNOWN.get(backend, ())
    if interpolation not in known:
        what = f"backend {backend!r} has no interpolation {interpolation!r}"
        raise ValueError(f"{what}; it has {', '.join(known)}")


def crop(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """A view of that window of `image`."""
    return image[top : top + height, left : left + width]


def room(image: Image, width: int, height: int) -> tuple[int, int]:
    """Columns and rows that a crop leaves over; `ImageError` where it does not fit."""
    spare = image.shape[1] - width, image.shape[0] - height
    if min(spare) < 0:
        what = f"an image of {size_of(image)} is smaller than the crop of {width} x {height}"
        raise bad_image(what, "resize it first: short at least as long as the crop")
    return spare


@transforms.register("resize")
@dataclass(frozen=True)
class Resize:
    """Resize to a short side, keeping proportions, or to an exact size.

    Give one of `short` (pixels; the long side is rounded, halves to even) and `size`. "cv2" looks
    at a fixed number of neighbours ("area" smooths when reducing); "pillow" equals Pillow bit for
    bit.
    """

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

    def with_boxes(self, image: Image, boxes: Image, rng: Generator | None) -> tuple[Image, Image]:
        """The image and its boxes (B, 5), scaled alike."""
        from tinysight.transforms.boxes import boxes_in

        result = self(image)
        return result, boxes_in(boxes, (0, 0), result.shape, scaled_from=image.shape)


@transforms.register("center_crop")
@dataclass(frozen=True)
class CenterCrop:
    """Cut the middle out. An image that is too small is an error, never a smaller crop.

    An odd remainder leaves the larger part right and below, as in PaddleClas.
    """

    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]

    def __post_init__(self) -> None:
        width_height(self.size)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to a view (h, w, C)."""
        width, height = width_height(self.size)
        left, top = (spare // 2 for spare in room(image, width, height))
        return crop(image, left, top, width, height)

    def with_boxes(self, image: Image, boxes: Image, rng: Generator | None) -> tuple[Image, Image]:
        """The window and the boxes (B, 5) in it."""
        from tinysight.transforms.boxes import boxes_in

        width, height = width_height(self.size)
        left, top = (spare // 2 for spare in room(image, width, height))
        return crop(image, left, top, width, height), boxes_in(boxes, (left, top), (height, width))


@transforms.register("center_square")
@dataclass(frozen=True)
class CenterSquare:
    """Cut out the middle square of a share of the short side and resize it.

    PaddleClas' CropImageAtRatio with `size` and `pad` has the share size / (size + pad).

    Args:
        size: side of the result, pixels.
        share: side of the square over the image's short side.
        interpolation: interpolation that `backend` has; see `resize`.
        backend: "cv2" or "pillow"; see `resize`.
    """

    size: Annotated[int, Ge(1)]
    share: Annotated[float, Gt(0), Le(1)] = 0.875
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        width_height(self.size)
        check_interpolation(self.interpolation, self.backend)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (size, size, C), dtype kept."""
        height, width = image.shape[:2]
        side = max(int(self.share * min(height, width)), 1)
        window = crop(image, (width - side) // 2, (height - side) // 2, side, side)
        return resize_to(window, self.size, self.size, self.interpolation, self.backend)


@transforms.register("pad")
@dataclass(frozen=True)
class Pad:
    """Add a border: by so many pixels, up to a size, or up to a multiple. Give one of the three.

    PaddleClas' Pad is `border`; its Padv2 is `size` or `multiple` after `cast` to
    float32, which its default fill of 127.5 needs.

    Args:
        border: pixels on every side; [left and right, top and bottom]; or [left, top, right,
            bottom].
        size: size of the result, a side or [width, height]; a larger image is an error.
        multiple: width and height become the next multiple of this.
        at: where the image goes with `size` and `multiple`: "start" (top left), "center", "end"
            (bottom right), or [x, y] of its corner. An odd remainder is larger right and below.
        fill: one number or one per channel, in the unit of the pixels; for mode "constant".
        mode: "constant", "edge" (repeats the outermost pixel), "reflect" (mirrors without
            repeating it), "symmetric" (repeating it).
    """

    border: Annotated[int, Ge(0)] | tuple[Annotated[int, Ge(0)], ...] | None = None
    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] | None = None
    multiple: Annotated[int, Ge(1)] | None = None
    at: Place | tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]] = "start"
    fill: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)
    mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def __post_init__(self) -> None:
        if sum(v is not None for v in (self.border, self.size, self.multiple)) != 1:
            raise ValueError("give one of border, size and multiple")
        if isinstance(self.border, tuple) and len(self.border) not in (1, 2, 4):
            raise ValueError("border should be 1, 2 or 4 numbers")
        width_height(self.size or self.multiple or 1)
        left, top, right, bottom = self._border()
        check_area(left + right, top + bottom)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (h, w, C), dtype kept."""
        left, top, right, bottom = self.sides(image)
        check_area(image.shape[1] + left + right, image.shape[0] + top + bottom)
        channels = image.shape[2] if image.ndim == 3 else 1
        if len(self.fill) not in (1, channels):
            raise bad_image(f"{channels} channels, but fill has {len(self.fill)}")
        fill = np.broadcast_to(np.asarray(self.fill, np.float64), channels)
        if image.dtype == np.uint8 and np.any(fill != fill.astype(np.uint8)):
            what = f"fill {list(self.fill)} does not fit uint8 pixels"
            raise bad_image(what, "put a cast before")
        if self.mode in ("reflect", "symmetric"):
            limit = [n - (self.mode == "reflect") for n in image.shape[:2]]
            if max(top, bottom) > limit[0] or max(left, right) > limit[1]:
                raise bad_image(f"an image of {size_of(image)} has too little to mirror")
        height, width = image.shape[:2]
        if self.mode == "constant":
            size = height + top + bottom, width + left + right
            result = np.empty((*size, *image.shape[2:]), image.dtype)
            result[:] = fill if image.ndim == 3 else fill[0]
            result[top : top + height, left : left + width] = image
            return result
        grown = cv2.copyMakeBorder(image, top, bottom, left, right, _BORDERS[self.mode])
        return same_axes(grown, image)

    def with_boxes(self, image: Image, boxes: Image, rng: Generator | None) -> tuple[Image, Image]:
        """The image in its border, and its boxes (B, 5) there."""
        from tinysight.transforms.boxes import boxes_in

        left, top, *_ = self.sides(image)
        result = self(image)
        return result, boxes_in(boxes, (-left, -top), result.shape)

    def sides(self, image: Image) -> tuple[int, int, int, int]:
        """Pixels added left, top, right and below."""
        if self.border is not None:
            return self._border()
        height, width = image.shape[:2]
        if self.size is not None:
            wide, tall = width_height(self.size)
        else:
            step = self.multiple or 1
            wide, tall = -(-width // step) * step, -(-height // step) * step
        spare = wide - width, tall - height
        if isinstance(self.at, tuple):
            x, y = self.at
        else:
            x, y = ({"start": 0, "center": n // 2, "end": n}[self.at] for n in spare)
        if not (0 <= x <= spare[0] and 0 <= y <= spare[1]):
            raise bad_image(f"an image of {size_of(image)} does not fit into {wide} x {tall} there")
        return x, y, spare[0] - x, spare[1] - y

    def _border(self) -> tuple[int, int, int, int]:
        given = (self.border,) if isinstance(self.border, int) else self.border or (0,)
        left, top, right, bottom = (given * 4)[:4]
        return left, top, right, bottom
