"""What every transform shares: the types, and the promises that the property tests hold it to.

A transform is a frozen dataclass, registered under a name. `transform(image, rng)` takes an image (H, W, C) or (H, W)
and returns one with as many axes. It never changes its input, but may return it, or a view of it. The same `rng` state
gives the same image. An image that it cannot take is an `ImageError`. Two class attributes are optional: `random`, true
where it draws from `rng`, and `sets_label`, true where it returns `(image, label)`; both are false by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

Image = np.ndarray[Any, np.dtype[Any]]  # (H, W, C) or (H, W); uint8, or float32 once normalised

Label: TypeAlias = Union[int, "np.ndarray[Any, np.dtype[Any]]"]  # a class id, or (K,) of 0 and 1

MAX_PIXELS = 178_956_970  # 512 MiB of RGB; the most that one image may be decoded or enlarged to


# Whatever some OpenCV reads, so that an image in a folder is answered or reported, never passed
# over. What is in the file decides how it is decoded.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".j2k", ".avif", ".pbm", ".pgm", ".ppm", ".pnm", ".pxm", ".pfm", ".sr", ".ras"),
    *(".hdr", ".pic", ".exr"),
)


class Transform(Protocol):
    """One step from a decoded image to a network's input."""

    def __call__(self, image: Image, rng: Generator | None = None) -> Any:
        """The transformed image, or `(image, label)` where the class says `sets_label = True`."""
        ...


def is_random(step: Transform) -> bool:
    """Whether `step` draws from `rng`."""
    return bool(getattr(step, "random", False))


def sets_label(step: Transform) -> bool:
    """Whether `step` returns `(image, label)`."""
    return bool(getattr(step, "sets_label", False))


def width_height(size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a recipe's `size`: one side of a square, or [width, height].

    Raises:
        ValueError: not one or two whole numbers of at least 1.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
        raise ValueError(f"size should be a whole number or [width, height], got {size!r}")
    return pair


def need(rng: Generator | None) -> Generator:
    """`rng`, which a random transform cannot do without."""
    if rng is None:
        raise TypeError("a random transform needs a numpy.random.Generator")
    return rng


def same_axes(result: Image, image: Image) -> Image:
    """`result` with the last axis that OpenCV drops from an (H, W, 1) `image`."""
    return result if result.ndim == image.ndim else result[:, :, None]


def shape_text(image: Image) -> str:
    """Width and height for a message."""
    return f"{image.shape[1]} x {image.shape[0]}"
