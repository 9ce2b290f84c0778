"""A list of transforms as one, built from its specs, and the path from a file to a network's input.

`Compose` normalises to (H, W, C) float32 and `to_batch` turns that into (N, C, H, W). `InputPipeline` gives the same
bits in less time: its last step writes each channel of the cropped image through a table of 256 values straight into
the input's plane. An engine that is faster with pixels gets these instead and normalises them itself
(`benchmarks/fast_path.py --parts`).
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import cv2
import numpy as np

from tinysight.errors import ConfigError, ImageError, Problem, join
from tinysight.registry import transforms
from tinysight.transforms.base import (
    Image,
    Label,
    Transform,
    drawn_from,
    is_random,
    sets_label,
    width_height,
)  # fmt: skip
from tinysight.transforms.decode import decode
from tinysight.transforms.photometric import Normalize, channel_tables

if TYPE_CHECKING:
    from numpy.random import Generator

_CROP = "end with a crop, or resize to a size"
_CROPS = ("random_resized_crop", "random_crop")  # whose size may be another for each batch
_PIXELS = ("resize", "center_crop")  # transforms after which uint8 RGB is still that
_PROBES = ((1536, 2048), (2112, 1536))  # two proportions; larger than any network's input


class Compose:
    """Transforms, one after the other; what a recipe's and a bundle's list of them becomes.

    `compose(image, rng)` gives the image, `compose.with_label(image, label, rng)` both. Pixels stay
    (H, W, C); `to_batch` moves the channels. `rng` may be left out where nothing is random.

    Attributes:
        steps: the transforms, in order.
        where: place of the list in a recipe or bundle, for messages.
    """

    def __init__(
        self, specs: Sequence[Mapping[str, Any]], steps: Sequence[Transform], where: str = ""
    ) -> None:
        self._specs = [dict(spec) for spec in specs]
        self.steps = tuple(steps)
        self.where = where

    @classmethod
    def from_specs(cls, specs: Sequence[Mapping[str, Any]], where: str = "") -> Compose:
        """Build each `{name: ..., key: value}`; `where` is the list's place, for messages.

        Raises:
            ConfigError: a spec is not a mapping, names nothing registered, or has values that do
                not go together; one error for all of them.
        """
        steps: list[Transform] = []
        problems: list[Problem] = []
        for index, spec in enumerate(specs):
            place = join(where, index)
            if not isinstance(spec, Mapping):
                problems.append(Problem(place, "expected a transform: a mapping with a name"))
                continue
            try:
                steps.append(transforms.build(spec, place))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError.of(where or "transforms", problems)
        return cls(specs, steps, where)

    def with_size(self, size: tuple[int, int]) -> Compose:
        """The same with random crops to `size`, (width, height) in pixels, in place of their own.

        Raises:
            ConfigError: there is no random crop.
        """
        sized = [{**s, "size": [*size]} if s["name"] in _CROPS else s for s in self._specs]
        if not any(s["name"] in _CROPS for s in sized):
            what = "no random crop, which images of several sizes need"
            raise ConfigError(self.where or "transforms", what, f"one of {', '.join(_CROPS)}")
        return Compose.from_specs(sized, self.where)

    @property
    def specs(self) -> list[dict[str, Any]]:
        """The specs that it was built from; a copy."""
        return copy.deepcopy(self._specs)

    @property
    def random(self) -> bool:
        """Whether any step draws random numbers."""
        return any(is_random(step) for step in self.steps)

    @property
    def sets_label(self) -> bool:
        """Whether any step sets the label."""
        return any(sets_label(step) for step in self.steps)

    @property
    def per_batch(self) -> bool:
        """Whether all images of a batch draw something alike."""
        return any(getattr(step, "per_batch", False) for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """`image` (H, W, C) through every step; labels that steps set are dropped.

        Raises:
            ImageError: a step cannot take this image; says which step and what it was given.
        """
        return self.with_label(image, 0, rng)[0]

    def with_label(
        self, image: Image, label: Label, rng: Generator | None = None,
        shared: Sequence[int] | None = None,
    ) -> tuple[Image, Label]:  # fmt: skip
        """As a call, and the label that the last labelling step sets, `label` if none does.

        `shared` seeds the steps whose draws the images of a batch have in common.
        """
        for index, step in enumerate(self.steps):
            try:
                result = step(image, drawn_from(step, rng, shared))
            except (ImageError, cv2.error, ValueError) as error:
                self._fail(index, image, error)
            image, label = result if sets_label(step) else (result, label)
        return image, label

    def output_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image that comes out, found by sending grey ones through.

        Raises:
            ConfigError: it depends on the image that goes in, so a network's input could not be
                exported.
        """
        grey = [np.full((*size, 3), 127, np.uint8) for size in _PROBES]
        shapes = {self(image, np.random.default_rng(0)).shape for image in grey}
        shape = shapes.pop()
        if shapes or len(shape) != 3:
            what = "images of different proportions come out at different sizes"
            raise ConfigError(self.where or "transforms", what, _CROP)
        return shape[0], shape[1], shape[2]

    def _fail(self, index: int, image: Image, error: Exception) -> NoReturn:
        place = f"{join(self.where, index)} ({self._specs[index]['name']})"
        given = f"given {' x '.join(map(str, image.shape))} {image.dtype}"
        what, hint = error.err if isinstance(error, cv2.error) else str(error), ""
        if isinstance(error, ImageError):
            _, what, hint = error.problems[0]
        raise ImageError(place, f"{what} ({given}, height first)", hint) from error


def to_batch(images: Sequence[Image]) -> Image:
    """Images (H, W, C) of one shape and dtype as one array (N, C, H, W), C-contiguous, dtype kept.

    Raises:
        ImageError: no images, or they differ in shape or dtype.
    """
    if not images:
        raise ImageError("batch", "no images")
    first = images[0]
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape != first.shape or image.dtype != first.dtype:
            what = f"{image.shape} {image.dtype} beside {first.shape} {first.dtype}"
            raise ImageError(f"batch[{index}]", what, _CROP)
    height, width, channels = first.shape
    batch = np.empty((len(images), channels, height, width), first.dtype)
    for row, image in zip(batch, images, strict=True):
        row[:] = image.transpose(2, 0, 1)
    return batch


class InputPipeline:
    """Makes one row of a network's batch of one image.

    Args:
        compose: transforms of a bundle, none of them random.
        min_size: (width, height), pixels, from which on a JPEG may be decoded reduced; None: always whole.
        take_pixels: asks the engine whether it takes pixels and does this normalization itself; None: it does not.
    """

    def __init__(
        self,
        compose: Compose,
        min_size: tuple[int, int] | None = None,
        take_pixels: Callable[[Normalize], bool] | None = None,
    ) -> None:
        self._compose, self._min_size = compose, min_size
        specs, steps = compose.specs, compose.steps
        last = steps[-1] if steps and isinstance(steps[-1], Normalize) else None
        if last and not {len(last.mean), len(last.std)} <= {1, 3}:
            last = None  # the slower way says what is wrong
        self._last = last
        self._before = Compose(specs[:-1], steps[:-1], compose.where)
        only_pixels = all(spec["name"] in _PIXELS for spec in specs[:-1])
        self.gives_pixels = bool(last and only_pixels and take_pixels and take_pixels(last))

    def decode(self, source: bytes | str | os.PathLike[str]) -> Image:
        """uint8 RGB (H, W, 3); see the function `decode` for what it raises."""
        return decode(source, min_size=self._min_size)

    def __call__(self, image: Image) -> Image:
        """uint8 RGB (H, W, 3) to (1, C, h, w), or pixels (1, h, w, 3) where `gives_pixels`; C-contiguous.

        Raises:
            ImageError: a transform cannot take this image.
        """
        if self._last is None:
            return to_batch([self._compose(image)])
        cut = self._before(image)
        if self.gives_pixels:
            return np.ascontiguousarray(cut)[None]
        if cut.dtype != np.uint8 or cut.ndim != 3 or cut.shape[2] != 3:
            return to_batch([self._compose(image)])
        row = np.empty((1, 3, *cut.shape[:2]), np.float32)
        tables = channel_tables(self._last.mean, self._last.std, self._last.scale)
        for plane, channel, table in zip(row[0], cv2.split(cut), tables, strict=True):
            cv2.LUT(channel, table, dst=plane)
        return row


def min_decode_size(
    specs: Sequence[Mapping[str, Any]], margin: float = 1
) -> tuple[int, int] | None:
    """(width, height), pixels, that an image needs for these transforms, times `margin`.

    None where the first of them is no resize, so that reduced decoding would change the result entirely.
    """
    first = specs[0] if specs else {}
    if first.get("name") != "resize":
        return None
    size = first.get("short") or first.get("size")
    width, height = width_height(size if isinstance(size, int) else tuple(size or ()))
    return math.ceil(width * margin), math.ceil(height * margin)
