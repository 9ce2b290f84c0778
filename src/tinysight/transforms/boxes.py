"""Boxes that move with an image's pixels: one geometry for both.

An image is annotated by rows of class id, x, y, width, height, area, crowd (0 or 1), (B, 7) float64, in pixels. On
their way through transforms they are rows of class id, x1, y1, x2, y2, (B, 5) float32; a transform that moves pixels
and knows where to has `with_boxes(image, boxes, rng)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinysight.errors import ConfigError
from tinysight.transforms.base import Image, drawn_from

if TYPE_CHECKING:
    from numpy.random import Generator

    from tinysight.transforms.compose import Compose

COLUMNS = 7
_LEAST = 1e-2  # side in pixels below which nothing of a box is left


def framed(rows: np.ndarray, image: Image) -> np.ndarray:
    """Rows (B, 7) behind one for the whole image, of class id -1."""
    height, width = image.shape[:2]
    return np.concatenate([[[-1, 0, 0, width, height, width * height, 0]], rows])


def padded(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (B_i, 5) of N images as one array (N, G, 5) float32; class id -1 where an image has fewer."""
    found = np.full((len(labels), max(map(len, labels), default=0), 5), -1, np.float32)
    for place, rows in zip(found, labels, strict=True):
        place[: len(rows)] = rows
    return found


def boxes_in(
    boxes: np.ndarray, corner: tuple[int, int], shape: Sequence[int],
    scaled_from: Sequence[int] | None = None,
) -> np.ndarray:  # fmt: skip
    """Boxes (B, 5) in another window of their image, cut to it; what is left of one may be nothing.

    Args:
        boxes: in pixels of the image.
        corner: x and y of the window's corner in the image.
        shape: height and width of the window.
        scaled_from: height and width that become `shape`, where the window is resized.
    """
    moved: np.ndarray = boxes.copy()
    moved[:, 1:] -= np.array([*corner] * 2, np.float32)
    if scaled_from is not None:
        factors = np.array(shape[:2], np.float32) / np.array(scaled_from[:2], np.float32)
        moved[:, 1:] *= factors[[1, 0, 1, 0]]
    ends = np.array([shape[1], shape[0]] * 2, np.float32)
    moved[:, 1:] = moved[:, 1:].clip(0, ends)
    return moved


def with_boxes(
    transforms: Compose, image: Image, rows: np.ndarray, rng: Generator, shared: Any = None
) -> tuple[Image, np.ndarray]:
    """An image and its boxes through every step; crowds, and boxes that nothing is left of, are left out.

    Args:
        transforms: the steps.
        image: decoded.
        rows: (B, 7).
        rng: of the image.
        shared: seed of the steps whose draws the images of a batch have in common.

    Returns:
        The input, and rows (G, 5) in its pixels.

    Raises:
        ConfigError: a step moves what an image shows, but not its boxes.
    """
    kept = rows[rows[:, 6] == 0]
    low, sides = kept[:, 1:3], kept[:, 3:5]
    boxes = np.column_stack([kept[:, 0], low, low + sides]).astype(np.float32)
    for i, step in enumerate(transforms.steps):
        move: Any = getattr(step, "with_boxes", None)
        draws = drawn_from(step, rng, shared)
        if move is not None:
            image, boxes = move(image, boxes, draws)
        elif getattr(step, "keeps_places", False):
            image = step(image, draws)
        else:
            where = f"{transforms.where}.{i}" if transforms.where else str(i)
            what = f"{transforms.specs[i]['name']} moves what an image shows, but not its boxes"
            hint = "resize, random_flip, random_box_crop and random_size do"
            raise ConfigError(where, what, hint)
    left = (boxes[:, 3:] - boxes[:, 1:3]).min(axis=1, initial=np.inf) > _LEAST
    return image, boxes[left]
