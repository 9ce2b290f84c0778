"""From a file's bytes to a network's input, by the shortest way that gives the same numbers.

`Compose` normalises to (H, W, C) float32 and `to_batch` turns that into (C, H, W). Here the last
step writes each channel of the cropped image through its table of 256 values straight into the
input's plane: the same table, so the same bits, in less time. An engine that is faster with pixels
gets these instead and normalises them itself (`benchmarks/fast_path.py --parts`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from tinysight.transforms.base import Image, width_height
from tinysight.transforms.compose import Compose, to_batch
from tinysight.transforms.decode import decode
from tinysight.transforms.photometric import Normalize, channel_tables

_PIXELS = ("resize", "center_crop")  # transforms after which uint8 RGB is still that


class Prepare:
    """Makes one row of a network's batch of one image.

    Args:
        compose: the bundle's transforms; none of them random.
        enough: (width, height) from which on a JPEG may be decoded reduced; None: always whole.
    """

    def __init__(self, compose: Compose, enough: tuple[int, int] | None = None) -> None:
        self._compose = compose
        self._enough = enough
        self._before, self._last = compose.split_last()
        self._pixels = False

    @property
    def normalization(self) -> Normalize | None:
        """The last step, if all before it leave pixels: what `keep_pixels` leaves to others."""
        pixels = all(spec["name"] in _PIXELS for spec in self._before.specs)
        return self._last if pixels and isinstance(self._last, Normalize) else None

    def keep_pixels(self) -> None:
        """From now on leave `normalization` out: a call gives uint8 (1, h, w, 3)."""
        self._pixels = True

    def decode(self, source: bytes | str | os.PathLike[str]) -> Image:
        """uint8 RGB (H, W, 3); see the function `decode` for what it raises."""
        return decode(source, enough=self._enough)

    def __call__(self, image: Image) -> Image:
        """uint8 RGB (H, W, 3) to (1, C, h, w), or pixels (1, h, w, 3); C-contiguous.

        Raises:
            ImageError: a transform cannot take this image.
        """
        if self._pixels:
            return np.ascontiguousarray(self._before(image))[None]
        if not isinstance(self._last, Normalize):
            return to_batch([self._compose(image)])
        cut = self._before(image)
        if cut.dtype != np.uint8 or cut.ndim != 3 or cut.shape[2] != 3:
            return to_batch([self._compose(image)])
        last = self._last
        row = np.empty((1, 3, *cut.shape[:2]), np.float32)
        tables = channel_tables(last.mean, last.std, last.scale)
        for plane, channel, table in zip(row[0], cv2.split(cut), tables, strict=True):
            cv2.LUT(channel, table, dst=plane)
        return row


def enough(specs: Sequence[Mapping[str, Any]], margin: float = 1) -> tuple[int, int] | None:
    """(width, height) that an image needs for these transforms, times `margin`.

    None where the first of them is no resize, so that reduced decoding would change the answer
    entirely.
    """
    first = specs[0] if specs else {}
    if first.get("name") != "resize":
        return None
    size = first.get("short") or first.get("size")
    width, height = width_height(size if isinstance(size, int) else tuple(size or ()))
    return math.ceil(width * margin), math.ceil(height * margin)
