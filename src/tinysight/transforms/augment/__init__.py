"""The random transforms, for training; imported when a name is looked up that prediction lacks."""

from tinysight.transforms.augment import (
    auto_augment,
    blur,
    classic,
    colour,
    erasing,
    geometry,
    photometric,
    turning,
)

__all__ = [
    "auto_augment",
    "blur",
    "classic",
    "colour",
    "erasing",
    "geometry",
    "photometric",
    "turning",
]
