"""From a file or its bytes to pixels: the one way in, for training, evaluation and prediction.

A JPEG is decoded whole or at 1/2, 1/4 or 1/8 size. Reduced decoding leaves out the high frequencies of each 8 x 8
block before the inverse transform (libjpeg's `scale_num / scale_denom`), so it costs less and gives other pixels than
decoding whole and resizing. The decoder is libjpeg-turbo, through simplejpeg: straight to RGB, in half of the time that
OpenCV takes for the same pixels, and with libjpeg's warnings. These are the only sign of damage inside of a file, for
libjpeg fills what it cannot read with grey. So an image with a warning is refused, but for three kinds that leave every
pixel as it was written: padding before the end, an unknown revision of JFIF, and progressive parameters in a sequential
scan, which some cameras write.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight.errors import ImageError, unseen
from tinysight.transforms.base import MAX_PIXELS, Image
from tinysight.transforms.header import HeaderError, ImageHeader, read_header

DENOMINATORS = (8, 4, 2)
_REDUCED = [  # OpenCV's flags by denominator, in colour and in grey
    {1: whole, **{by: getattr(cv2, f"IMREAD_REDUCED_{name}_{by}") for by in DENOMINATORS}}
    for name, whole in (("COLOR", cv2.IMREAD_COLOR), ("GRAYSCALE", cv2.IMREAD_GRAYSCALE))
]
_EXTRA = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SCAN = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e][\1-\4]")  # marker, length, number of components
_REPAIRS = 4  # each costs a decoding

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
        hidden = unseen(str(path))
        what = (
            f"no such file (its path has {hidden}, which is not seen)" if hidden else "no such file"
        )
        raise ImageError(str(path), what, "check the path") from None
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
        image = by_opencv(header)
    except HeaderError as error:
        raise ImageError(where, str(error), error.hint) from None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image))


class _Quiet:
    """Keeps what libpng and libjpeg print from the terminal, where it would have no file name.

    They print to C's `stderr`, which leads nowhere while anything is decoded. Python's own and the descriptor stay as
    they are. Only for glibc, where that is a variable.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: Any = None
        self._nowhere: Any = None
        self._stream: Any = None  # C's variable; False where there is none

    def _open(self) -> None:
        import ctypes

        self._stream = False
        if os.name == "posix" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
            library.fopen.restype = ctypes.c_void_p
            self._nowhere = library.fopen(os.devnull.encode(), b"w")
            self._stream = ctypes.c_void_p.in_dll(library, "stderr") if self._nowhere else False

    def __enter__(self) -> None:
        with self._lock:
            if self._stream is None:
                self._open()
            self._inside += 1
            if self._inside == 1 and self._stream:
                self._before, self._stream.value = self._stream.value, self._nowhere

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._stream:
                self._stream.value = self._before

    def reset(self) -> None:
        """In a forked child, where no thread that was inside goes on."""
        self._lock = threading.Lock()
        if self._inside and self._stream:
            self._stream.value = self._before
        self._inside = 0


_quiet = _Quiet()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_quiet.reset)


def by_opencv(header: ImageHeader, flags: int = cv2.IMREAD_COLOR, by: int = 1) -> Image:
    """The stored pixels as OpenCV gives them, at 1 / `by` of their size.

    Raises:
        HeaderError: they are damaged.
    """
    data = np.frombuffer(header.data, np.uint8)
    with _quiet:
        try:
            image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            image = None
    if image is None or image.shape[:2] != (-(-header.height // by), -(-header.width // by)):
        raise _damaged(header)
    return np.asarray(image)


def _damaged(header: ImageHeader, reason: str = "") -> HeaderError:
    what = f"the {header.format} is damaged" + (f": {reason}" if reason else "")
    return HeaderError(what, "copy or download the file again")


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
            if "subsampling" in what:  # OpenCV knows more kinds, but no warnings
                image = by_opencv(header, _REDUCED[grey][by], by)
                return image[:, :, None] if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
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
    raise _damaged(header, what)


def _of_inks(image: Image) -> Image:
    """Adobe's inverted inks (H, W, 4) as RGB, with OpenCV's rounding."""
    black = image[..., 3:].astype(np.uint16)
    return np.asarray(black - ((255 - image[..., :3]) * black >> 8), np.uint8)


def _without_harmless(data: bytes, scan: int, warning: str) -> bytes | None:
    """`data` without what libjpeg warned of first, where that changes no pixel; None if it may."""
    if found := _EXTRA.fullmatch(warning):
        end, count = data.find(b"\xff\xd9", scan), int(found[1])
        while end > 0 and data[end - 1] == 0xFF:  # these may be there, and are not counted
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
