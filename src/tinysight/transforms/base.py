"""What every transform shares: the types, and the promises that the property tests hold it to.

A transform is a frozen dataclass, registered under a name. `transform(image, rng)` takes an image (H, W, C) or (H, W)
and returns one with as many axes. It never changes its input, but may return it, or a view of it. The same `rng` state
gives the same image. An image that it cannot take is an `ImageError`. These class attributes are optional and false by
default: `random`, true where it draws from `rng`; `sets_label`, true where it returns `(image, label)`; `per_batch`,
true where all images of a batch draw alike; `keeps_places`, true where what an image shows stays in place. One that
moves it and knows where to also has `with_boxes(image, boxes, rng)`; see `boxes`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, Union

import cv2
import numpy as np

from tinysight.errors import ImageError

if TYPE_CHECKING:
    from numpy.random import Generator

Image = np.ndarray[Any, np.dtype[Any]]  # (H, W, C) or (H, W); uint8, or float32 once normalised

# A class id, a number, or (K,) of 0 and 1
Label: TypeAlias = Union[float, "np.ndarray[Any, np.dtype[Any]]"]

MAX_PIXELS = 178_956_970  # 512 MiB of RGB; the most that one image may be decoded or enlarged to


# Whatever some OpenCV reads, so that an image in a folder is answered or reported, never passed
# over. What is in the file decides how it is decoded.
_KINDS = "jpg jpeg jpe jfif png bmp dib webp tif tiff gif jp2 j2k avif pbm pgm ppm pnm pxm pfm sr heic heif hif jxl mpo"
EXTENSIONS = tuple(f".{kind}" for kind in [*_KINDS.split(), "ras", "hdr", "pic", "exr"])


def is_folder(entry: os.DirEntry[str], follow: bool = True) -> bool:
    """Whether an entry is a folder, or with `follow` a link to one; one that leads nowhere or in a circle is not."""
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False


class Transform(Protocol):
    """One step from a decoded image to a network's input."""

    def __call__(self, image: Image, rng: Generator | None = None) -> Any:
        """The transformed image, or `(image, label)` where the class says `sets_label = True`."""
        ...


def is_random(step: Transform) -> bool:
    """Whether `step` draws from `rng`."""
    return bool(getattr(step, "random", False))


def drawn_from(
    step: Transform, rng: Generator | None, shared: Sequence[int] | None
) -> Generator | None:
    """What `step` draws from: `rng`, or a generator of `shared` where the step is one `per_batch`."""
    if shared is not None and getattr(step, "per_batch", False):
        return np.random.default_rng(shared)
    return rng


def sets_label(step: Transform) -> bool:
    """Whether `step` returns `(image, label)`."""
    return bool(getattr(step, "sets_label", False))


def width_height(size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a recipe's `size`: one side of a square, or [width, height].

    Raises:
        ValueError: not one or two whole numbers of at least 1, or far too large.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
        raise ValueError(f"size should be a whole number or [width, height], got {size!r}")
    check_area(*pair)
    return pair


def check_area(width: int, height: int, channels: int = 1) -> None:
    """Raise `ValueError` where a transform would make an image larger than any that is decoded."""
    if width * height * max(channels / 3, 1) > MAX_PIXELS:
        shape = f"{width} x {height}" + (f" x {channels}" if channels > 1 else "")
        raise ValueError(f"images of {shape} are more than the limit of {MAX_PIXELS} pixels")


def bad_image(what: str, hint: str = "") -> ImageError:
    """The error of an image that a transform cannot take; who called the transform names the image."""
    return ImageError("", what, hint)


def check_range(name: str, pair: tuple[float, float]) -> None:
    """Raise `ValueError` unless both numbers are above 0 and the first is not the larger."""
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"{name} should be two positive numbers in ascending order")


def same_axes(result: Image, image: Image) -> Image:
    """`result` with the last axis that OpenCV drops from an (H, W, 1) `image`."""
    return result if result.ndim == image.ndim else result[:, :, None]


def size_of(image: Image) -> str:
    """Width and height for a message."""
    return f"{image.shape[1]} x {image.shape[0]}"


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
        if rng is None:
            raise TypeError("a random transform needs a numpy.random.Generator")
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
            raise bad_image(f"needs uint8 pixels, got {image.dtype}", "put it before normalize")

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
        raise bad_image(f"needs 1 or 3 channels, got {image.shape[2]}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB))


def like(result: Image, image: Image) -> Image:
    """`result` (H, W, 3) with the axes and channels of the `image` that `as_rgb` was given."""
    if image.ndim == 2:
        return result[:, :, 0]
    return result if image.shape[2] == 3 else result[:, :, :1]
