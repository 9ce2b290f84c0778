"""Compares the results of two ways to run one network, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinysight.tasks.results import Result


class Comparison(NamedTuple):
    """How far the results for some images lie apart.

    Attributes:
        images: number of images that were compared.
        label_flips: number of images whose decision differs: the class, a word, the number or a label of boxes;
            None of results without one.
        max_score_difference: largest difference of a score; of vectors, as a share of their length.
        mean_score_difference: mean difference of a score.
        max_box_difference: largest difference of a box's corner in x or y; None of results without boxes.
    """

    images: int
    label_flips: int | None
    max_score_difference: float
    mean_score_difference: float = 0.0
    max_box_difference: float | None = None

    @property
    def worst(self) -> float:
        """The largest difference of any kind; NaN where one is NaN."""
        return _worst([self.max_score_difference, self.max_box_difference or 0.0])

    def to_json(self) -> dict[str, Any]:
        """Plain numbers by name; files and JSON say `pictures`, as they did from the first version."""
        row = self._asdict() | {"pictures": self.images, "label_flips": self.label_flips or 0}
        keys = ("pictures", "label_flips", "max_score_difference", "max_box_difference")
        return {key: row[key] for key in keys if row[key] is not None}

    def cell(self) -> str:
        """Short, for a table.

        >>> Comparison(8, 1, 0.00125, max_box_difference=0.5).cell()
        '1 flips, 0.0013, 0.5'
        """
        flips = [] if self.label_flips is None else [f"{self.label_flips} flips"]
        values = [self.max_score_difference, self.max_box_difference]
        return ", ".join([*flips, *(f"{value:.2g}" for value in values if value is not None)])

    def __str__(self) -> str:
        images, flips, score, _, box = self
        if flips is None:
            return f"the vectors of {images} images differ by up to {score:.3g}"
        scores = f"scores differ by up to {score:.3g}"
        if box is None:
            return f"{flips} of {images} labels change, {scores}"
        corners = f"corners by up to {box:.3g} of the image"
        return f"other boxes in {flips} of {images} images, {scores}, {corners}"


def compare(expected: Iterable[Result], found: Iterable[Result]) -> Comparison:
    """Two results for each image, in the same order."""
    differences = (a.difference(b) for a, b in zip(expected, found, strict=True))
    return total([Comparison(1, d.flip, d.score, d.mean, d.box) for d in differences])


def total(parts: Sequence[Comparison]) -> Comparison:
    """All of them together."""
    images = sum(part.images for part in parts)
    flips = [part.label_flips for part in parts if part.label_flips is not None]
    boxes = [part.max_box_difference for part in parts if part.max_box_difference is not None]
    return Comparison(
        images,
        sum(flips) if flips or not parts else None,
        _worst([part.max_score_difference for part in parts]),
        sum(part.images * part.mean_score_difference for part in parts) / max(images, 1),
        _worst(boxes) if boxes else None,
    )


def _worst(differences: Sequence[float]) -> float:
    """By NumPy: `max` lets a second number hide a first that is no number."""
    return float(np.max(differences, initial=0.0))
