"""Image files that decoders disagree about: more than 300 of them, the same ones every time."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import product
from typing import Any

import cv2
import numpy as np
from PIL import Image

SIDES = (1, 2, 3, 7, 8, 9, 16, 17, 33)


def cloud(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A coloured cloud with some detail, uint8 (height, width, channels)."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, channels), 128, np.float32)
    for cells, weight in ((3, 60), (11, 30), (70, 20)):
        coarse = rng.normal(0, weight, (cells, cells, channels)).astype(np.float32)
        finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image += finer.reshape(height, width, channels)
    return np.clip(image, 0, 255).astype(np.uint8)


def by_pillow(format: str, image: np.ndarray | Image.Image, **options: Any) -> bytes:
    """The file that Pillow writes."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def by_opencv(extension: str, image: np.ndarray, *options: int) -> bytes:
    """The file that OpenCV writes of BGR pixels."""
    ok, data = cv2.imencode(extension, image, options)
    assert ok
    return data.tobytes()


def exif(orientation: int, order: str) -> bytes:
    """An EXIF block of one entry, "<" or ">"."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    body = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1) + entry
    return b"Exif\0\0" + body + struct.pack(order + "I", 0)


def edge_case_files() -> dict[str, bytes]:
    """Contents by file name."""
    groups = (_turned, _jpegs, _sizes, _pngs, _bmps, _webps, _large, _broken)
    return {f"{g.__name__[1:]}_{name}": data for g in groups for name, data in g()}


def _turned() -> Iterator[tuple[str, bytes]]:
    image = cloud(90, 60, 1)
    for orientation, order in product(range(10), "<>"):
        block = exif(orientation, order)
        name = f"{orientation}{'le' if order == '<' else 'be'}"
        yield f"{name}.jpg", by_pillow("JPEG", image, exif=block)
        yield f"{name}.png", by_pillow("PNG", image, exif=block[6:])
        yield f"{name}.webp", by_pillow("WEBP", image, exif=block, lossless=True)


def _jpegs() -> Iterator[tuple[str, bytes]]:
    for quality, sampling, progressive in product((3, 40, 92, 100), (0, 1, 2), (False, True)):
        options = {"quality": quality, "subsampling": sampling, "progressive": progressive}
        data = by_pillow("JPEG", cloud(301, 213, quality), **options)
        yield f"q{quality}_s{sampling}_{'progressive' if progressive else 'baseline'}.jpg", data
    for progressive, (width, height) in product((False, True), ((300, 200), (17, 5), (1, 1))):
        name = f"{width}x{height}_{progressive}.jpg"
        inks = Image.fromarray(cloud(width, height, 5)).convert("CMYK")
        yield f"cmyk_{name}", by_pillow("JPEG", inks, progressive=progressive)
        grey = cloud(width, height, 6, 1)[:, :, 0]
        yield f"grey_{name}", by_pillow("JPEG", grey, progressive=progressive)
    yield "cmyk_wild.jpg", by_pillow("JPEG", _inks(200, 150), quality=90)
    yield "rgb_inside.jpg", by_pillow("JPEG", cloud(200, 150, 8), keep_rgb=True)
    yield "restarts.jpg", by_pillow("JPEG", cloud(200, 150, 9), restart_marker_blocks=3)
    yield "optimised.jpg", by_pillow("JPEG", cloud(200, 150, 9), optimize=True)
    yield "profile.jpg", by_pillow("JPEG", cloud(200, 150, 9), icc_profile=b"no profile" * 9000)
    yield "comment.jpg", by_pillow("JPEG", cloud(200, 150, 9), comment=b"\xff\xd9 \xff\xda" * 40)
    yield "tail.jpg", by_pillow("JPEG", cloud(200, 150, 9)) + b"\0" * 100
    flag = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    for sampling, (width, height) in product(
        (0x411111, 0x221111, 0x211111, 0x121111, 0x111111), ((99, 75), (33, 18))
    ):
        data = by_opencv(".jpg", cloud(width, height, 10), flag, sampling)
        yield f"{sampling:x}_{width}.jpg", data


def _inks(width: int, height: int) -> Image.Image:
    return Image.merge("CMYK", [Image.fromarray(c) for c in cv2.split(cloud(width, height, 7, 4))])


def _sizes() -> Iterator[tuple[str, bytes]]:
    for width, height in product(SIDES, SIDES):
        image = cloud(width, height, width * 100 + height)
        name = f"{width}x{height}"
        if (width + height) % 2:
            yield f"{name}.jpg", by_pillow("JPEG", image)
        else:
            yield f"{name}.png", by_pillow("PNG", image)
    for width, height in ((1, 900), (900, 1), (2, 2000), (1500, 3)):
        yield f"sliver_{width}.png", by_pillow("PNG", cloud(width, height))
    for side in (223, 224, 225, 255, 256, 257, 511, 512, 513, 768):
        yield f"{side}x{side + 1}.jpg", by_pillow("JPEG", cloud(side, side + 1, side))
        yield f"{side + 1}x{side}.png", by_pillow("PNG", cloud(side + 1, side, side))


def _pngs() -> Iterator[tuple[str, bytes]]:
    for width in (40, 41, 47):
        image = Image.fromarray(cloud(width, 31, width))
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
            yield f"{mode}_{width}.png", by_pillow("PNG", image.convert(mode))
        for bits in (1, 2, 4):
            few = image.quantize(2**bits)
            yield f"palette{bits}_{width}.png", by_pillow("PNG", few, bits=bits)
            see_through = by_pillow("PNG", few, bits=bits, transparency=1)
            yield f"palette{bits}_{width}_see_through.png", see_through
        yield f"L_{width}_see_through.png", by_pillow("PNG", image.convert("L"), transparency=9)
        yield f"RGB_{width}_see_through.png", by_pillow("PNG", image, transparency=(1, 2, 3))
        alpha = cloud(width, 31, 3, 4)
        yield f"alpha_{width}.png", by_pillow("PNG", alpha)
        for channels in (1, 3, 4):
            deep = cloud(width, 31, 4, channels).astype(np.uint16) * 251 + 77
            yield f"deep{channels}_{width}.png", by_opencv(".png", deep)
    yield "gamma.png", _with_chunk(by_pillow("PNG", cloud(60, 50)), b"gAMA", b"\0\0\x10\0")
    yield "profile.png", by_pillow("PNG", cloud(60, 50), icc_profile=b"no profile")
    frames = [Image.fromarray(cloud(60, 50, i)) for i in (2, 3)]
    yield "animated.png", by_pillow("PNG", frames[0], save_all=True, append_images=frames[1:])


def _with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    import zlib

    crc = struct.pack(">I", zlib.crc32(name + body))
    return png[:33] + struct.pack(">I", len(body)) + name + body + crc + png[33:]


def bmp(width: int, height: int, bits: int, coding: int, tables: bytes, pixels: bytes) -> bytes:
    """A BMP with a header of 40 bytes; `tables` are masks or a palette."""
    offset = 54 + len(tables)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, coding, 0, 0, 0, 0, 0)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + tables + pixels
    )


def _bmps() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(3)
    palette = rng.integers(0, 256, (256, 4), np.uint8)
    for width in (16, 21):
        image = Image.fromarray(cloud(width, 13, width))
        for mode in ("1", "L", "P", "RGB", "RGBA"):
            yield f"{mode}_{width}.bmp", by_pillow("BMP", image.convert(mode))
        words = rng.integers(0, 2**16, (13, (width + 1) // 2 * 2), np.uint16).tobytes()
        for name, masks in (("565", (0xF800, 0x7E0, 0x1F)), ("555", (0x7C00, 0x3E0, 0x1F))):
            yield f"{name}_{width}.bmp", bmp(width, 13, 16, 3, struct.pack("<3I", *masks), words)
        yield f"16_{width}.bmp", bmp(width, 13, 16, 0, b"", words)
        yield f"down_{width}.bmp", bmp(width, -13, 16, 0, b"", words)
        bytes4 = rng.integers(0, 256, (13, width, 4), np.uint8).tobytes()
        yield f"32_{width}.bmp", bmp(width, 13, 32, 0, b"", bytes4)
        nibbles = rng.integers(0, 256, (13, (width + 7) // 8 * 4), np.uint8).tobytes()
        yield f"4_{width}.bmp", bmp(width, 13, 4, 0, palette[:16].tobytes(), nibbles)
        yield f"runs_{width}.bmp", bmp(width, 13, 8, 1, palette.tobytes(), _runs(rng, width))


def _runs(rng: np.random.Generator, width: int) -> bytes:
    """13 rows, each a literal stretch of 5 and a run over the rest."""
    rows = b""
    for _ in range(13):
        literal = bytes([0, 5]) + rng.bytes(5) + b"\0"
        rows += literal + bytes([width - 5]) + rng.bytes(1) + b"\0\0"
    return rows[:-2] + b"\0\1"


def _webps() -> Iterator[tuple[str, bytes]]:
    for width, height in ((64, 48), (17, 9), (1, 1), (301, 203)):
        name = f"{width}x{height}"
        image, alpha = cloud(width, height, 11), cloud(width, height, 12, 4)
        for quality in (5, 80):
            yield f"q{quality}_{name}.webp", by_pillow("WEBP", image, quality=quality)
        yield f"lossless_{name}.webp", by_pillow("WEBP", image, lossless=True)
        yield f"alpha_{name}.webp", by_pillow("WEBP", alpha, quality=70)
        yield f"alpha_lossless_{name}.webp", by_pillow("WEBP", alpha, lossless=True, exact=True)


def _large() -> Iterator[tuple[str, bytes]]:
    yield "12mp.jpg", by_pillow("JPEG", cloud(4000, 3000), quality=80)
    yield "progressive.jpg", by_pillow("JPEG", cloud(2001, 1501), quality=70, progressive=True)
    yield "wide.png", by_opencv(".png", cloud(6000, 400), cv2.IMWRITE_PNG_COMPRESSION, 1)
    yield "1080p.webp", by_pillow("WEBP", cloud(1920, 1080), quality=60, method=0)


def _broken() -> Iterator[tuple[str, bytes]]:
    whole = {
        "jpg": by_pillow("JPEG", cloud(120, 80)),
        "png": by_pillow("PNG", cloud(120, 80)),
        "bmp": by_pillow("BMP", cloud(120, 80)),
        "webp": by_pillow("WEBP", cloud(120, 80)),
    }
    for kind, data in whole.items():
        for share in (0.01, 0.3, 0.9):
            yield f"cut{share}.{kind}", data[: int(len(data) * share)]
    yield "empty.jpg", b""
    yield "words.jpg", b"these are words, not an image"
    yield "other.jpg", by_pillow("GIF", Image.fromarray(cloud(20, 20)))
    yield "moving.webp", _moving()
    yield "crc.png", whole["png"][:-20] + b"\0" + whole["png"][-19:]
    yield "huge.png", by_pillow("PNG", Image.new("1", (20000, 20000)))
    yield "tiff.png", by_pillow("TIFF", cloud(20, 20))


def _moving() -> bytes:
    frames = [Image.fromarray(cloud(60, 50, i)) for i in (2, 3)]
    return by_pillow("WEBP", frames[0], save_all=True, append_images=frames[1:])
