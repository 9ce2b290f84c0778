"""Changing pixel values as Pillow does, bit for bit: tables, blends with grey, contrast.

Images are uint8 (H, W, 3); nothing here is random. A factor of 1 leaves an image as it is, 0 takes
the property away, above 1 exaggerates it. Checked against Pillow 13.0.
"""

from __future__ import annotations

import cv2
import numpy as np

from tinysight.transforms.base import Image

_GREY = np.array([19595, 38470, 7471], np.float32) / 65536  # sums stay below 2**24: exact
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_VALUES = np.arange(256)


def grey(image: Image) -> Image:
    """Luma (H, W), uint8: 0.299 R + 0.587 G + 0.114 B, rounded."""
    level = image.reshape(-1, 3).astype(np.float32) @ _GREY
    level += np.float32(0.5)
    return np.asarray(level.astype(np.uint8).reshape(image.shape[:2]))


def blend(degenerate: Image, image: Image, factor: float) -> Image:
    """`degenerate` + `factor` * (`image` - `degenerate`) in single precision, cut off, not rounded.

    Both uint8 of shapes that go together.
    """
    if factor in (0.0, 1.0):
        shape = np.broadcast_shapes(degenerate.shape, image.shape)
        return np.array(np.broadcast_to(image if factor else degenerate, shape))
    mixed = np.subtract(image, degenerate, dtype=np.float32)
    mixed *= np.float32(factor)
    mixed += degenerate
    if not 0 <= factor <= 1:
        np.clip(mixed, 0.0, 255.0, out=mixed)
    return np.asarray(mixed.astype(np.uint8))


def lookup(image: Image, table: Image) -> Image:
    """`table` (256,) or (256, 3), whole numbers or not, at each value; cut off to uint8."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table if table.ndim == 1 else table[None]))


def brightness(image: Image, factor: float) -> Image:
    """Towards black below 1."""
    return lookup(image, blend(np.zeros(256, np.uint8), _VALUES.astype(np.uint8), factor))


def contrast(image: Image, factor: float) -> Image:
    """Towards the mean grey level below 1."""
    flat = np.full(256, int(grey(image).mean(dtype=np.float64) + 0.5), np.uint8)
    return lookup(image, blend(flat, _VALUES.astype(np.uint8), factor))


def color(image: Image, factor: float) -> Image:
    """Towards grey below 1."""
    return blend(np.asarray(cv2.cvtColor(grey(image), cv2.COLOR_GRAY2RGB)), image, factor)


def sharpness(image: Image, factor: float) -> Image:
    """Towards a smoothed image below 1; the outermost pixels stay."""
    smooth = image.copy()
    if min(image.shape[:2]) > 2:
        # Sums of thirteenths never lie at a half, so any way of rounding gives the same.
        smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return blend(smooth, image, factor)


def invert(image: Image) -> Image:
    """255 minus each value."""
    return np.asarray(cv2.bitwise_not(image))


def posterize(image: Image, bits: int) -> Image:
    """The `bits` (0 to 8) most significant bits of each value."""
    return np.asarray(np.bitwise_and(image, np.uint8(256 - (1 << (8 - bits)))))


def solarize(image: Image, threshold: float) -> Image:
    """Invert the values from `threshold` on."""
    return lookup(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES))


def solarize_add(image: Image, add: int, threshold: int = 128) -> Image:
    """Add to the values below `threshold`, up to 255."""
    return lookup(image, np.where(threshold > _VALUES, _VALUES + add, _VALUES))


def autocontrast(image: Image) -> Image:
    """Stretch each channel to 0..255."""
    table = np.empty((256, 3))
    for channel, plane in enumerate(cv2.split(image)):
        low, high, *_ = cv2.minMaxLoc(plane)
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        table[:, channel] = np.trunc(_VALUES * scale + offset)
    return lookup(image, table)


def equalize(image: Image) -> Image:
    """Make the histogram of each channel as even as a table can."""
    table = np.empty((256, 3))
    for channel, plane in enumerate(cv2.split(image)):
        counts = cv2.calcHist([plane], [0], None, [256], [0, 256]).reshape(-1).astype(np.int64)
        filled = counts[counts > 0]
        step = (filled.sum() - filled[-1]) // 255
        before = np.cumsum(counts) - counts
        table[:, channel] = (step // 2 + before) // step if len(filled) > 1 and step else _VALUES
    return lookup(image, table)
