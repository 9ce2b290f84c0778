"""From a file or its bytes to pixels: the one way in, for training, evaluation and prediction."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms.base import MAX_PIXELS, Image
from tinysight.transforms.header import Header, Refused, read_header
from tinysight.transforms.jpeg import decode_jpeg, denominator

_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

if "OPENCV_LOG_LEVEL" not in os.environ:  # a bad image is an exception here, not a line on stderr
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # OpenCV 5 moved it; 0 is silent


def decode(
    source: bytes | str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    upright: bool = True,
    enough: tuple[int, int] | None = None,
) -> Image:
    """Decode one image to uint8 RGB, (H, W, 3), upright by its EXIF orientation.

    Grey, palette and CMYK images become RGB; 16 bits a channel become 8 (the high byte); alpha is
    dropped without blending, as PaddleClas does, so what lies under transparent pixels shows.
    Colour profiles are not applied. Of an animated PNG the still image is taken.

    Args:
        source: the bytes of a JPEG, PNG, BMP or WebP file, or the path of one, in any script.
        max_pixels: the most pixels that are decoded; checked in the header, before anything is
            allocated.
        upright: False leaves the image as it is stored, as Pillow does.
        enough: (width, height) that the caller needs of what is given back. A JPEG that is larger
            may then be decoded at 1/2, 1/4 or 1/8 of its size, rounded up, as long as neither side
            falls below; which saves half the time and gives slightly other pixels. By default every
            image is decoded whole.

    Raises:
        ImageError: the file is missing, not a file, empty, of another format, damaged, cut short (a
            JPEG without its end marker, a PNG without its last chunk) or over `max_pixels`. The
            same files on every OpenCV from 4.8 on, except that damage inside JPEG or WebP data may
            be decoded to wrong pixels, differently by each release.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        where, data = f"{len(source)} bytes", bytes(source)
    else:
        where, data = str(source), read_file(Path(source))
    try:
        header = read_header(data)
    except Refused as refused:
        raise ImageError(where, str(refused), refused.hint) from None
    if header.width * header.height > max_pixels:
        raise ImageError(
            where,
            f"{header.width} x {header.height} pixels are more than the limit of {max_pixels}",
            "reduce the image or raise max_pixels",
        )
    orientation = header.orientation if upright else 1
    return turn_upright(_pixels(header, where, enough, orientation >= 5), orientation)


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


def _pixels(header: Header, where: str, enough: tuple[int, int] | None, swapped: bool) -> Image:
    """The stored pixels as RGB, not yet turned; those of a JPEG reduced if `enough` are left.

    `swapped`: turning will exchange width and height, and `enough` means them afterwards.
    """
    try:
        if header.format == "JPEG":
            by = 1
            if enough is not None:
                needed = enough[::-1] if swapped else enough
                by = denominator((header.width, header.height), needed)
            image = decode_jpeg(header.data, header.width, header.height, by)
        else:
            image = _by_opencv(header)
    except cv2.error as error:
        raise ImageError(
            where, f"OpenCV cannot decode this {header.format}: {error.err}"
        ) from error
    if image is None:
        raise ImageError(
            where, f"the {header.format} is damaged", "copy or download the file again"
        )
    return image


def _by_opencv(header: Header) -> Image | None:
    image = cv2.imdecode(np.frombuffer(header.data, np.uint8), _FLAGS)
    if image is None or image.shape != (header.height, header.width, 3):
        return None
    rgb: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return rgb


def turn_upright(image: Image, orientation: int) -> Image:
    """Undo an EXIF orientation; 5 to 8 swap width and height."""
    turned: Image = image
    match orientation:
        case 2:
            turned = cv2.flip(image, 1)
        case 3:
            turned = cv2.rotate(image, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(image, 0)
        case 5:
            turned = cv2.transpose(image)
        case 6:
            turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return turned
