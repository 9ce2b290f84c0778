"""JPEG decoding: two decoders that must agree bit by bit, whole and reduced."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from support.golden import each_file
from tinysight.errors import ImageError
from tinysight.transforms import decode
from tinysight.transforms.decode import _simplejpeg, decode_jpeg, denominator


def smooth(height: int, width: int) -> np.ndarray:
    """Waves in three colours, with a few sharp edges."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 3 + y, 255 - x - 2 * y, (x // 9 + y // 7) * 40], axis=2) % 256
    return image.astype(np.uint8)


def encoded(image: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", **options)
    return out.getvalue()


@contextmanager
def opencv_alone() -> Iterator[None]:
    """As on a machine without simplejpeg."""
    before = list(_simplejpeg)
    _simplejpeg[:] = [None]
    try:
        yield
    finally:
        _simplejpeg[:] = before


KINDS = {
    "420": {"subsampling": 2},
    "422": {"subsampling": 1},
    "444": {"subsampling": 0},
    "progressive": {"progressive": True},
    "poor": {"quality": 10},
    "best": {"quality": 100, "subsampling": 0},
    "restarts": {"restart_marker_blocks": 2},
}


@pytest.mark.parametrize("by", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 96), (61, 83), (9, 200)])
def test_both_decoders_give_the_same_pixels(size: tuple[int, int], kind: str, by: int) -> None:
    data = encoded(smooth(*size), **KINDS[kind])
    height, width = size
    found = decode_jpeg(data, width, height, by)
    with opencv_alone():
        expected = decode_jpeg(data, width, height, by)
    assert found is not None
    assert found.shape == (-(-height // by), -(-width // by), 3)
    assert np.array_equal(found, expected)


@each_file("preprocess", "inputs/*.jpg")
def test_both_decoders_agree_on_real_files_or_refuse_alike(path: Any) -> None:
    def outcome() -> Any:
        try:
            return decode(path).tolist()
        except ImageError as error:
            return str(error)

    found = outcome()
    with opencv_alone():
        assert outcome() == found


def test_reduced_is_the_mean_of_what_it_replaces() -> None:
    """Of an image of flat 8 x 8 blocks nothing but the mean is in the file."""
    blocks = np.random.default_rng(0).integers(40, 216, (6, 5, 1)).repeat(3, axis=2)
    image = blocks.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    reduced = decode(encoded(image, quality=100, subsampling=0), min_size=(5, 6))
    assert reduced.shape == (6, 5, 3)
    assert np.abs(reduced.astype(int) - blocks).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_min_size_is_meant_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(320, 640), exif=exif)
    turned = orientation >= 5
    min_size = (80, 160) if turned else (160, 80)
    expected = (160, 80, 3) if turned else (80, 160, 3)
    assert decode(data, min_size=min_size).shape == expected
    assert decode(data, min_size=min_size[::-1]).shape == tuple(2 * n for n in expected[:2]) + (3,)


def test_only_jpegs_are_reduced() -> None:
    out = io.BytesIO()
    Image.fromarray(smooth(64, 64)).save(out, "PNG")
    assert decode(out.getvalue(), min_size=(8, 8)).shape == (64, 64, 3)


def test_by_default_nothing_is_reduced() -> None:
    assert decode(encoded(smooth(640, 640))).shape == (640, 640, 3)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
)
def test_as_small_as_possible_but_never_too_small(
    size: tuple[int, int], min_size: tuple[int, int]
) -> None:
    by = denominator(size, min_size)

    def fits(n: int) -> bool:
        return all(-(-a // n) >= b for a, b in zip(size, min_size, strict=True))

    assert by in (1, 2, 4, 8)
    assert by == 1 or fits(by)
    assert by == 8 or not fits(2 * by)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(20, 600))
def test_damage_is_refused_alike_or_decoded(noise: bytes, at: int) -> None:
    """A decoder that warns hands over to OpenCV, so one machine takes what another does."""
    data = encoded(smooth(40, 56))
    at = min(at, len(data) - 2 - len(noise))
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        found = decode(damaged)
    except ImageError:
        with opencv_alone(), pytest.raises(ImageError):
            decode(damaged)
    else:
        with opencv_alone():
            assert np.array_equal(decode(damaged), found)


def test_min_size_is_meant_as_stored_where_the_image_is_left_so() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(smooth(320, 640), exif=exif)
    assert decode(data, upright=False, min_size=(160, 80)).shape == (80, 160, 3)
