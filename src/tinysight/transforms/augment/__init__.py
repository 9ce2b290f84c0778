"""The random transforms, for training; imported when a name is looked up that prediction lacks."""

from tinysight.transforms.augment import (
    auto_augment,
    blur,
    erasing,
    geometry,
    photometric,
    rotation,
)

__all__ = ["auto_augment", "blur", "erasing", "geometry", "photometric", "rotation"]
