"""PNG, BMP and lossless WebP files of every form, written byte by byte from whole numbers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (  # first row, first column, step of rows, step of columns
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def encode_png(
    values: np.ndarray,
    colour: int,
    bits: int,
    *,
    interlaced: bool = False,
    filters: Sequence[int] = (0, 1, 2, 3, 4),
    chunks: bytes = b"",
    pieces: int = 1,
) -> bytes:
    """A PNG file.

    Args:
        values: (H, W, C), each below 2 ** bits, as they are stored.
        colour: the PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        bits: bits of one value.
        interlaced: whether it is stored in seven passes.
        filters: filters of the rows, in turn; those that predict need values of 8 or 16 bits to make sense,
            and are legal without.
        chunks: chunks between header and pixels, such as a palette.
        pieces: number of chunks that the compressed pixels are cut into.
    """
    height, width, channels = values.shape
    assert channels == _CHANNELS[colour]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        _filtered(values[y::dy, x::dx], bits, filters)
        for y, x, dy, dx in passes
        if values[y::dy, x::dx].size
    )
    packed = zlib.compress(rows, 6)
    step = -(-len(packed) // pieces)
    data = [chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)]
    return b"".join([SIGNATURE, chunk(b"IHDR", header), chunks, *data, chunk(b"IEND", b"")])


def _filtered(values: np.ndarray, bits: int, filters: Sequence[int]) -> bytes:
    """Rows of bytes, each behind the number of its filter."""
    height, width, channels = values.shape
    if bits == 16:
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    elif bits == 8:
        rows = values.astype(np.uint8).reshape(height, -1)
    else:
        places = np.arange(bits - 1, -1, -1)
        single = values.reshape(height, -1, 1).astype(np.uint8) >> places & 1
        rows = np.packbits(single.reshape(height, -1), axis=1)
    step = max(1, bits * channels // 8)
    above = np.zeros(rows.shape[1] + step, np.int64)
    out = []
    for i, row in enumerate(rows.astype(np.int64)):
        here = np.concatenate([np.zeros(step, np.int64), row])
        left, corner = here[:-step], above[:-step]
        up = above[step:]
        kind = filters[i % len(filters)]
        guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
        out += [bytes([kind]), ((row - guess) % 256).astype(np.uint8).tobytes()]
        above = here
    return b"".join(out)


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)


def encode_bmp(
    values: np.ndarray,
    bits: int,
    *,
    palette: np.ndarray | None = None,
    top_down: bool = False,
    old: bool = False,
    masks: Sequence[int] = (),
) -> bytes:
    """A BMP file.

    Args:
        values: (H, W), palette entries or packed pixels, or (H, W, 3 or 4) blue first.
        bits: bits of a pixel: 1, 4, 8, 16, 24 or 32.
        palette: blue, green, red of the entries, (n, 3).
        top_down: the first row first.
        old: whether the header is that of OS/2, 24 bits only.
        masks: masks of red, green and blue, with 16 and 32 bits.
    """
    height, width = values.shape[:2]
    if bits < 8:
        places = np.arange(bits - 1, -1, -1)
        single = values[..., None].astype(np.uint8) >> places & 1
        rows = np.packbits(single.reshape(height, -1), axis=1)
    elif bits == 16:
        rows = values.astype("<u2").view(np.uint8).reshape(height, -1)
    else:
        rows = values.astype(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    pixels = rows if top_down else rows[::-1]
    if old:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
        colours = b""
    else:
        entries = 0 if palette is None else len(palette)
        size = -height if top_down else height
        header = struct.pack(
            "<IiiHHIIiiII", 40, width, size, 1, bits, 3 if masks else 0, 0, 2835, 2835, entries, 0
        )
        colours = struct.pack(f"<{len(masks)}I", *masks)
        if palette is not None:
            colours += np.pad(palette, ((0, 0), (0, 1))).astype(np.uint8).tobytes()
    start = 14 + len(header) + len(colours)
    body = pixels.tobytes()
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + header + colours + body


def encode_webp(rgb: np.ndarray, alpha: np.ndarray | None = None) -> bytes:
    """A lossless WebP without any of its tricks: every value has a code of eight bits.

    Args:
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W).

    Source: RFC 9649, section 3.
    """
    height, width = rgb.shape[:2]
    bits = [_low(width - 1, 14), _low(height - 1, 14), _low(int(alpha is not None), 1)]
    bits.append("000" + "0" + "0" + "0")  # version; no transform, no colour cache, one set of codes
    # 12 lengths of codes for lengths, in the format's own order; the third is 0's, the last 8's.
    literals = "0" + _low(12 - 4, 4) + "".join(_low(int(i in (2, 11)), 3) for i in range(12)) + "0"
    one = "1" + "0" + "1"  # a code without bits, for one value of 8 bits
    bits += [literals, "1" * 256 + "0" * 24]  # green, and the 24 that copy, which are not used
    bits += [literals, "1" * 256] * 2
    bits.append(one + _low(255, 8) if alpha is None else literals + "1" * 256)
    bits.append("1" + "0" + "0" + "0")  # distances: one value of one bit
    channels = [rgb[..., 1], rgb[..., 0], rgb[..., 2], *([] if alpha is None else [alpha])]
    values = np.stack(channels, axis=-1).astype(np.uint8)
    bits.append("".join(map(str, np.unpackbits(values.ravel()).tolist())))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    body = np.packbits(np.array(list(text), "U1").astype(np.uint8), bitorder="little").tobytes()
    return riff([(b"VP8L", b"\x2f" + body)])


def riff(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _low(value: int, count: int) -> str:
    """A number's bits, the lowest first."""
    return format(value, f"0{count}b")[::-1]
