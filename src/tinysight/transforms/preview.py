"""A contact sheet: some images, each several times augmented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight.errors import ConfigError, ImageError
from tinysight.files import write_atomic
from tinysight.transforms.base import Image, as_rgb
from tinysight.transforms.compose import Compose
from tinysight.transforms.decode import decode
from tinysight.transforms.geometry import resize_to
from tinysight.transforms.photometric import IMAGENET_MEAN, IMAGENET_STD

_GAP = 4  # px of white between images


def write_contact_sheet(
    out: str | Path,
    sources: Sequence[bytes | str | Path],
    compose: Compose,
    *,
    columns: int = 8,
    seed: int = 0,
    cell: int = 160,
) -> Path:
    """Write the `contact_sheet` as a PNG or JPEG file, by its ending; returns the file.

    Raises:
        ConfigError: another ending.
        ImageError: as `contact_sheet`.
    """
    path = Path(out)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(str(path), "a contact sheet is a .png or a .jpg file")
    sheet = contact_sheet(sources, compose, columns, seed, cell)
    _, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(sheet[:, :, ::-1]))
    write_atomic(path, data.tobytes())
    return path


def contact_sheet(
    sources: Sequence[bytes | str | Path], compose: Compose, columns: int, seed: int, cell: int
) -> Image:
    """One row per image: the image as it is, then `columns` results of `compose`.

    Args:
        sources: files or their bytes.
        compose: a recipe's training transforms. Normalised pixels are shown as what they were.
        columns: results per image, each with a generator of its own.
        seed: the same seed gives the same sheet.
        cell: longer side that images are shown at, px.

    Returns:
        uint8 RGB (H, W, 3) on white.

    Raises:
        ImageError: no images, or one cannot be decoded or transformed.
    """
    if not sources:
        raise ImageError("contact sheet", "no images")
    step = cell + _GAP
    sheet = np.full((_GAP + step * len(sources), _GAP + step * (columns + 1), 3), 255, np.uint8)
    for row, source in enumerate(sources):
        image = decode(source)
        rngs = (np.random.default_rng((seed, row, column)) for column in range(columns))
        augmented = (visible(compose(image, rng), compose.specs) for rng in rngs)
        for column, photo in enumerate((image, *augmented)):
            small = _fit(photo, cell)
            free = sheet[_GAP + step * row :, _GAP + step * column :]
            free[: small.shape[0], : small.shape[1]] = small
    return sheet


def visible(pixels: Image, specs: Sequence[Mapping[str, Any]]) -> Image:
    """Pixels as uint8 RGB, with every `normalize` among `specs` undone, the last one first."""
    if pixels.dtype != np.uint8:
        pixels = pixels[:, :, :3].astype(np.float64)
        for spec in reversed(specs):
            if spec["name"] == "normalize":
                pixels = pixels * np.asarray(spec.get("std", IMAGENET_STD))
                pixels += np.asarray(spec.get("mean", IMAGENET_MEAN))
                pixels /= spec.get("scale", 1 / 255)
    return as_rgb(np.rint(pixels).clip(0, 255).astype(np.uint8))


def _fit(image: Image, cell: int) -> Image:
    scale = cell / max(image.shape[:2])
    width, height = (max(round(n * scale), 1) for n in (image.shape[1], image.shape[0]))
    return resize_to(image, width, height, "area" if scale < 1 else "nearest")
