"""Changing pixel values as Pillow does, bit for bit: tables, blends with grey, contrast, hue.

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
_PIXELS = 1 << 12  # of one go, so that its arrays stay in the processor's cache


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
    result: Image = mixed.astype(np.uint8)
    return result


def lookup(image: Image, table: Image) -> Image:
    """`table` (256,) or (256, 3), whole numbers or not, at each value; cut off to uint8."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table if table.ndim == 1 else table[None]))


def brightness(image: Image, factor: float) -> Image:
    """Towards black below 1."""
    return lookup(image, blend(np.zeros(256, np.uint8), _VALUES.astype(np.uint8), factor))


def contrast(image: Image, factor: float) -> Image:
    """Towards the mean grey level below 1."""
    level = int(grey(image).mean(dtype=np.float64) + 0.5)
    flat = np.full(256, level, np.uint8)
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
    kept = np.uint8(256 - (1 << (8 - bits)))
    return np.asarray(np.bitwise_and(image, kept))


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


def shift_hue(image: Image, steps: int) -> Image:
    """Turn the hue by `steps` of 256, through 8-bit hue, saturation and value."""
    result = np.empty_like(image)
    rows = max(_PIXELS // image.shape[1], 1)
    for top in range(0, len(image), rows):
        hue, saturation, value = _to_hsv(image[top : top + rows])
        result[top : top + rows] = _from_hsv((hue + steps) % 256, saturation, value)
    return result


def _to_hsv(image: Image) -> tuple[Image, Image, Image]:
    """Hue, saturation, value 0..255 (H, W), int64; the mix of precisions is Pillow's."""
    channels = cv2.split(image)
    high = np.maximum(np.maximum(channels[0], channels[1]), channels[2])
    low = np.minimum(np.minimum(channels[0], channels[1]), channels[2])
    spread = (high - low).astype(np.float32)
    coloured = spread > 0
    spread[~coloured] = 1
    saturation = np.where(coloured, spread / np.maximum(high, 1).astype(np.float32), 0)
    red, green, blue = ((high - c).astype(np.float32) / spread for c in channels)
    hue = np.where(
        channels[0] == high,
        (blue - green).astype(np.float64),
        np.where(
            channels[1] == high,
            2.0 + red.astype(np.float64) - blue,
            4.0 + green.astype(np.float64) - red,
        ),
    )
    turns = hue.astype(np.float32).astype(np.float64) / 6.0 + 1.0  # at least 5/6, below 2
    turns -= turns >= 1.0
    hue = np.where(coloured, turns.astype(np.float32).astype(np.float64) * 255.0, 0)
    return (
        hue.astype(np.int64),
        (saturation.astype(np.float64) * 255.0).astype(np.int64),
        high.astype(np.int64),
    )


def _from_hsv(hue: Image, saturation: Image, value: Image) -> Image:
    sixths = hue.astype(np.float32).astype(np.float64) * 6.0 / 255.0
    sector = np.floor(sixths).astype(np.int64)
    part = (sixths - sector).astype(np.float32).astype(np.float64)
    share = (saturation.astype(np.float64) / 255.0).astype(np.float32).astype(np.float64)
    p = value * (1.0 - share)
    q = value * (1.0 - share * part)
    t = value * (1.0 - share * (1.0 - part))
    p, q, t = (np.floor(v + 0.5).clip(0, 255) for v in (p, q, t))
    v = value
    orders = ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))
    sector %= 6
    planes = [np.choose(sector, [o[c] for o in orders]) for c in range(3)]
    return np.asarray(cv2.merge([plane.astype(np.uint8) for plane in planes]))
