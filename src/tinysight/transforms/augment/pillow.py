"""Rotating, shearing, shifting and turning the hue as Pillow does, bit for bit; only training needs it.

Images are uint8 (H, W, 3). A place outside of the image gives the fill colour. Pillow itself does all of it but smooth
shears and shifts: it mixes 16 neighbours where these need four, so `_slide` takes a third of its time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from tinysight.errors import missing_dependency
from tinysight.transforms.base import Image

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image as PillowImage

Filter = Literal["nearest", "bilinear", "bicubic"]
Colour = tuple[int, ...]  # red, green, blue
_ROWS = 16  # rows mixed at a time: their arrays stay in the processor's cache
Matrix = tuple[float, float, float, float, float, float]


@cache
def _pillow() -> ModuleType:
    """The module `PIL.Image`.

    Raises:
        MissingDependency: Pillow is not installed.
    """
    try:
        from PIL import Image as module
    except ModuleNotFoundError as error:
        raise (missing_dependency(error, "a random transform") or error) from None
    return module


def affine(image: Image, matrix: Matrix, interpolation: Filter, fill: Colour) -> Image:
    """`image` under a map from output to input: x' = a x + b y + c, y' = d x + e y + f.

    Args:
        image: uint8 (H, W, 3).
        matrix: (a, b, c, d, e, f), pixels; pixel centres lie at halves.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: colour outside of the image.

    Returns:
        uint8 of the same shape.
    """
    a, b, c, d, e, f = matrix
    slid = None
    if interpolation != "nearest" and (a, d, e, f) == (1, 0, 1, 0):
        slid = _slide(image, b, c, interpolation, fill)
    elif interpolation != "nearest" and (a, b, c, e) == (1, 0, 0, 1):
        slid = _slide(np.asarray(cv2.transpose(image)), d, f, interpolation, fill)
        slid = None if slid is None else np.asarray(cv2.transpose(slid))
    if slid is not None:
        return slid
    module, source = _pillow(), _given(image)
    method, filter_ = module.Transform.AFFINE, module.Resampling[interpolation.upper()]
    return np.asarray(source.transform(source.size, method, matrix, filter_, fillcolor=fill))


def rotate(image: Image, degrees: float, interpolation: Filter, fill: Colour) -> Image:
    """`image` turned counter-clockwise about its middle, its size kept; see `affine`."""
    filter_ = _pillow().Resampling[interpolation.upper()]
    return np.asarray(_given(image).rotate(degrees, filter_, fillcolor=fill))


def shear_x(image: Image, share: float, interpolation: Filter, fill: Colour) -> Image:
    """Row y moves left by `share` * y."""
    return affine(image, (1.0, share, 0.0, 0.0, 1.0, 0.0), interpolation, fill)


def shear_y(image: Image, share: float, interpolation: Filter, fill: Colour) -> Image:
    """Column x moves up by `share` * x."""
    return affine(image, (1.0, 0.0, 0.0, share, 1.0, 0.0), interpolation, fill)


def translate_x(image: Image, share: float, interpolation: Filter, fill: Colour) -> Image:
    """`image` moved left by `share` of its width."""
    return affine(image, (1.0, 0.0, share * image.shape[1], 0.0, 1.0, 0.0), interpolation, fill)


def translate_y(image: Image, share: float, interpolation: Filter, fill: Colour) -> Image:
    """`image` moved up by `share` of its height."""
    return affine(image, (1.0, 0.0, 0.0, 0.0, 1.0, share * image.shape[0]), interpolation, fill)


def shift_hue(image: Image, steps: int) -> Image:
    """Turn the hue by `steps` of 256, through 8-bit hue, saturation and value."""
    hsv = np.array(_given(image).convert("HSV"))
    hsv[:, :, 0] += np.uint8(steps % 256)
    return np.asarray(_pillow().fromarray(hsv, "HSV").convert("RGB"))


def _given(image: Image) -> PillowImage:
    made: PillowImage = _pillow().fromarray(image)
    return made


def _slide(
    image: Image, shear: float, shift: float, interpolation: Filter, fill: Colour
) -> Image | None:
    """Row y moves left by `shear` * (y + 1/2) + `shift`; None where rounding moves parts of a row differently.

    In double precision and in Pillow's order. Its bicubic kernel is the one with a = -1 here, not the -1/2 of its
    resizing, and both filters cut the fraction of a grey level off.
    """
    height, width = image.shape[:2]
    taps = 2 if interpolation == "bilinear" else 4
    column, line = np.arange(width), shear * (np.arange(height)[:, None] + 0.5)
    whole = np.floor(0.5 + line + shift - 0.5)
    # Rows that are moved out altogether may be moved by any more.
    first = np.clip(whole[:, 0], -width - taps, width + taps).astype(int) - (taps // 2 - 1)
    before, behind = max(-first.min(), 0), max(first.max() + taps - 1, 0)
    source = cv2.copyMakeBorder(image, 0, 0, int(before), int(behind), cv2.BORDER_REPLICATE)
    moved = np.empty((height, width + taps - 1, 3), np.uint8)
    for to, row, start in zip(moved, source, (first + before).tolist(), strict=True):
        to[:] = row[start : start + len(to)]
    planes = np.stack(cv2.split(moved))
    slid = np.empty((3, height, width), np.uint8)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        x = (column + 0.5) + line[rows]
        x += shift
        outside = (x < 0) | (x >= width)
        x -= 0.5
        if (np.floor(x) - column != whole[rows]).any():
            return None
        x -= np.floor(x)
        slid[:, rows] = _mix(planes[:, rows].astype(np.int16), x, taps)
        for plane, colour in zip(slid, fill, strict=True):
            np.copyto(plane[rows], colour, where=outside)
    return np.asarray(cv2.merge(list(slid)))


def _mix(pixels: Image, x: Image, taps: int) -> Image:
    """Between 2 or 4 `taps` side by side in `pixels` (3, H, W + taps - 1), a fraction `x` behind the one before.

    Returns:
        (3, H, W) float64, within 0 to 255.
    """
    width = x.shape[1]
    step = pixels[:, :, :-1] - pixels[:, :, 1:]
    if taps == 2:
        value = -step * x
        value += pixels[:, :, :width]
        return np.asarray(value)
    near, far = step[:, :, :width], step[:, :, 2:]
    value = (-near - far) * x
    value += 2 * near + far
    value *= x
    value += pixels[:, :, 2 : width + 2] - pixels[:, :, :width]
    value *= x
    value += pixels[:, :, 1 : width + 1]
    return np.asarray(np.clip(value, 0.0, 255.0, out=value))
