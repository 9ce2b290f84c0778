"""From a line of a list to a network input: the one place where a labelled image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinysight.data.lists import Sample
from tinysight.errors import ImageError
from tinysight.transforms import Compose, decode
from tinysight.transforms.base import Label

if TYPE_CHECKING:
    import numpy as np


def read_sample(
    sample: Sample, transforms: Compose, rng: np.random.Generator | None
) -> tuple[np.ndarray, Label]:
    """Decode and transform one image.

    Returns:
        The input (H, W, C) and its label, which a transform may have set.

    Raises:
        ImageError: the file is missing, not an image, or not one that the transforms can take.
    """
    try:
        image = decode(sample.path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(str(sample.path), str(error)) from None
    try:
        result, label = transforms.with_label(image, sample.label, rng)
    except ImageError as error:
        where, what, hint = error.problems[0]
        raise ImageError(str(sample.path), f"{where}: {what}", hint) from None
    return result, label
