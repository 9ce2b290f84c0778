"""The operations that augmentation policies are made of, by name and strength.

An operation takes one number: degrees, a share of the image, a factor, a threshold, bits. How a
policy's level becomes that number is a `Level`; the published policies disagree about it, so each
family has a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms import affine, tone
from tinysight.transforms.affine import Filter
from tinysight.transforms.base import Image

if TYPE_CHECKING:
    from numpy.random import Generator

Colour = tuple[int, int, int]
Operation = Callable[[Image, float, Filter, Colour], Image]

MEAN_COLOUR: Colour = (124, 116, 104)  # ImageNet's mean
MID_GREY: Colour = (128, 128, 128)
STRONGEST = 10.0  # levels go from 0 to this


def _tone(change: Callable[[Image], Image]) -> Operation:
    return lambda image, _value, _filter, _fill: change(image)


def _factor(change: Callable[[Image, float], Image]) -> Operation:
    return lambda image, value, _filter, _fill: change(image, value)


OPERATIONS: dict[str, Operation] = {
    "autocontrast": _tone(tone.autocontrast),
    "brightness": _factor(tone.brightness),
    "color": _factor(tone.color),
    "contrast": _factor(tone.contrast),
    "equalize": _tone(tone.equalize),
    "invert": _tone(tone.invert),
    "posterize": _factor(lambda image, bits: tone.posterize(image, min(int(bits), 8))),
    "rotate": affine.rotate,
    "sharpness": _factor(tone.sharpness),
    "shear_x": affine.shear_x,
    "shear_y": affine.shear_y,
    "solarize": _factor(tone.solarize),
    "solarize_add": _factor(lambda image, add: tone.solarize_add(image, int(add))),
    "translate_x": lambda image, share, filter_, fill: affine.shift_x(
        image, share * image.shape[1], filter_, fill
    ),
    "translate_y": lambda image, share, filter_, fill: affine.shift_y(
        image, share * image.shape[0], filter_, fill
    ),
}


MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


class Level(NamedTuple):
    """How strong an operation is at a level: `centre` plus or minus `value(level)`."""

    operation: str
    value: Callable[[float], float]
    signed: bool = False  # minus in half of the cases
    centre: float = 0.0


def _share(level: float) -> float:
    return level / STRONGEST


def _always(operation: str) -> Level:
    return Level(operation, lambda _: 0.0)


def _factor_level(operation: str) -> Level:
    return Level(operation, lambda level: _share(level) * 1.8 + 0.1)


def _rising_factor(operation: str) -> Level:
    return Level(operation, lambda level: _share(level) * 0.9, True, 1.0)


_GEOMETRY = {
    "rotate": Level("rotate", lambda level: _share(level) * 30.0, True),
    "shear_x": Level("shear_x", lambda level: _share(level) * 0.3, True),
    "shear_y": Level("shear_y", lambda level: _share(level) * 0.3, True),
    "translate_x": Level("translate_x", lambda level: _share(level) * 0.45, True),
    "translate_y": Level("translate_y", lambda level: _share(level) * 0.45, True),
}
_FIXED = {name: _always(name) for name in ("autocontrast", "equalize", "invert")}
_FACTORS = ("color", "contrast", "brightness", "sharpness")

# EfficientNet's tables, as timm has them. Some operations grow weaker with the level here.
FALLING: dict[str, Level] = {
    **_FIXED,
    **_GEOMETRY,
    **{name: _factor_level(name) for name in _FACTORS},
    "posterize": Level("posterize", lambda level: int(_share(level) * 4)),
    "posterize_4_to_8": Level("posterize", lambda level: int(_share(level) * 4) + 4),
    "solarize": Level("solarize", lambda level: int(_share(level) * 256)),
    "solarize_add": Level("solarize_add", lambda level: int(_share(level) * 110)),
}
# The same, with every operation growing stronger.
RISING: dict[str, Level] = {
    **FALLING,
    **{name: _rising_factor(name) for name in _FACTORS},
    "posterize": Level("posterize", lambda level: 4 - int(_share(level) * 4)),
    "solarize": Level("solarize", lambda level: 256 - int(_share(level) * 256)),
}


def draw_value(level: Level, strength: float, rng: Generator) -> float:
    """The operation's number at a strength from 0 to 10; draws the sign."""
    value = level.value(strength)
    if level.signed and rng.random() > 0.5:
        value = -value
    return level.centre + value


def check_colour(fill: tuple[int, ...]) -> Colour:
    """`fill`, if it is a colour.

    Raises:
        ValueError: not three numbers from 0 to 255.
    """
    if len(fill) != 3 or not all(0 <= v <= 255 for v in fill):
        raise ValueError(f"fill should be three numbers from 0 to 255, got {list(fill)}")
    return fill[0], fill[1], fill[2]


def as_rgb(image: Image, what: str) -> Image:
    """`image` as uint8 (H, W, 3); grey ones get three equal channels.

    Raises:
        ImageError: not uint8, or not 1 or 3 channels.
    """
    if image.dtype != np.uint8:
        raise ImageError(
            "", f"{what} needs uint8 pixels, got {image.dtype}", "put it before normalize"
        )
    if image.ndim == 3 and image.shape[2] == 3:
        return np.ascontiguousarray(image)
    if image.ndim == 3 and image.shape[2] != 1:
        raise ImageError("", f"{what} needs 1 or 3 channels, got {image.shape[2]}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB))


def like(result: Image, image: Image) -> Image:
    """`result` (H, W, 3) with the axes and channels of the `image` that `as_rgb` was given."""
    if image.ndim == 2:
        return result[:, :, 0]
    return result if image.shape[2] == 3 else result[:, :, :1]
