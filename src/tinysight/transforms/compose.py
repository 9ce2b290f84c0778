"""A list of transforms as one, built from its specs, and batches for a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import cv2
import numpy as np

from tinysight.errors import ConfigError, ImageError, Problem, TinysightError
from tinysight.registry import transforms
from tinysight.transforms.base import Image, Label, Transform
from tinysight.validation import join

if TYPE_CHECKING:
    from numpy.random import Generator

_PROBES = ((1536, 2048), (2112, 1536))  # two proportions; larger than any network's input


class Compose:
    """Transforms, one after the other; what a recipe's and a bundle's list of them becomes.

    `compose(image, rng)` gives the image, `compose.with_label(image, label, rng)` both. Pixels stay
    (H, W, C); `to_batch` moves the channels. `rng` may be left out where nothing is random.
    """

    def __init__(
        self, specs: Sequence[Mapping[str, Any]], steps: Sequence[Transform], where: str = ""
    ) -> None:
        self._specs = [dict(spec) for spec in specs]
        self._steps = tuple(steps)
        self._where = where

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

    @property
    def specs(self) -> list[dict[str, Any]]:
        """The specs that it was built from; a copy."""
        return copy.deepcopy(self._specs)

    @property
    def random(self) -> bool:
        """Whether any step draws random numbers."""
        return any(getattr(step, "random", False) for step in self._steps)

    @property
    def sets_label(self) -> bool:
        """Whether any step sets the label."""
        return any(getattr(step, "sets_label", False) for step in self._steps)

    def split_last(self) -> tuple[Compose, Transform | None]:
        """All steps but the last as a pipeline of their own, and the last; None if there is none."""
        before = Compose(self._specs[:-1], self._steps[:-1], self._where)
        return before, self._steps[-1] if self._steps else None

    def __len__(self) -> int:
        return len(self._steps)

    def __call__(self, image: Image, rng: Generator | None = None) -> Image:
        """`image` (H, W, C) through every step; labels that steps set are dropped.

        Raises:
            ImageError: a step cannot take this image; says which step and what it was given.
        """
        return self.with_label(image, 0, rng)[0]

    def with_label(
        self, image: Image, label: Label, rng: Generator | None = None
    ) -> tuple[Image, Label]:
        """As a call, and the label that the last labelling step sets, `label` if none does."""
        for index, step in enumerate(self._steps):
            try:
                if getattr(step, "sets_label", False):
                    image, label = step(image, rng)
                else:
                    image = step(image, rng)
            except (TinysightError, cv2.error, ValueError) as error:
                self._fail(index, image, error)
        return image, label

    def output_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image that comes out, found by sending grey ones through.

        Raises:
            ConfigError: it depends on the image that goes in, so a network's input could not be
                exported.
        """
        rng = np.random.default_rng(0) if self.random else None
        shapes = {self(np.full((*size, 3), 127, np.uint8), rng).shape for size in _PROBES}
        shape = shapes.pop()
        if shapes or len(shape) != 3:
            raise ConfigError(
                self._where or "transforms",
                "images of different proportions come out at different sizes",
                "end with a crop, or resize to a size",
            )
        return shape[0], shape[1], shape[2]

    def _fail(self, index: int, image: Image, error: Exception) -> NoReturn:
        place = f"{join(self._where, index)} ({self._specs[index]['name']})"
        given = f"given {' x '.join(map(str, image.shape))} {image.dtype}"
        if isinstance(error, TinysightError):
            what, hint = error.problems[0].what, error.problems[0].hint
        else:
            what, hint = (error.err if isinstance(error, cv2.error) else str(error)), ""
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
            raise ImageError(
                f"batch[{index}]",
                f"{image.shape} {image.dtype} beside {first.shape} {first.dtype}",
                "end the transforms with a crop, or resize to a size",
            )
    height, width, channels = first.shape
    batch = np.empty((len(images), channels, height, width), first.dtype)
    for row, image in zip(batch, images, strict=True):
        row[:] = image.transpose(2, 0, 1)
    return batch
