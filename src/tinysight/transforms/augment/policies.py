"""What augmentation policies are made of: operations, how strong they are at a level, and published pairs of them.

An operation takes one number: degrees, a share of the image, a factor, a threshold, bits. How a policy's level becomes
that number is a `Level`; the published policies disagree about it, so each family has a table of its own.

Sources: `original` is the ImageNet policy of AutoAugment (arXiv 1805.09501), `v0` the one of the EfficientNet code for
TPUs; the names ending in r read posterize as growing stronger with its level.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tinysight.transforms.augment import pillow, tone
from tinysight.transforms.augment.pillow import Colour, Filter
from tinysight.transforms.base import Image

Operation = Callable[[Image, float, Filter, Colour], Image]

STRONGEST = 10.0  # levels go from 0 to this
FACTORS = ("color", "contrast", "brightness", "sharpness")
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def _fixed(change: Callable[[Image], Image]) -> Operation:
    return lambda image, _value, _filter, _fill: change(image)


def _by(change: Callable[[Image, float], Image]) -> Operation:
    return lambda image, value, _filter, _fill: change(image, value)


OPERATIONS: dict[str, Operation] = {
    **{n: _fixed(getattr(tone, n)) for n in ("autocontrast", "equalize", "invert")},
    **{n: _by(getattr(tone, n)) for n in (*FACTORS, "solarize")},
    **{n: getattr(pillow, n) for n in MOVES},
    "posterize": _by(lambda image, bits: tone.posterize(image, min(int(bits), 8))),
    "solarize_add": _by(lambda image, add: tone.solarize_add(image, int(add))),
}


class Level(NamedTuple):
    """How strong an operation is at a level: `centre` plus or minus `value(level)`."""

    operation: str
    value: Callable[[float], float]
    signed: bool = False  # minus in half of the cases
    centre: float = 0.0


def _scaled(
    *operations: str, most: float = 0.0, least: float = 0.0, centre: float | None = None
) -> dict[str, Level]:
    """From `least` up in proportion to the level; with a `centre`, either way from there."""
    signed, middle = centre is not None, centre or 0.0
    return {o: Level(o, lambda v: v / STRONGEST * most + least, signed, middle) for o in operations}


def _whole(operation: str, most: int, start: int = 0) -> Level:
    """From `start` in whole steps to `most` more, or less where that is negative."""
    return Level(operation, lambda level: start + int(level / STRONGEST * most))


# EfficientNet's tables, as timm has them. Some operations grow weaker with the level here.
FALLING: dict[str, Level] = {
    **_scaled("autocontrast", "equalize", "invert"),
    **_scaled("rotate", most=30.0, centre=0.0),
    **_scaled("shear_x", "shear_y", most=0.3, centre=0.0),
    **_scaled("translate_x", "translate_y", most=0.45, centre=0.0),
    **_scaled(*FACTORS, most=1.8, least=0.1),
    "posterize": _whole("posterize", 4),
    "posterize_4_to_8": _whole("posterize", 4, 4),
    "solarize": _whole("solarize", 256),
    "solarize_add": _whole("solarize_add", 110),
}
# The same, with every operation growing stronger.
RISING: dict[str, Level] = {
    **FALLING,
    **_scaled(*FACTORS, most=0.9, centre=1.0),
    "posterize": _whole("posterize", -4, 4),
    "solarize": _whole("solarize", -256, 256),
}


class Step(NamedTuple):
    """One operation of a policy."""

    name: str
    p: float
    level: int


def _pairs(text: str) -> tuple[tuple[Step, ...], ...]:
    """Pairs of steps from `name p level, name p level`, divided by semicolons or line breaks."""
    pairs = ([step.split() for step in p.split(",")] for p in re.split(r"[;\n]", text.strip()))
    return tuple(tuple(Step(n, float(p), int(level)) for n, p, level in pair) for pair in pairs)


_TEXTS = Path(__file__).with_name("policies.txt").read_text("ascii").split("---")
POLICIES: dict[str, tuple[tuple[Step, ...], ...]] = {}
for _name, _text in zip(("original", "v0"), _TEXTS, strict=True):
    POLICIES[_name] = _pairs(_text)
    POLICIES[f"{_name}r"] = _pairs(re.sub(r"posterize\w*", "posterize_rising", _text))
ORIGINAL = POLICIES["original"]
