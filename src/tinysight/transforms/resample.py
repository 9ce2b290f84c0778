"""Resizing as Pillow does it, bit for bit, in NumPy: smoothed when reducing, 8-bit after each axis.

OpenCV's resize takes a fixed number of neighbours however much it reduces, so the two differ
visibly. HGNetV2, Swin and most published ImageNet weights were trained on Pillow's.

Each output pixel of an axis is a weighted sum over an interval of input pixels. The weights are
rounded to 22 binary places, so every product and sum is an integer below 2**53: float64 matrix
products are exact in any order, and the answer does not depend on the BLAS. Checked against Pillow
13.0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from tinysight.transforms.base import Image, same_axes

_BITS = 22
_BLOCK = 16  # output pixels in one matrix product: few enough that most weights are not zero


def _box(x: Image) -> Image:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: Image) -> Image:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _hamming(x: Image) -> Image:
    a, b = np.array([0.54, 0.46], np.float32).tolist()  # Pillow keeps these two in single precision
    return np.where(np.abs(x) < 1.0, np.sinc(x) * (a + b * np.cos(np.pi * x)), 0.0)


def _bicubic(x: Image) -> Image:
    x, a = np.abs(x), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Image) -> Image:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


# A kernel, as a function of the distance in pixels, and the distance at which it ends.
FILTERS: dict[str, tuple[Callable[[Image], Image], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


def resample(image: Image, width: int, height: int, interpolation: str) -> Image:
    """`image`, uint8, at `width` x `height`; `interpolation` is "nearest" or a key of `FILTERS`.

    Raises:
        ValueError: the image is not uint8.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"resizing as Pillow does needs uint8 pixels, got {image.dtype}")
    old_height, old_width = image.shape[:2]
    if interpolation == "nearest":
        return image[_nearest(old_height, height)[:, None], _nearest(old_width, width)]
    # Pillow 13's order: height first where it loses over twice as many pixels; earlier
    # releases always began with the width.
    rows_first = height < old_height and old_height - height > 2 * (old_width - width)
    if rows_first:
        image = _rows(image, height, interpolation)
    if width != old_width:
        turned = _rows(same_axes(cv2.transpose(image), image), width, interpolation)
        image = same_axes(cv2.transpose(turned), image)
    if not rows_first and height != old_height:
        image = _rows(image, height, interpolation)
    return image


def _rows(image: Image, height: int, interpolation: str) -> Image:
    """Resize the first axis."""
    flat = image.reshape(len(image), -1).astype(np.float64)
    out = np.empty((height, flat.shape[1]), np.uint8)
    at = 0
    for first, stop, weights in _blocks(len(image), height, interpolation):
        part = weights @ flat[first:stop]
        part += 0.5
        np.clip(part, 0.0, 255.0, out=part)
        out[at : at + len(part)] = part  # truncates, which together with the half rounds
        at += len(part)
    return out.reshape(height, *image.shape[1:])


@lru_cache(maxsize=64)
def _blocks(old: int, new: int, interpolation: str) -> tuple[tuple[int, int, Image], ...]:
    """The weights that take an axis of `old` pixels to `new` ones.

    Returns:
        For each block of n output rows, in order: the first input row, the one behind the last, and weights (n, rows).
    """
    weight, support = FILTERS[interpolation]
    scale = old / new
    stretch = max(scale, 1.0)
    centre = (np.arange(new) + 0.5) * scale
    first = np.maximum((centre - support * stretch + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + support * stretch + 0.5).astype(np.int64), old)
    at = first[:, None] + np.arange((stop - first).max())
    taps = weight((at - centre[:, None] + 0.5) * (1.0 / stretch))
    taps = np.where(at < stop[:, None], taps, 0.0)
    # One by one, as Pillow adds; np.sum adds in another order.
    total = np.cumsum(taps, axis=1)[:, -1:]
    taps = np.divide(taps, total, out=taps, where=total != 0.0)
    taps = np.trunc(taps * 2.0**_BITS + np.copysign(0.5, taps)) * 2.0**-_BITS
    blocks = []
    for start in range(0, new, _BLOCK):
        rows = slice(start, min(start + _BLOCK, new))
        low, high = int(first[rows].min()), int(stop[rows].max())
        dense = np.zeros((rows.stop - rows.start, high - low))
        row, tap = np.nonzero(at[rows] < stop[rows, None])
        dense[row, at[rows][row, tap] - low] = taps[rows][row, tap]
        blocks.append((low, high, dense))
    return tuple(blocks)


def _nearest(old: int, new: int) -> Image:
    """Input index of each output pixel; the rounding of the running sum decides ties."""
    steps = np.full(new, old / new)
    steps[0] *= 0.5
    return np.minimum(np.cumsum(steps).astype(np.int64), old - 1)
