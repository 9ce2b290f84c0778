"""JPEG data to pixels, and the signs of damage in it.

The decoder is libjpeg-turbo, through simplejpeg: straight to RGB, in half of the time that OpenCV takes for the same
pixels, and with libjpeg's warnings. These are the only sign of damage inside of a file: libjpeg fills what it cannot
read with grey. So an image with a warning is refused, but for three kinds that leave every pixel as it was written:
padding before the end, an unknown revision of JFIF, and progressive parameters in a sequential scan, which some
cameras write.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from tinysight.transforms.base import Image
from tinysight.transforms.header import HeaderError, ImageHeader

_EXTRA = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SCAN = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e][\1-\4]")  # marker, length, number of components
_REPAIRS = 4  # each costs a decoding


def decode_jpeg(header: ImageHeader, by: int = 1, grey: bool = False) -> Image:
    """The stored pixels of a JPEG as RGB (ceil(height / by), ceil(width / by), 3), not yet turned.

    Args:
        header: of a JPEG of 8 bits.
        by: denominator of the size, 1, 2, 4 or 8.
        grey: True for the luma alone, (H, W, 1).

    Raises:
        HeaderError: it is damaged: libjpeg gives up, or warns of lost data.
    """
    import simplejpeg

    width, height = -(-header.width // by), -(-header.height // by)
    kind = "CMYK" if header.channels == 4 else "GRAY" if grey else "RGB"
    data, what = header.data, "other pixels than its header says"
    for _ in range(_REPAIRS):
        try:
            image = simplejpeg.decode_jpeg(data, kind, min_height=height, min_width=width)
        except ValueError as error:
            what = str(error).removeprefix("Corrupt JPEG data: ")
            if "subsampling" in what:
                what = "its header says nothing, or colours are sampled unusually"
            if (mended := _without_harmless(data, header.scan, what)) is None:
                break
            data = mended
            continue
        if image.shape[:2] != (height, width):
            break
        if kind == "CMYK":
            image = _of_inks(image)
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None] if grey else image
        return np.asarray(image)
    raise HeaderError(f"the JPEG is damaged: {what}", "copy or download the file again")


def _of_inks(image: Image) -> Image:
    """Adobe's inverted inks (H, W, 4) as RGB, with OpenCV's rounding."""
    black = image[..., 3:].astype(np.uint16)
    return np.asarray(black - ((255 - image[..., :3]) * black >> 8), np.uint8)


def _without_harmless(data: bytes, scan: int, warning: str) -> bytes | None:
    """`data` without what libjpeg warned of first, where that changes no pixel; None if it may."""
    if found := _EXTRA.fullmatch(warning):
        end, count = data.find(b"\xff\xd9", scan), int(found[1])
        while data[end - 1] == 0xFF:  # these may be there, and are not counted
            end -= 1
        # Padding repeats one byte; what is left of a scan that was not understood does not.
        if len(set(data[max(0, end - count) : end])) == 1:
            return data[: end - count] + data[end:]
    elif "JFIF revision" in warning and (at := data.find(b"JFIF\0")) >= 0:
        return data[: at + 5] + b"\1" + data[at + 6 :]
    elif warning.startswith("Invalid SOS parameters"):
        mended = bytearray(data)
        for start in _SCAN.finditer(data):
            at = start.end() + 2 * data[start.end() - 1]
            mended[at : at + 3] = b"\0\x3f\0"
        return bytes(mended) if mended != data else None
    return None
