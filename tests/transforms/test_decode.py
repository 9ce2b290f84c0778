"""Decoding: every kind of file against Pillow, every kind of bad file refused in our own words."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tinysight.errors import ImageError
from tinysight.transforms import decode

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)


def encoded(format: str, pixels: np.ndarray = PIXELS, mode: str = "RGB", **options: Any) -> bytes:
    """`pixels` in one of Pillow's formats."""
    target = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(target, format, **options)
    return target.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


FILES = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP", lossless=True),
    "lossy webp": encoded("WEBP"),
}


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG"),
        encoded("BMP"),
        encoded("WEBP", lossless=True),
        encoded("PNG", mode="L"),
        encoded("BMP", mode="L"),
        encoded("PNG", mode="1"),
        encoded("BMP", mode="1"),
        encoded("PNG", mode="P"),
    ],
)
def test_lossless_as_pillow(data: bytes) -> None:
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_close_to_pillow(mode: str) -> None:
    data = encoded("JPEG", np.full((16, 16, 3), (200, 90, 30), np.uint8), mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 2


def test_alpha_is_dropped_not_blended() -> None:
    pixels = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    assert np.array_equal(decode(target.getvalue()), PIXELS)


def test_sixteen_bits_keep_the_high_byte() -> None:
    values = np.array([[0x0000, 0x01FF, 0x8000, 0xFFFF]], np.uint16)
    target = io.BytesIO()
    Image.fromarray(values).save(target, "PNG")
    assert decode(target.getvalue())[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    data = encoded(
        format, np.kron(PIXELS[:4, :6], np.ones((8, 8, 1), np.uint8)), exif=exif, **options
    )
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    result = decode(data)
    assert result.shape == np.asarray(upright).shape
    limit = 3 if format == "JPEG" else 0
    assert np.abs(result.astype(int) - np.asarray(upright)).max() <= limit


def test_big_endian_exif_and_nonsense_in_it() -> None:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    for body, turned in (
        (b"MM\0*" + struct.pack(">IH", 8, 1) + entry, True),
        (b"MM\0*" + struct.pack(">IH", 8, 60_000) + entry, True),
        (b"MM\0*" + struct.pack(">IH", 0xFFFFFFF0, 1) + entry, False),
        (b"II", False),
        (b"", False),
        (b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 9, 0), False),
    ):
        data = FILES["png"][:33] + chunk(b"eXIf", body) + FILES["png"][33:]
        assert decode(data).shape == ((21, 13, 3) if turned else (13, 21, 3))


def exif(order: str, kind: int, values: tuple[int, ...]) -> bytes:
    """An EXIF block that says the orientation as a type of whole number."""
    letter = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}[kind]
    packed = struct.pack(f"{order}{len(values)}{letter}", *values)
    entry = struct.pack(order + "HHI", 0x0112, kind, len(values))
    field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", 26)
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return b"Exif\0\0" + start + struct.pack(order + "H", 1) + entry + field + bytes(4) + packed


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9, 13])
@pytest.mark.parametrize("values", [(6,), (1,), (0,), (9,), (6, 1)])
def test_exif_of_any_whole_number(order: str, kind: int, values: tuple[int, ...]) -> None:
    """As Pillow, which takes no single bytes; and alike in both byte orders."""
    block = exif(order, kind, values)
    turned = values[0] == 6 and kind != 1
    first = FILES["jpeg"][:2] + segment(block) + FILES["jpeg"][2:]
    if len(values) == 1:
        other = ImageOps.exif_transpose(Image.open(io.BytesIO(first)))
        assert (other.size == (13, 21)) == turned
    png = FILES["png"][:33] + chunk(b"eXIf", block[6:]) + FILES["png"][33:]
    for data in (first, png):
        assert decode(data).shape == ((21, 13, 3) if turned else (13, 21, 3))


def segment(block: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block


def test_of_two_exif_blocks_the_first_counts() -> None:
    six, one = exif("<", 3, (6,)), exif("<", 3, (1,))
    jpeg, png = FILES["jpeg"], FILES["png"]
    for blocks, turned in (((six, one), True), ((one, six), False)):
        shape = (21, 13, 3) if turned else (13, 21, 3)
        assert decode(jpeg[:2] + b"".join(map(segment, blocks)) + jpeg[2:]).shape == shape
        chunks = b"".join(chunk(b"eXIf", block[6:]) for block in blocks)
        assert decode(png[:33] + chunks + png[33:]).shape == shape


def test_path_in_any_script(tmp_path: Path) -> None:
    path = tmp_path / "изображение 图片 é.png"
    path.write_bytes(FILES["png"])
    for source in (path, str(path), FILES["png"], bytearray(FILES["png"])):
        assert np.array_equal(decode(source), decode(FILES["png"]))


def test_animated_png_gives_its_still_image() -> None:
    still, other = Image.fromarray(PIXELS), ImageOps.invert(Image.fromarray(PIXELS))
    target = io.BytesIO()
    still.save(target, "PNG", save_all=True, append_images=[other, still], default_image=True)
    assert np.array_equal(decode(target.getvalue()), PIXELS)


def test_bad_colour_profile_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    bad = chunk(b"iCCP", b"bad\0\0" + zlib.compress(b"x" * 200))
    assert np.array_equal(decode(FILES["png"][:33] + bad + FILES["png"][33:]), PIXELS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_end_do_not_matter(name: str) -> None:
    assert np.array_equal(decode(FILES[name] + b"\0trailer"), decode(FILES[name]))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_cut_short_is_refused(name: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    data = FILES[name]
    with pytest.raises(ImageError, match=r"cut short|no image"):
        decode(data[: int(len(data) * share)])
    assert capfd.readouterr() == ("", "")


def test_jpeg_without_its_last_byte_is_refused() -> None:
    for name in ("jpeg", "progressive"):
        with pytest.raises(ImageError, match="end marker"):
            decode(FILES[name][:-1])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"hello", "not a JPEG"),
        (encoded("GIF"), "a GIF"),
        (encoded("TIFF"), "a TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC"),
        (b"\xff\xd8\xff\xd9", "no image"),
        (b"\xff\xd8\xff\xc0\0\2", "of a kind that is not read"),  # ends before its precision
        (FILES["png"][:60] + bytes([FILES["png"][60] ^ 1]) + FILES["png"][61:], "checksum in IDAT"),
        (FILES["png"][:8] + FILES["png"][33:], "begin with its header"),
        (
            encoded("WEBP", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])]),
            "animated WebP",
        ),
    ],
)
def test_refused_in_our_words(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=what) as caught:
        decode(data)
    assert caught.value.problems[0].where == f"{len(data)} bytes"


def test_refused_paths(tmp_path: Path) -> None:
    for path, what in (
        (tmp_path / "absent.jpg", "no such file"),
        (tmp_path, "is a folder"),
        ("a\0b.jpg", "cannot be read"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        if str(path) == "/dev/zero" and not path.exists():
            continue
        with pytest.raises(ImageError, match=what) as caught:
            decode(path)
        assert caught.value.problems[0].where == str(path)


def bomb(format: str, side: int) -> bytes:
    """A small file whose header promises `side` x `side` pixels."""
    match format:
        case "png":
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            return FILES["png"][:8] + header + FILES["png"][33:]
        case "jpeg":
            data = bytearray(FILES["jpeg"])
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", side, side)
            return bytes(data)
        case "webp":
            data = bytearray(FILES["webp"])
            data[21:25] = struct.pack("<I", side - 1 | (side - 1) << 14)
            return bytes(data)
    data = bytearray(FILES["bmp"])
    data[18:26] = struct.pack("<ii", side, -side)
    data[30] = 1  # compressed, so that the number of bytes says nothing
    return bytes(data)


@pytest.mark.parametrize(
    ("format", "side"), [("png", 60_000), ("jpeg", 60_000), ("webp", 16_384), ("bmp", 60_000)]
)
def test_bomb_is_refused_before_it_is_unpacked(format: str, side: int) -> None:
    data = bomb(format, side)
    tracemalloc.start()
    with pytest.raises(ImageError, match=f"{side} x {side} pixels are more than the limit"):
        decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_limit_is_inclusive() -> None:
    assert decode(FILES["png"], max_pixels=13 * 21).shape == (13, 21, 3)
    with pytest.raises(ImageError, match="raise max_pixels"):
        decode(FILES["png"], max_pixels=13 * 21 - 1)


def check(data: bytes) -> None:
    try:
        image = decode(data, max_pixels=1_000_000)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


MAGIC = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBPVP8X"]
)


@settings(max_examples=300, deadline=None)
@given(magic=MAGIC, rest=st.binary(max_size=120))
def test_any_bytes(magic: bytes, rest: bytes) -> None:
    check(magic + rest)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 40),
)
def test_any_damage(name: str, edits: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(FILES[name])
    for at, value in edits:
        data[at % len(data)] = value
    check(bytes(data[: len(data) - cut]))


def test_fill_bytes_before_a_marker() -> None:
    data = FILES["jpeg"]
    at = data.index(b"\xff\xda")
    for padded in (data[:at] + b"\xff\xff" + data[at:], data[:-2] + b"\xff\xff\xff\xd9 "):
        assert np.array_equal(decode(padded), decode(data))
