"""Image file headers: size, format and orientation, read before anything is decoded.

OpenCV releases differ in what they make of a file that is unusual: 4.x decodes half of a cut JPEG
and 5.0 nothing, 5.0 turns a WebP by its EXIF and 4.x does not, newer ones take another frame of an
animated PNG, and only some read GIF. So the header, the end of the file and the EXIF orientation
are read here, the same way for every release, and the decoder gets nothing but the parts that
determine pixels. This also bounds what a hostile file can allocate.

Four formats are accepted: JPEG, PNG, BMP, WebP. Everything else is refused, by name where the name
is known.

Sources: ITU-T T.81 annex B, W3C PNG (third edition), RFC 9649 (WebP), the BITMAPINFOHEADER layout,
EXIF 2.32.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

_OTHERS = (  # first bytes, as a pattern, and name: for the message only
    *((rb"GIF8", "a GIF"), (rb"II\*\0|MM\0\*", "a TIFF"), (rb"\xff\x0a", "a JPEG XL")),
    *((rb".{4}ftyp(hei|mif1)", "a HEIC"), (rb".{4}ftypavi", "an AVIF"), (rb"%PDF", "a PDF")),
    *((rb"\0\0\0\x0cjP", "a JPEG 2000"), (rb"8BPS", "a Photoshop")),
)
# Stuffed bytes and restart markers belong to a scan. No `\xff+`: it would search 25 times slower.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN = re.compile(rb"\xff\xda")  # its `findall` counts three times as fast as `bytes.count`
MAX_SCANNED = (
    700_000_000  # scans times pixels; a second of work. A photograph of 64 megapixels has ten
)
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; Huffman coded
_RARE_FRAMES = set(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_INTEGERS = {3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}  # whole numbers of EXIF: bytes by type


class HeaderError(ValueError):
    """The bytes are not an image that can be decoded; `hint` is the way out."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class ImageHeader(NamedTuple):
    """What a file says before it is decoded.

    Attributes:
        format: "JPEG", "PNG", "BMP" or "WebP".
        width: as stored, before `orientation`; pixels.
        height: as stored, pixels.
        orientation: of EXIF, 1 to 8.
        data: the bytes to decode.
        channels: number of colour components of a JPEG; 4 are inks.
        scan: where the first scan of a JPEG begins.
        bits: of a channel.
        alpha: whether pixels may be transparent.
    """

    format: str
    width: int
    height: int
    orientation: int
    data: bytes
    channels: int = 3
    scan: int = 0
    bits: int = 8
    alpha: bool = False


def read_header(data: bytes) -> ImageHeader:
    """The header of a whole file.

    Raises:
        HeaderError: not one of the four formats, damaged, cut short, animated WebP, or without pixels.
    """
    if not data:
        raise HeaderError("the file is empty")
    read = next((reader for start, reader in _READERS if re.match(start, data, re.DOTALL)), None)
    if read is None:
        for start, name in _OTHERS:
            if re.match(start, data, re.DOTALL):
                what = f"{name} file, which is not read here"
                raise HeaderError(what, "`tinysight data convert` makes copies that are")
        raise HeaderError("not a JPEG, PNG, BMP or WebP image")
    header = read(data)
    if header.width < 1 or header.height < 1:
        raise HeaderError(f"the header says {header.width} x {header.height} pixels")
    return header


def _cut(kind: str, missing: str) -> HeaderError:
    return HeaderError(f"the {kind} is cut short: {missing}", "copy or download the file again")


def _jpeg(data: bytes) -> ImageHeader:
    """Walk the segments up to the end marker; without one the image is cut short."""
    size: tuple[int, int] | None = None
    orientation, frame, channels, scan, at = 0, 0, 3, 0, 2
    while found := _MARKER.search(data, at):
        at = found.end()
        code = data[at - 1]
        if code == 0xD9:
            break
        if code in (0xD8, 0x01):
            continue
        length = _uint(data, at, 2, "big")
        if length < 2 or at + length > len(data):
            raise _cut("JPEG", "a segment is incomplete")
        if code in _RARE_FRAMES or (code in _FRAMES and _uint(data, at + 2, 1) != 8):
            hint = "save it as baseline JPEG, 8 bits"
            raise HeaderError("a JPEG of a kind that is not read here", hint)
        if code in _FRAMES and size is None:
            size = _uint(data, at + 5, 2, "big"), _uint(data, at + 3, 2, "big")
            frame, channels = at, _uint(data, at + 7, 1)
        elif code == 0xE1 and not orientation and data.startswith(b"Exif\0\0", at + 2):
            orientation = _orientation(data[at + 8 : at + length])
        elif code == 0xDA and size is not None:
            scan = scan or at
            if data.endswith(b"\xff\xd9"):
                break  # inside a scan these two bytes are the end marker and nothing else
        at += length
    else:
        raise _cut("JPEG", "the end marker is missing")
    if size is None:
        raise HeaderError("the JPEG holds no image")
    scans = _scans(data, frame, scan)
    if scans * size[0] * size[1] > MAX_SCANNED:
        what = f"{scans} scans of {size[0]} x {size[1]} pixels are more than the limit of {MAX_SCANNED}"
        raise HeaderError(what, "save it as baseline JPEG")
    return ImageHeader("JPEG", *size, orientation or 1, data, channels, scan)


def _scans(data: bytes, frame: int, scan: int) -> int:
    """Number of scans of a JPEG, at most: one, unless it is progressive or its first scan lacks a colour.

    Args:
        data: the file.
        frame: where the contents of its frame header begin.
        scan: where those of its first scan's header begin.
    """
    once = data[frame - 1] != 0xC2 and _uint(data, scan + 2, 1) >= _uint(data, frame + 7, 1)
    return 1 if once else len(_SCAN.findall(data))


def _png(data: bytes) -> ImageHeader:
    """Check the chunks; keep those that determine pixels, so no animation and no profile."""
    size: tuple[int, int] | None = None
    kept: list[tuple[int, int]] = []
    view, name, ancillary, alpha = memoryview(data), b"", False, False
    orientation, at = 0, 8
    while name != b"IEND":
        length, name = _uint(data, at, 4, "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise _cut("PNG", "its last chunk is incomplete")
        if name in _PNG_PIXELS:
            if zlib.crc32(view[at + 4 : end - 4]) != _uint(data, end - 4, 4, "big"):
                raise HeaderError(f"the PNG is damaged: wrong checksum in {name.decode()}")
            kept.append((at, end))
        elif not name[:1].islower():
            raise HeaderError("the PNG holds an unknown critical chunk")
        else:
            ancillary = True
        if name == b"IHDR" and at == 8 and length == 13:
            size = _uint(data, at + 8, 4, "big"), _uint(data, at + 12, 4, "big")
        alpha = alpha or name == b"tRNS"
        if name == b"eXIf" and not orientation:
            orientation = _orientation(data[at + 8 : end - 4])
        at = end
    if size is None:
        raise HeaderError("the PNG does not begin with its header")
    if ancillary:
        data = b"".join([data[:8], *(view[start:stop] for start, stop in kept)])
    alpha = alpha or data[25] in (4, 6)  # colour types
    return ImageHeader("PNG", *size, orientation or 1, data, bits=data[24], alpha=alpha)


def _bmp(data: bytes) -> ImageHeader:
    if len(data) < 26:
        raise _cut("BMP", "the header is incomplete")
    pixels, header_size = _uint(data, 10, 4), _uint(data, 14, 4)
    if header_size > 0x7FFFFFFF:
        raise HeaderError("the BMP is damaged: the length of its header")
    if header_size == 12:
        width, height, bits, coding = _uint(data, 18, 2), _uint(data, 20, 2), _uint(data, 24, 2), 0
    else:
        width, height, _, bits, coding = struct.unpack_from("<iiHHI", data.ljust(34, b"\0"), 18)
        height = abs(height)
    if coding in (0, 3) and pixels + (width * bits + 31) // 32 * 4 * height > len(data):
        raise _cut("BMP", "there are fewer bytes than pixels")
    return ImageHeader("BMP", width, height, 1, data)


def _webp(data: bytes) -> ImageHeader:
    if len(data) < 30 or 8 + _uint(data, 4, 4) > len(data):
        raise _cut("WebP", "there are fewer bytes than the header says")
    kind, orientation, alpha = data[12:16], 1, False
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise HeaderError("an animated WebP", "save its first frame as JPEG or PNG")
        size = _uint(data, 24, 3) + 1, _uint(data, 27, 3) + 1
        alpha = bool(data[20] & 0x10)
        for name, body in _riff_chunks(data) if data[20] & 0x08 else ():
            if name == b"EXIF":
                orientation = _orientation(body.removeprefix(b"Exif\0\0"))
                break
    elif kind == b"VP8L":
        packed = _uint(data, 21, 4)
        size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        alpha = bool(packed >> 28 & 1)
    elif kind == b"VP8 ":
        size = _uint(data, 26, 2) & 0x3FFF, _uint(data, 28, 2) & 0x3FFF
    else:
        raise HeaderError("the WebP holds no image")
    return ImageHeader("WebP", *size, orientation, data, alpha=alpha)


_READERS = (  # first bytes, as a pattern
    (rb"\xff\xd8\xff", _jpeg),
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"BM", _bmp),
    (rb"RIFF.{4}WEBP", _webp),
)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length = _uint(data, at + 4, 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _orientation(tiff: bytes) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 also where the block does not say, or is damaged.

    Any type of whole number will do, as for Pillow; of several the first.
    """
    if tiff[:2] not in (b"II", b"MM"):
        return 1
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    table = _uint(tiff, 4, 4, order)
    for index in range(_uint(tiff, table, 2, order)):
        entry = table + 2 + 12 * index
        if entry + 12 > len(tiff):
            break
        if _uint(tiff, entry, 2, order) == 0x0112:
            size = _INTEGERS.get(_uint(tiff, entry + 2, 2, order), 0)
            place, count = entry + 8, _uint(tiff, entry + 4, 4, order)
            place = _uint(tiff, place, 4, order) if size * count > 4 else place
            value = _uint(tiff, place, size, order)
            return value if 1 <= value <= 8 else 1
    return 1


def _uint(data: bytes, at: int, size: int, order: Literal["little", "big"] = "little") -> int:
    """The number at `at`; bytes past the end are left out, so callers check lengths."""
    return int.from_bytes(data[at : at + size], order)
