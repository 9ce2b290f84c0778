"""JPEG decoding: OpenCV's pixels, bit by bit, whole and reduced; and damage inside of a file."""

from __future__ import annotations

import io
import re
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from support.golden import each_file
from tinysight.errors import ImageError
from tinysight.transforms import decode
from tinysight.transforms.decode import decode_jpeg, denominator
from tinysight.transforms.header import read_header


def smooth(height: int, width: int) -> np.ndarray:
    """Waves in three colours, with a few sharp edges."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 3 + y, 255 - x - 2 * y, (x // 9 + y // 7) * 40], axis=2) % 256
    return image.astype(np.uint8)


def encoded(image: np.ndarray, mode: str = "RGB", sampling: int = 0, **options: Any) -> bytes:
    if sampling:
        flag = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
        return cv2.imencode(".jpg", image[:, :, ::-1], [flag, sampling])[1].tobytes()
    out = io.BytesIO()
    Image.fromarray(image).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def by_opencv(data: bytes, by: int = 1) -> np.ndarray:
    """What OpenCV makes of the same file, RGB."""
    flag = getattr(cv2, f"IMREAD_REDUCED_COLOR_{by}") if by > 1 else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


KINDS = {
    "420": {"subsampling": 2},
    "422": {"subsampling": 1},
    "444": {"subsampling": 0},
    "progressive": {"progressive": True},
    "poor": {"quality": 10},
    "best": {"quality": 100, "subsampling": 0},
    "restarts": {"restart_marker_blocks": 2},
    "grey": {"mode": "L"},
    "inks": {"mode": "CMYK"},
    "rgb": {"keep_rgb": True},
    "440": {"sampling": 0x121111},
    "411": {"sampling": 0x411111},
}


@pytest.mark.parametrize("by", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 96), (61, 83), (9, 200)])
def test_whole_and_reduced_have_the_pixels_of_opencv(
    size: tuple[int, int], kind: str, by: int
) -> None:
    data = encoded(smooth(*size), **KINDS[kind])
    height, width = size
    found = decode_jpeg(read_header(data), by)
    assert found.shape == (-(-height // by), -(-width // by), 3)
    assert np.array_equal(found, by_opencv(data, by))


@each_file("preprocess", "inputs/*.jpg")
def test_real_files_have_the_pixels_of_opencv(path: Any) -> None:
    try:
        found = decode(path, upright=False)
    except ImageError as error:
        assert re.search("cut short: the end marker|not a JPEG", str(error))  # noqa: PT017
    else:
        assert np.array_equal(found, by_opencv(path.read_bytes()))


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


PHOTO = encoded(smooth(120, 160), quality=92)
SCAN = PHOTO.index(b"\xff\xda") + 14


def damaged(data: bytes, how: str) -> bytes:
    """Damage inside of the scan, with an end marker as before."""
    start = data.rindex(b"\xff\xda") + 14
    middle = (start + len(data)) // 2
    other = encoded(smooth(40, 56))
    return {
        "zeros": data[:middle] + bytes(200) + data[middle + 200 :],
        "cut and closed": data[:middle] + b"\xff\xd9",
        "cut, then another": data[:middle] + other,
        "cut in front of the scan": data[:start] + b"\xff\xd9",
        "bytes lost": data[:middle] + data[-40:],
        "noise": data[:middle] + np.random.default_rng(1).bytes(300) + data[middle + 300 :],
        "another's end": data[:middle] + other[len(other) // 2 :],
        "marker inside": data[:middle] + b"\xff\xfe\0\2" + data[middle:],
    }[how]


HOW = ("zeros", "cut and closed", "cut, then another", "cut in front of the scan")
HOW = (*HOW, "bytes lost", "noise", "another's end", "marker inside")


@pytest.mark.parametrize(
    "kind", ["420", "444", "progressive", "restarts", "grey", "inks", "rgb", "411"]
)
@pytest.mark.parametrize("how", HOW)
def test_damage_inside_is_no_image(how: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = damaged(encoded(smooth(120, 160), **KINDS[kind]), how)
    for min_size in (None, (20, 15)):
        with pytest.raises(ImageError, match=r"the JPEG is (damaged: \w|cut short)"):
            decode(data, min_size=min_size)
    assert capfd.readouterr() == ("", "")  # nothing of libjpeg's own


@pytest.mark.parametrize("kind", ["420", "progressive"])
def test_what_libjpeg_warns_of_and_no_pixel_shows_is_read(kind: str) -> None:
    data = encoded(smooth(120, 160), **KINDS[kind])
    harmless = {
        "padding before the end": data[:-2] + bytes(40) + b"\xff\xd9",
        "padding and more behind": data[:-2] + bytes(40) + b"\xff\xd9" + data,
        "fill bytes": data[:-2] + b"\xff" * 40 + b"\xff\xd9",
        "JFIF 2.01": data[:11] + b"\2" + data[12:],
        "JFIF 2.01 and padding": data[:11] + b"\2" + data[12:-2] + bytes(40) + b"\xff\xd9",
    }
    for name, file in harmless.items():
        assert np.array_equal(decode(file), decode(data)), name


def test_parameters_of_a_sequential_scan_do_not_matter() -> None:
    file = PHOTO[: SCAN - 3] + bytes(3) + PHOTO[SCAN:]
    assert np.array_equal(decode(file), decode(PHOTO))
    with pytest.raises(ImageError, match="premature end"):  # and hide no damage
        decode(damaged(file, "cut and closed"))


def test_what_is_left_of_a_scan_is_no_padding() -> None:
    with pytest.raises(ImageError, match="extraneous"):
        decode(PHOTO[:-2] + np.random.default_rng(0).bytes(40).replace(b"\xff", b"a") + b"\xff\xd9")


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(20, 600))
def test_what_is_changed_inside_is_refused_or_decoded(noise: bytes, at: int) -> None:
    data = encoded(smooth(40, 56))
    at = min(at, len(data) - 2 - len(noise))
    try:
        image = decode(data[:at] + noise + data[at + len(noise) :])
    except ImageError:
        return
    assert image.dtype == np.uint8


def test_min_size_is_meant_as_stored_where_the_image_is_left_so() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(smooth(320, 640), exif=exif)
    assert decode(data, upright=False, min_size=(160, 80)).shape == (80, 160, 3)
