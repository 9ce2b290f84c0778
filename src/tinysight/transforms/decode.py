"""From a file or its bytes to pixels: the one way in, for training, evaluation and prediction.

A JPEG is decoded whole or at 1/2, 1/4 or 1/8 size. Reduced decoding leaves out the high frequencies of each 8 x 8
block before the inverse transform (libjpeg's `scale_num / scale_denom`), so it costs less and gives other pixels than
decoding whole and resizing. `jpeg` decodes; whole images have the same pixels as OpenCV's, bit by bit.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms.base import MAX_PIXELS, Image
from tinysight.transforms.header import HeaderError, ImageHeader, read_header
from tinysight.transforms.jpeg import decode_jpeg

DENOMINATORS = (8, 4, 2)

if "OPENCV_LOG_LEVEL" not in os.environ:  # a bad image is an exception here, not a line on stderr
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # OpenCV 5 moved it; 0 is silent


def decode(
    source: bytes | str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    upright: bool = True,
    min_size: tuple[int, int] | None = None,
) -> Image:
    """Decode one image to uint8 RGB, (H, W, 3), upright by its EXIF orientation.

    Grey, palette and CMYK images become RGB; 16 bits a channel become 8 (the high byte); alpha is
    dropped without blending, as PaddleClas does, so what lies under transparent pixels shows.
    Colour profiles are not applied. Of an animated PNG the still image is taken.

    Args:
        source: the bytes of a JPEG, PNG, BMP or WebP file, or the path of one, in any script.
        max_pixels: limit of width times height; checked in the header, before anything is
            allocated.
        upright: False leaves the image as it is stored, as Pillow does.
        min_size: (width, height), pixels, that the result must have at least. A JPEG that is larger
            may then be decoded at 1/2, 1/4 or 1/8 size, rounded up, as long as neither side
            falls below; which saves half the time and gives slightly other pixels. By default every
            image is decoded whole.

    Raises:
        ImageError: the file is missing, not a file, empty, of another format, damaged, cut short (a
            JPEG without its end marker, a PNG without its last chunk) or over `max_pixels`. The
            same files on every OpenCV from 4.8 on. A JPEG is damaged if libjpeg warns of lost
            data; changed bits that leave other data that can be decoded pass, as in WebP.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        where, data = f"{len(source)} bytes", bytes(source)
    else:
        where, data = str(source), read_file(Path(source))
    try:
        header = read_header(data)
    except HeaderError as error:
        raise ImageError(where, str(error), error.hint) from None
    if header.width * header.height > max_pixels:
        size = f"{header.width} x {header.height} pixels"
        hint = "reduce the image or raise max_pixels"
        raise ImageError(where, f"{size} are more than the limit of {max_pixels}", hint)
    orientation = header.orientation if upright else 1
    return turn_upright(_pixels(header, where, min_size, orientation >= 5), orientation)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; an `ImageError` if there is none."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(str(path), "is a folder", "name an image in it")
        if not stat.S_ISREG(mode):
            raise ImageError(str(path), "is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(str(path), "no such file", "check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(str(path), f"cannot be read: {reason}") from error


def _pixels(
    header: ImageHeader, where: str, min_size: tuple[int, int] | None, swapped: bool
) -> Image:
    """The stored pixels as RGB, not yet turned; those of a JPEG reduced where at least `min_size` are left.

    `swapped`: turning will exchange width and height, and `min_size` means them afterwards.
    """
    try:
        if header.format == "JPEG":
            needed = min_size[::-1] if min_size and swapped else min_size
            by = denominator((header.width, header.height), needed) if needed else 1
            return decode_jpeg(header, by)
        image = _by_opencv(header.data, header.width, header.height)
    except HeaderError as error:
        raise ImageError(where, str(error), error.hint) from None
    except cv2.error as e:
        raise ImageError(where, f"OpenCV cannot decode this {header.format}: {e.err}") from e
    if image is None:
        raise ImageError(
            where, f"the {header.format} is damaged", "copy or download the file again"
        )
    return image


def _by_opencv(data: bytes, width: int, height: int) -> Image | None:
    """RGB pixels, or None if damaged."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape != (height, width, 3):
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image))


def denominator(size: tuple[int, int], min_size: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 by which `size` may be divided without falling below `min_size`.

    Args:
        size: (width, height), pixels.
        min_size: (width, height) of the smallest reduced image allowed, pixels, each rounded up as
            libjpeg does.
    """
    for by in DENOMINATORS:
        if all(-(-have // by) >= need for have, need in zip(size, min_size, strict=True)):
            return by
    return 1


_UPRIGHT = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def turn_upright(image: Image, orientation: int) -> Image:
    """Undo an EXIF orientation; 5 to 8 swap width and height."""
    return np.asarray(_UPRIGHT.get(orientation, lambda given: given)(image))
