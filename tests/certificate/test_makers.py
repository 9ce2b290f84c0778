"""What our own encoders write, against what Pillow and OpenCV read."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_case_files.files import make_files
from edge_case_files.images import image
from edge_case_files.jpeg import encode_jpeg, to_ycbcr
from edge_case_files.jpegs import SAMPLINGS, adobe, tall
from edge_case_files.lossless import chunk, encode_bmp, encode_png, encode_webp
from tinysight.certificate.compare import edge_case_files
from tinysight.transforms import decode

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = [
    *((0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)),
    *((4, 8), (4, 16), (6, 8), (6, 16)),
]


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(SAMPLINGS)),
    st.booleans(),
    st.integers(0, 4),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_a_jpeg_shows_what_went_in(
    name: str, progressive: bool, restart: int, width: int, height: int, seed: int
) -> None:
    rgb = np.full((height, width, 3), image(1, 1, seed)[0, 0])
    data = encode_jpeg(
        to_ycbcr(rgb),
        quality=98,
        sampling=SAMPLINGS[name],
        progressive=progressive,
        restart=restart,
    )
    assert np.abs(by_pillow(data).astype(int) - rgb).max() <= 3
    assert np.array_equal(decode(data), by_pillow(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_details_survive(progressive: bool) -> None:
    rgb = image(67, 45, 5)
    data = encode_jpeg(to_ycbcr(rgb), quality=100, progressive=progressive)
    assert np.abs(by_pillow(data).astype(int) - rgb).mean() < 1


def test_four_inks() -> None:
    inks = np.full((16, 16, 4), (200, 100, 50, 255), np.uint8)  # inverted; no black
    shown = decode(encode_jpeg(inks, quality=100, segments=adobe(0)))
    assert np.abs(shown.astype(int) - (200, 100, 50)).max() <= 2


def test_a_tall_image_repeats_its_row() -> None:
    shown = decode(tall(40, 5, 1))
    assert shown.shape == (80, 40, 3)
    assert np.array_equal(decode(tall(40, 5, 1, "", 80))[:8], decode(tall(40, 5, 1, "", 80))[-8:])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(DEPTHS), st.booleans(), st.integers(1, 20), st.integers(1, 20))
def test_a_png_shows_what_went_in(
    form: tuple[int, int], interlaced: bool, width: int, height: int
) -> None:
    colour, bits = form
    full = np.dstack([image(width, height, 7), image(width, height, 8)[..., 0]]).astype(int)
    values = full[..., : CHANNELS[colour]]
    values = values * 257 if bits == 16 else values >> (8 - bits)
    table = image(1 << min(bits, 8), 1, 9)[0]
    chunks = chunk(b"PLTE", table.tobytes()) if colour == 3 else b""
    shown = decode(encode_png(values, colour, bits, interlaced=interlaced, chunks=chunks))
    if colour == 3:
        expected = table[values[..., 0]]
    else:
        eight = values >> 8 if bits == 16 else values * (255 // ((1 << bits) - 1))
        expected = eight[..., :3] if colour in (2, 6) else np.repeat(eight[..., :1], 3, axis=2)
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize(
    ("bits", "options"),
    [(24, {}), (24, {"top_down": True}), (24, {"old": True}), (32, {})],
)
def test_a_bmp_shows_what_went_in(bits: int, options: dict[str, Any]) -> None:
    for width in (1, 2, 3, 17):
        rgb = image(width, 9, width)
        stored = rgb[..., ::-1] if bits == 24 else np.dstack([rgb[..., ::-1], rgb[..., 0]])
        assert np.array_equal(decode(encode_bmp(stored, bits, **options)), rgb)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bmp_with_a_palette(bits: int) -> None:
    table = image(1 << bits, 1, 3)[0]
    values = image(13, 9, 4)[..., 0] >> (8 - bits)
    shown = decode(encode_bmp(values, bits, palette=table))
    assert np.array_equal(shown, table[values][..., ::-1])


def test_a_webp_shows_what_went_in() -> None:
    for width, height in ((1, 1), (2, 3), (19, 8)):
        rgb = image(width, height, 6)
        assert np.array_equal(decode(encode_webp(rgb)), rgb)
        assert np.array_equal(decode(encode_webp(rgb, rgb[..., 0])), rgb)
        assert np.array_equal(by_pillow(encode_webp(rgb)), rgb)


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="the PNGs were deflated by zlib")
def test_the_makers_still_make_the_shipped_files() -> None:
    """Recorded certificates are about exactly these bytes: if this fails, `EDITION` has to change."""
    assert dict(make_files()) == {file.name: file.data for file in edge_case_files()}
