"""Moving pixels and changing tones: Pillow is the oracle, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from tinysight.transforms.augment import pillow, tone

FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}
FILL = (124, 116, 104)
filters = st.sampled_from(sorted(FILTERS))
# Round numbers put places on borders between pixels, where a rounding error decides.
shares = st.one_of(st.floats(-0.6, 0.6), st.sampled_from([0.0, 0.25, -0.5, 1 / 3, 1.0]))
degrees = st.one_of(
    st.floats(-400, 400), st.sampled_from([0, 90, 180, 270, 360, 45, -30, 5e-324, 1e-12])
)
factors = st.one_of(st.floats(0, 3), st.sampled_from([0.0, 0.5, 1.0, 1.9]))


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Noise, smooth, striped, two-coloured or one-coloured; of any range of values."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    low, high = sorted(rng.integers(0, 257, 2))
    match draw(st.sampled_from(["noise", "ramp", "stripes", "two", "one"])):
        case "noise":
            return rng.integers(low, max(high, low + 1), (height, width, 3)).astype(np.uint8)
        case "ramp":
            row, column = np.indices((height, width))
            return np.stack([row * 7, column * 5, row + column], 2).astype(np.uint8)
        case "stripes":
            return np.tile(rng.integers(0, 256, (1, width, 3), dtype=np.uint8), (height, 1, 1))
        case "two":
            return (rng.integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)
    return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)


@settings(max_examples=150, deadline=None)
@given(image=images(), filter_=filters, angle=degrees)
def test_rotate(image: np.ndarray, filter_: str, angle: float) -> None:
    wanted = Image.fromarray(image).rotate(angle, FILTERS[filter_], fillcolor=FILL)
    assert np.array_equal(pillow.rotate(image, angle, filter_, FILL), np.asarray(wanted))


@pytest.mark.parametrize("axis", ["x", "y"])
@settings(max_examples=150, deadline=None)
@given(image=images(), filter_=filters, share=shares)
def test_shear(axis: str, image: np.ndarray, filter_: str, share: float) -> None:
    matrix = (1, share, 0, 0, 1, 0) if axis == "x" else (1, 0, 0, share, 1, 0)
    wanted = transformed(image, matrix, filter_)
    move = pillow.shear_x if axis == "x" else pillow.shear_y
    assert np.array_equal(move(image, share, filter_, FILL), wanted)


@pytest.mark.parametrize("axis", ["x", "y"])
@settings(max_examples=150, deadline=None)
@given(image=images(), filter_=filters, share=shares)
def test_translate(axis: str, image: np.ndarray, filter_: str, share: float) -> None:
    height, width = image.shape[:2]
    matrix = (1, 0, share * width, 0, 1, 0) if axis == "x" else (1, 0, 0, 0, 1, share * height)
    wanted = transformed(image, matrix, filter_)
    move = pillow.translate_x if axis == "x" else pillow.translate_y
    assert np.array_equal(move(image, share, filter_, FILL), wanted)


@settings(max_examples=150, deadline=None)
@given(image=images(), filter_=filters, numbers=st.lists(shares, min_size=6, max_size=6))
def test_any_affine_map(image: np.ndarray, filter_: str, numbers: list[float]) -> None:
    a, b, c, d, e, f = numbers
    matrix = (1 + a, b, 9 * c, d, 1 + e, 9 * f)
    wanted = transformed(image, matrix, filter_)
    assert np.array_equal(pillow.affine(image, matrix, filter_, FILL), wanted)


def transformed(image: np.ndarray, matrix: tuple[float, ...], filter_: str) -> np.ndarray:
    source = Image.fromarray(image)
    size, method = source.size, Image.Transform.AFFINE
    return np.asarray(source.transform(size, method, matrix, FILTERS[filter_], fillcolor=FILL))


def test_hand_worked_shift() -> None:
    image = np.array([[[10] * 3, [20] * 3, [40] * 3]], np.uint8)
    # Half a pixel left: the means of neighbours, the last one beside itself; cut off, not rounded.
    half = pillow.translate_x(image, 0.5 / 3, "bilinear", (0, 0, 0))[0, :, 0]
    assert half.tolist() == [15, 30, 0]
    assert pillow.translate_x(image, 1 / 3, "bicubic", (1, 2, 3))[0].tolist() == [
        [20] * 3,
        [40] * 3,
        [1, 2, 3],
    ]


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color", "Sharpness"])
@settings(max_examples=100, deadline=None)
@given(image=images(), factor=factors)
def test_factors(name: str, image: np.ndarray, factor: float) -> None:
    wanted = getattr(ImageEnhance, name)(Image.fromarray(image)).enhance(factor)
    assert np.array_equal(getattr(tone, name.lower())(image, factor), np.asarray(wanted))


@settings(max_examples=200, deadline=None)
@given(
    image=images(),
    bits=st.integers(1, 8),
    threshold=st.floats(0, 256),
    steps=st.integers(-128, 127),
)
def test_tables(image: np.ndarray, bits: int, threshold: float, steps: int) -> None:
    photo = Image.fromarray(image)
    pairs = {
        "autocontrast": (tone.autocontrast(image), ImageOps.autocontrast(photo)),
        "equalize": (tone.equalize(image), ImageOps.equalize(photo)),
        "invert": (tone.invert(image), ImageOps.invert(photo)),
        "posterize": (tone.posterize(image, bits), ImageOps.posterize(photo, bits)),
        "solarize": (tone.solarize(image, threshold), ImageOps.solarize(photo, threshold)),
        "grey": (tone.grey(image), photo.convert("L")),
        "hue": (pillow.shift_hue(image, steps), turned(photo, steps)),
    }
    wrong = [n for n, (ours, wanted) in pairs.items() if not np.array_equal(ours, wanted)]
    assert not wrong


def turned(image: Image.Image, steps: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    moved = Image.fromarray(((np.asarray(hue).astype(int) + steps) % 256).astype(np.uint8))
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def test_every_colour_survives_hue_saturation_value_as_in_pillow() -> None:
    some = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(some, some, some), -1).reshape(len(some), -1, 3)
    assert np.array_equal(pillow.shift_hue(colours, 0), turned(Image.fromarray(colours), 0))


def test_no_bits_are_black() -> None:
    assert not tone.posterize(np.full((2, 2, 3), 255, np.uint8), 0).any()


def test_solarize_add_by_hand() -> None:
    image = np.array([[[0, 100, 127], [128, 200, 255]]], np.uint8)
    assert tone.solarize_add(image, 110).tolist() == [[[110, 210, 237], [128, 200, 255]]]


def test_nothing_but_the_angle_matters_to_a_full_turn() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(pillow.rotate(image, 360.0, "bicubic", FILL), image)
    assert np.array_equal(pillow.rotate(image, 90.0, "bicubic", FILL), np.rot90(image))
    assert math.isclose(pillow.rotate(image, 45.0, "bilinear", FILL)[0, 0, 0], FILL[0])
