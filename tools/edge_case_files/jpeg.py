"""A JPEG encoder for files that no usual program writes, the same bytes on every machine.

Whole numbers only, so nothing depends on a library's release or on how a processor rounds. The
Huffman tables have codes of one length, which is legal, unlike what others write, and short here.

Source: ITU-T T.81; the quantisation tables are those of its annex K.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

Sampling = tuple[tuple[int, int], ...]

_LUMINANCE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 "
    "62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 "
    "98 112 100 103 99"
)
_CHROMINANCE = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99"
    + " 99" * 32
)
_SCALE = 13  # bits of a cosine
_AC = [0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
_DC_CODE = {size: f"{size:04b}" for size in range(12)}
_AC_CODE = {symbol: f"{i:08b}" for i, symbol in enumerate(_AC)}
# From low frequencies to high, along the anti-diagonals of 8 x 8.
_ZIGZAG = np.array(
    sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
)


class Component(NamedTuple):
    """One colour: its id, sampling, tables, and coefficients (rows, columns, 64) in blocks."""

    id: int
    across: int
    down: int
    table: int
    blocks: np.ndarray
    used: tuple[int, int]  # rows and columns of blocks that hold the image


def encode_jpeg(
    image: np.ndarray,
    *,
    quality: int = 75,
    sampling: Sampling | None = None,
    ids: Sequence[int] = (1, 2, 3, 4),
    progressive: bool = False,
    restart: int = 0,
    segments: bytes = b"",
    frame: int | None = None,
    wide_tables: bool = False,
) -> bytes:
    """The stored channels of `image`, whatever colours they mean, as a JPEG file.

    Args:
        image: uint8 (H, W, C), one to four channels as they are stored (see `to_ycbcr`).
        quality: 1 to 100, on the usual scale.
        sampling: (across, down) of each channel, each 1, 2 or 4; by default no channel is reduced.
        ids: ids of the channels; some decoders take "RGB" for a hint.
        progressive: a scan of means and two scans of details for each channel.
        restart: groups of blocks between restart markers; 0 for none.
        segments: segments at the beginning (see `segment`).
        frame: the frame's marker, where another than the kind's own is to be written.
        wide_tables: quantisation tables of 16 bits.
    """
    height, width, channels = image.shape
    sampling = sampling or ((1, 1),) * channels
    widest, tallest = (max(s[i] for s in sampling) for i in (0, 1))
    tables = [_quantisation(t, quality) for t in (_LUMINANCE, _CHROMINANCE)]
    groups = math.ceil(height / (8 * tallest)), math.ceil(width / (8 * widest))
    parts = []
    for c, (across, down) in enumerate(sampling):
        plane = _reduced(image[..., c], groups, (tallest, widest), (down, across))
        table = 0 if c in (0, 3) else 1
        used = (
            math.ceil(math.ceil(height * down / tallest) / 8),
            math.ceil(math.ceil(width * across / widest) / 8),
        )
        blocks = _coefficients(plane, tables[table])
        parts.append(Component(ids[c], across, down, table, blocks, used))
    marker = frame if frame is not None else 0xC2 if progressive else 0xC0
    out = [b"\xff\xd8", segments]
    for i, steps in enumerate(tables[: 1 if channels == 1 else 2]):
        kind = ">u2" if wide_tables else "u1"
        body = steps[_ZIGZAG].astype(kind).tobytes()
        out.append(segment(0xDB, bytes([i | 0x10 * wide_tables]) + body))
    shape = b"".join(bytes([p.id, p.across << 4 | p.down, p.table]) for p in parts)
    out.append(segment(marker, struct.pack(">BHHB", 8, height, width, channels) + shape))
    out.append(segment(0xC4, b"\x00" + _lengths(4, 12) + bytes(range(12))))
    out.append(segment(0xC4, b"\x10" + _lengths(8, len(_AC)) + bytes(_AC)))
    if restart:
        out.append(segment(0xDD, struct.pack(">H", restart)))
    if progressive:
        out.append(_scan(parts, groups, (0, 0), restart))
        for part in parts:
            out += [_scan([part], groups, band, restart) for band in ((1, 5), (6, 63))]
    else:
        out.append(_scan(parts, groups, (0, 63), restart))
    return b"".join([*out, b"\xff\xd9"])


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Luminance and colour differences of uint8 RGB, in whole numbers."""
    r, g, b = (rgb[..., i].astype(np.int64) for i in range(3))
    y = 19595 * r + 38470 * g + 7471 * b
    cb = -11059 * r - 21709 * g + 32768 * b + (128 << 16)
    cr = 32768 * r - 27439 * g - 5329 * b + (128 << 16)
    planes = np.stack([y, cb, cr], axis=-1) + 32768 >> 16
    return planes.clip(0, 255).astype(np.uint8)


def _quantisation(text: str, quality: int) -> np.ndarray:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    values = np.array(text.split(), np.int64)
    return ((values * scale + 50) // 100).clip(1, 255)


def _lengths(bits: int, count: int) -> bytes:
    """How many codes there are of each length, 1 to 16 bits."""
    return bytes(count if n == bits else 0 for n in range(1, 17))


def _reduced(
    plane: np.ndarray, groups: tuple[int, int], most: tuple[int, int], own: tuple[int, int]
) -> np.ndarray:
    """The plane padded to whole groups by its edges, and averaged to its own sampling."""
    rows, columns = (8 * g * m for g, m in zip(groups, most, strict=True))
    pads = (0, rows - plane.shape[0]), (0, columns - plane.shape[1])
    padded = np.pad(plane.astype(np.int64), pads, mode="edge")
    down, across = (m // o for m, o in zip(most, own, strict=True))
    cells = padded.reshape(rows // down, down, columns // across, across)
    mean: np.ndarray = (cells.sum(axis=(1, 3)) + down * across // 2) // (down * across)
    return mean


def _coefficients(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Quantised cosine coefficients (rows, columns, 64) of the blocks, in zigzag order."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = (plane - 128).reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    basis = _basis()
    found = (basis @ blocks @ basis.T).reshape(rows, columns, 64)
    step = table << 2 * _SCALE
    halves = (2 * np.abs(found) + step) // (2 * step)
    quantised: np.ndarray = (np.sign(found) * halves)[..., _ZIGZAG]
    return quantised


@cache
def _basis() -> np.ndarray:
    rows = [
        [
            round((math.sqrt(1 / 8) if k == 0 else 0.5) * math.cos((2 * n + 1) * k * math.pi / 16)
                  * (1 << _SCALE))
            for n in range(8)
        ]
        for k in range(8)
    ]  # fmt: skip
    return np.array(rows, np.int64)


def _scan(
    parts: Sequence[Component], groups: tuple[int, int], band: tuple[int, int], restart: int
) -> bytes:
    """One scan: the coefficients `band` of the components, entropy coded."""
    first, last = band
    codes = b"".join(bytes([p.id, 0]) for p in parts)
    out = [segment(0xDA, bytes([len(parts)]) + codes + bytes([first, last, 0]))]
    bits: list[str] = []
    before = [0] * len(parts)
    for done, group in enumerate(_groups(parts, groups)):
        if restart and done and done % restart == 0:
            out += [_packed(bits), bytes([0xFF, 0xD0 + (done // restart - 1) % 8])]
            bits, before = [], [0] * len(parts)
        for which, block in group:
            if first == 0:
                _number(block[0] - before[which], _DC_CODE, 0, bits)
                before[which] = block[0]
            if last:
                _details(block[max(first, 1) : last + 1], bits)
    return b"".join([*out, _packed(bits)])


def _groups(
    parts: Sequence[Component], groups: tuple[int, int]
) -> Iterator[list[tuple[int, list[int]]]]:
    """Blocks in the order of a scan; one component alone goes block by block, without padding."""
    if len(parts) == 1:
        rows, columns = parts[0].used
        for row in parts[0].blocks[:rows, :columns].tolist():
            yield from ([(0, block)] for block in row)
        return
    listed = [p.blocks.tolist() for p in parts]
    for y in range(groups[0]):
        for x in range(groups[1]):
            yield [
                (i, listed[i][y * p.down + v][x * p.across + h])
                for i, p in enumerate(parts)
                for v in range(p.down)
                for h in range(p.across)
            ]


def _details(block: list[int], bits: list[str]) -> None:
    run = 0
    left = sum(map(bool, block))
    for value in block:
        if not left:
            bits.append(_AC_CODE[0x00])
            return
        if not value:
            run += 1
            continue
        while run > 15:
            bits.append(_AC_CODE[0xF0])
            run -= 16
        _number(value, _AC_CODE, run << 4, bits)
        run = 0
        left -= 1


def _number(value: int, code: dict[int, str], prefix: int, bits: list[str]) -> None:
    """A value as its size and its bits; negative ones in ones' complement."""
    size = abs(value).bit_length()
    bits.append(code[prefix | size])
    if size:
        bits.append(f"{value if value > 0 else value + (1 << size) - 1:0{size}b}")


def _packed(bits: list[str]) -> bytes:
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    if not text:
        return b""
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
