"""Padding: more image around the image. Deterministic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.registry import transforms
from tinysight.transforms.base import Image, same_axes, shape_text, width_height

if TYPE_CHECKING:
    from annotated_types import Ge, MinLen
    from numpy.random import Generator

_MODES = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


@transforms.register("pad")
@dataclass(frozen=True)
class Pad:
    """Add a border: by so many pixels, up to a size, or up to a multiple. Give one of the three.

    PaddleClas' Pad is `border`; its Padv2 is `size` or `multiple` after `cast` to
    float32, which its default fill of 127.5 needs.

    Args:
        border: pixels on every side; [left and right, top and bottom]; or [left, top, right,
            bottom].
        size: of the result, a side or [width, height]; a larger image is an error.
        multiple: width and height become the next multiple of this.
        at: where the image goes with `size` and `multiple`: "start" (top left), "center", "end"
            (bottom right), or [x, y] of its corner. An odd remainder is larger right and below.
        fill: one number or one per channel, in the unit of the pixels; for mode "constant".
        mode: "constant", "edge" (repeats the outermost pixel), "reflect" (mirrors without
            repeating it), "symmetric" (repeating it).
    """

    random: ClassVar[bool] = False
    sets_label: ClassVar[bool] = False

    border: Annotated[int, Ge(0)] | tuple[Annotated[int, Ge(0)], ...] | None = None
    size: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] | None = None
    multiple: Annotated[int, Ge(1)] | None = None
    at: Literal["start", "center", "end"] | tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]] = (
        "start"
    )
    fill: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)
    mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def __post_init__(self) -> None:
        if sum(v is not None for v in (self.border, self.size, self.multiple)) != 1:
            raise ValueError("give one of border, size and multiple")
        if isinstance(self.border, tuple) and len(self.border) not in (1, 2, 4):
            raise ValueError("border should be 1, 2 or 4 numbers")
        if self.size is not None:
            width_height(self.size)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """Image (H, W, C) to (h, w, C), dtype kept."""
        left, top, right, bottom = self.sides(image)
        channels = image.shape[2] if image.ndim == 3 else 1
        if len(self.fill) not in (1, channels):
            raise ImageError("", f"{channels} channels, but fill has {len(self.fill)}")
        fill = np.broadcast_to(np.asarray(self.fill, np.float64), channels)
        if image.dtype == np.uint8 and np.any(fill != fill.astype(np.uint8)):
            raise ImageError(
                "", f"fill {list(self.fill)} does not fit uint8 pixels", "put a cast before"
            )
        if self.mode in ("reflect", "symmetric"):
            limit = [n - (self.mode == "reflect") for n in image.shape[:2]]
            if max(top, bottom) > limit[0] or max(left, right) > limit[1]:
                raise ImageError("", f"an image of {shape_text(image)} has too little to mirror")
        if self.mode == "constant":
            result = np.empty(
                (image.shape[0] + top + bottom, image.shape[1] + left + right, *image.shape[2:]),
                image.dtype,
            )
            result[:] = fill if image.ndim == 3 else fill[0]
            result[top : top + image.shape[0], left : left + image.shape[1]] = image
            return result
        grown = cv2.copyMakeBorder(image, top, bottom, left, right, _MODES[self.mode])
        return same_axes(grown, image)

    def sides(self, image: Image) -> tuple[int, int, int, int]:
        """Pixels added left, top, right and below."""
        if self.border is not None:
            given = (self.border,) if isinstance(self.border, int) else self.border
            left, top, right, bottom = (given * 4)[:4]
            return left, top, right, bottom
        height, width = image.shape[:2]
        if self.size is not None:
            wide, tall = width_height(self.size)
        else:
            step = self.multiple or 1
            wide, tall = -(-width // step) * step, -(-height // step) * step
        spare = wide - width, tall - height
        if isinstance(self.at, tuple):
            x, y = self.at
        else:
            x, y = ({"start": 0, "center": n // 2, "end": n}[self.at] for n in spare)
        if not (0 <= x <= spare[0] and 0 <= y <= spare[1]):
            raise ImageError(
                "", f"an image of {shape_text(image)} does not fit into {wide} x {tall} there"
            )
        return x, y, spare[0] - x, spare[1] - y
