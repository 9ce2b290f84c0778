"""JPEG to pixels: the fastest decoder at hand, whole or at a half, a quarter or an eighth.

Reduced decoding leaves out the high frequencies of each 8 x 8 block before the inverse transform
(libjpeg's `scale_num / scale_denom`), so it costs less and gives other pixels than decoding whole
and resizing. Whole decoding gives the same pixels with either decoder: both use the accurate
integer transform and smooth chroma upsampling; the tests compare them bit by bit.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tinysight.transforms.base import Image

DENOMINATORS = (8, 4, 2)
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Those that every release of libjpeg-turbo decodes alike; the rest is left to OpenCV.
_COLOURS = {("YCbCr", "444"), ("YCbCr", "422"), ("YCbCr", "420"), ("Gray", "Gray")}
_simplejpeg: list[Any] = []  # the module, or None where it is not installed; looked for once


def denominator(size: tuple[int, int], enough: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 by which `size` may be divided without falling below `enough`.

    Args:
        size: (width, height), pixels.
        enough: (width, height) that the reduced image must still have, each rounded up as
            libjpeg does.
    """
    for by in DENOMINATORS:
        if all(-(-have // by) >= need for have, need in zip(size, enough, strict=True)):
            return by
    return 1


def decode_jpeg(data: bytes, width: int, height: int, by: int = 1) -> Image | None:
    """RGB pixels (ceil(height / by), ceil(width / by), 3), not yet turned; None if damaged.

    Args:
        data: a JPEG of 8 bits whose header was read.
        width: that the header says, pixels.
        height: that the header says, pixels.
        by: 1, 2, 4 or 8.

    Raises:
        cv2.error: OpenCV cannot decode it.
    """
    width, height = -(-width // by), -(-height // by)
    image = _by_simplejpeg(data, width, height)
    if image is not None:
        return image
    flags = _REDUCED[by] | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape != (height, width, 3):
        return None
    rgb: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return rgb


def _by_simplejpeg(data: bytes, width: int, height: int) -> Image | None:
    """None where it is not installed, or where OpenCV should decide what becomes of this file.

    It decodes straight to RGB and takes half of OpenCV's time for a whole image.
    """
    if not _simplejpeg:
        try:
            import simplejpeg
        except ImportError:
            simplejpeg = None
        _simplejpeg.append(simplejpeg)
    module = _simplejpeg[0]
    if module is None:
        return None
    try:
        if module.decode_jpeg_header(data)[2:] not in _COLOURS:
            return None
        image: Image = module.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError:  # any warning of libjpeg, too: bytes that are damaged but readable
        return None
    return image if image.shape == (height, width, 3) else None
