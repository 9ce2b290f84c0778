"""Every edge-case file of the parity certificate, byte by byte and alike on every machine."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edge_case_files import formats, jpegs
from edge_case_files.formats import extended, png
from edge_case_files.images import exif, image
from edge_case_files.jpeg import encode_jpeg, segment, to_ycbcr
from edge_case_files.jpegs import Named, photo
from edge_case_files.lossless import (
    SIGNATURE,
    chunk,
    encode_bmp,
    encode_png,
    encode_webp,
    riff,
)


def make_files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file, always in the same order."""
    for kind, makers in _KINDS.items():
        for make in makers:
            for name, data in make():
                yield f"{kind.replace(' ', '-')}_{name}", data


def write_archive(path: str | Path) -> None:
    """Write all files as a zip archive whose bytes depend on nothing but zlib."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in make_files():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data, compresslevel=9)


def _exif() -> Iterator[Named]:
    """Turned images in each format and byte order, and turns that do not exist."""
    webp = encode_webp(image(30, 22, 803))
    for turn in (*range(1, 9), 0, 9):
        stored = to_ycbcr(image(70, 44, 800 + turn))
        for order in ("<", ">"):
            tiff, name = exif(turn, order), f"{turn}{'le' if order == '<' else 'be'}"
            yield f"{name}.jpg", encode_jpeg(stored, segments=segment(0xE1, b"Exif\0\0" + tiff))
            yield f"{name}.png", png(52, 35, 820 + turn, chunks=chunk(b"eXIf", tiff))
            yield f"{name}.webp", extended(webp, 30, 22, tiff)


def _odd_sizes() -> Iterator[Named]:
    """Sides around those that networks and decoders think in, and very long ones."""
    sizes = (
        (1, 97), (97, 1), (3, 211), (211, 3), (7, 9), (17, 31), (33, 65), (127, 129), (223, 225),
        (224, 224), (225, 223), (255, 257), (256, 256), (257, 300), (300, 256), (320, 239),
    )  # fmt: skip
    for seed, (width, height) in enumerate(sizes):
        yield f"{width}x{height}.jpg", photo(width, height, 840 + seed)
        yield f"{width}x{height}.png", png(width, height, 860 + seed)


def _tiny() -> Iterator[Named]:
    """A handful of pixels."""
    for seed, (w, h) in enumerate(((1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (4, 4), (5, 5), (8, 8))):
        rgb = image(w, h, 880 + seed)
        yield f"{w}x{h}.jpg", photo(w, h, 880 + seed, 90)
        yield f"{w}x{h}.png", png(w, h, 880 + seed)
        yield f"{w}x{h}.bmp", encode_bmp(rgb[..., ::-1], 24)
        yield f"{w}x{h}.webp", encode_webp(rgb)


def _huge() -> Iterator[Named]:
    """Up to 12 million pixels, and sides of 16,000."""
    yield "4000x3008.jpg", jpegs.tall(4000, 188, 900)
    yield "3000x2000.jpg", jpegs.tall(3000, 250, 901, "422", 15)
    yield "2500x2400-grey.jpg", jpegs.tall(2500, 300, 902, "", 5)
    yield "24x16000.jpg", jpegs.tall(24, 1000, 903)
    yield "16000x16.jpg", photo(16_000, 16, 904, 5)
    yield "16000x9.png", png(16_000, 9, 905)
    two = np.tile(image(300, 250, 906)[..., :1] >> 5 & 1, (10, 10, 1))
    yield "3000x2500-two-colours.png", encode_png(two, 0, 1, filters=(0,))
    yield "800x600.png", png(800, 600, 907, filters=(2,))


def _refused() -> Iterator[Named]:
    """Cut, damaged, of a kind or a size that is not read: each path has to say no."""
    scans = encode_jpeg(to_ycbcr(image(80, 60, 920)), progressive=True)
    bgr = image(40, 30, 923)[..., ::-1]
    whole = {
        "jpg": photo(80, 60, 921), "progressive.jpg": scans, "png": png(60, 50, 922),
        "bmp": encode_bmp(bgr, 24), "webp": encode_webp(image(40, 30, 924)),
        "lossy.webp": (formats.SEEDS / "fine.webp").read_bytes(),
    }  # fmt: skip
    for name, data in whole.items():
        for percent in (30, 60, 95):
            yield f"cut-{percent}.{name}", data[: len(data) * percent // 100]
    yield "no-end.jpg", whole["jpg"][:-1]
    stored = to_ycbcr(image(24, 24, 925))
    for name, frame in (("lossless", 0xC3), ("arithmetic", 0xC9), ("arithmetic-scans", 0xCA)):
        yield f"{name}.jpg", encode_jpeg(stored, frame=frame)
    yield (
        "twelve-bits.jpg",
        encode_jpeg(stored).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    )
    yield "no-frame.jpg", b"\xff\xd8" + jpegs.PLAIN + b"\xff\xd9"
    crc = bytearray(whole["png"])
    crc[-20] ^= 1
    yield "checksum.png", bytes(crc)
    yield "unknown-chunk.png", png(9, 9, 926, chunks=chunk(b"PIXL", b"?"))
    yield "no-width.png", _png_of(0, 10)
    yield "too-large.png", _png_of(20_000, 20_000)
    yield "too-large.jpg", whole["jpg"].replace(struct.pack(">HH", 60, 80), b"\xff\xdc\xff\xdc", 1)
    yield "too-large.webp", extended(whole["webp"], 16_384, 16_384)
    yield "moving.webp", riff([(b"VP8X", b"\x02" + bytes(9)), (b"ANIM", bytes(6))])
    yield "empty.jpg", b""
    yield "words.jpg", b"not an image at all\n"
    yield "other.gif", b"GIF89a\1\0\1\0\0\0\0;"
    yield "other.tif", b"II*\0\x08\0\0\0" + bytes(20)


def _png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", b"x\x9c\x03\0\0\0\0\1"), (b"IEND", b"")
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


_KINDS: dict[str, tuple[Callable[[], Iterator[Named]], ...]] = {
    "jpeg": (jpegs.jpegs,),
    "progressive": (jpegs.progressive,),
    "grey": (jpegs.grey, formats.greys),
    "cmyk and rgb": (jpegs.colours,),
    "png": (formats.pngs,),
    "16 bits": (formats.sixteen,),
    "palette": (formats.palettes,),
    "alpha": (formats.alpha,),
    "bmp": (formats.bmps,),
    "webp": (formats.webps,),
    "exif": (_exif,),
    "odd sizes": (_odd_sizes,),
    "tiny": (_tiny,),
    "huge": (_huge,),
    "refused": (_refused,),
}
