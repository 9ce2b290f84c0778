"""The certificate's PNG, BMP and WebP files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_case_files.images import image
from edge_case_files.jpegs import Named
from edge_case_files.lossless import chunk, encode_bmp, encode_png, encode_webp, riff

SEEDS = Path(__file__).with_name("seeds")  # lossy WebP: an encoder of its own would be long
_MASKS = (0xF800, 0x07E0, 0x001F)


def png(
    width: int, height: int, seed: int, colour: int = 2, bits: int = 8, **options: object
) -> bytes:
    """A PNG whose values use all `bits`; alpha from solid to clear."""
    rgb = image(width, height, seed).astype(np.int64)
    clear = (np.arange(width) * 255 // max(1, width - 1))[None, :, None].repeat(height, axis=0)
    parts = {
        0: [rgb[..., :1]],
        2: [rgb],
        3: [rgb[..., :1]],
        4: [rgb[..., :1], clear],
        6: [rgb, clear],
    }
    values = np.concatenate(parts[colour], axis=-1)
    values = values * 256 + values[::-1] if bits == 16 else values >> (8 - bits)
    return encode_png(values, colour, bits, **options)  # type: ignore[arg-type]


def palette(bits: int, seed: int) -> np.ndarray:
    """Colours for `2 ** bits` entries, (n, 3)."""
    colours: np.ndarray = image(1 << bits, 1, seed)[0]
    return colours


def pngs() -> Iterator[Named]:
    """Every filter, cut in pieces, and with what else a PNG may hold."""
    for kind in range(5):
        yield f"filter-{kind}.png", png(63 + kind, 41, 500 + kind, filters=(kind,))
    for pieces in (3, 500):
        yield f"pieces-{pieces}.png", png(40, 57, 510 + pieces, pieces=pieces)
    for seed, (width, height) in enumerate(((33, 60), (90, 20), (8, 8))):
        yield f"interlaced-{width}.png", png(width, height, 520 + seed, interlaced=True)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"sRGB", b"\0")
    yield "gamma.png", png(50, 50, 531, chunks=gamma)
    broken = chunk(b"iCCP", b"none\0\0" + zlib.compress(b"no profile" * 20))
    yield "profile.png", png(50, 50, 532, chunks=broken)
    yield "words.png", png(50, 50, 533, chunks=chunk(b"tEXt", b"Title\0IEND"))
    yield "trailer.png", png(50, 50, 534) + b"\0\0\0\0and more"


def greys() -> Iterator[Named]:
    """Grey PNGs of every depth."""
    for bits in (1, 2, 4, 8):
        for interlaced in (False, True):
            data = png(45 + bits, 52 - bits, 540 + bits, 0, bits, interlaced=interlaced)
            yield f"{bits}{'-interlaced' * interlaced}.png", data


def sixteen() -> Iterator[Named]:
    """Sixteen bits a channel."""
    for colour in (0, 2, 4, 6):
        for seed, (width, height) in enumerate(((31, 44), (73, 38), (5, 9))):
            for interlaced in (False, True):
                data = png(width, height, 560 + seed, colour, 16, interlaced=interlaced)
                yield f"{colour}-{width}{'-interlaced' * interlaced}.png", data


def palettes() -> Iterator[Named]:
    """PNG and BMP with a table of colours, the PNGs with and without transparent ones."""
    for bits in (1, 2, 4, 8):
        table = chunk(b"PLTE", palette(bits, 600 + bits).tobytes())
        clear = chunk(b"tRNS", bytes(range(0, 1 << bits, 2)))
        for name, chunks in (("solid", table), ("clear", table + clear)):
            for interlaced in (False, True):
                data = png(57, 43 + bits, 610 + bits, 3, bits, chunks=chunks, interlaced=interlaced)
                yield f"{bits}-{name}{'-interlaced' * interlaced}.png", data
    for bits in (1, 4, 8):
        for width in (31, 64):
            values = image(width, 37, 620 + bits)[..., 0] >> (8 - bits)
            data = encode_bmp(values, bits, palette=palette(bits, 630 + bits))
            yield f"{bits}-{width}.bmp", data


def alpha() -> Iterator[Named]:
    """With transparency, which is dropped."""
    for colour in (4, 6):
        for interlaced in (False, True):
            for width in (29, 66):
                data = png(width, 51, 640 + width, colour, interlaced=interlaced)
                yield f"{colour}-{width}{'-interlaced' * interlaced}.png", data
    yield "grey-key.png", png(48, 40, 650, 0, chunks=chunk(b"tRNS", struct.pack(">H", 90)))
    yield "rgb-key.png", png(48, 40, 651, chunks=chunk(b"tRNS", struct.pack(">HHH", 90, 90, 90)))
    for seed, width in enumerate((23, 50)):
        rgb = image(width, 33, 660 + seed)
        yield f"{width}.webp", encode_webp(rgb, rgb[::-1, :, 0])
        yield f"{width}.bmp", encode_bmp(np.dstack([rgb[..., ::-1], rgb[..., 0]]), 32)
    yield "lossy.webp", (SEEDS / "alpha.webp").read_bytes()


def bmps() -> Iterator[Named]:
    """Without a table of colours."""
    for seed, width in enumerate((1, 2, 3, 4, 61, 80)):
        bgr = image(width, 39, 700 + seed)[..., ::-1]
        yield f"24-{width}.bmp", encode_bmp(bgr, 24)
        yield f"24-{width}-down.bmp", encode_bmp(bgr, 24, top_down=True)
    yield "old.bmp", encode_bmp(image(45, 39, 710)[..., ::-1], 24, old=True)
    red, green, blue = (image(46, 39, 711)[..., c].astype(np.int64) for c in range(3))
    packed = red >> 3 << 11 | green >> 2 << 5 | blue >> 3
    yield "16.bmp", encode_bmp(packed, 16, masks=_MASKS)


def webps() -> Iterator[Named]:
    """Without and with loss."""
    for seed, (width, height) in enumerate(((64, 64), (31, 77), (90, 11), (17, 17))):
        yield f"{width}x{height}.webp", encode_webp(image(width, height, 720 + seed))
    for name in ("coarse", "fine"):
        data = (SEEDS / f"{name}.webp").read_bytes()
        yield f"{name}.webp", data
        width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
        yield f"{name}-extended.webp", extended(data, width, height)


def extended(data: bytes, width: int, height: int, tiff: bytes = b"") -> bytes:
    """A plain WebP in the extended form, with an EXIF block if there is one."""
    flags = bytes([0x08 if tiff else 0, 0, 0, 0])
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    length = int.from_bytes(data[16:20], "little")
    kept = [(b"VP8X", flags + size), (data[12:16], data[20 : 20 + length])]
    return riff([*kept, *([(b"EXIF", tiff)] if tiff else [])])
