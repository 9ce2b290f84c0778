"""The random transforms, for training; imported when a name is looked up that prediction lacks."""

from tinysight.transforms.augment import blur, geometry, photometric

__all__ = ["blur", "geometry", "photometric"]
