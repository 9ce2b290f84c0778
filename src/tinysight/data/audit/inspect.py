"""Inspects each image file once: whether it can be read, its size, its bytes, a thumbnail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from tinysight.concurrency import ordered_map
from tinysight.errors import ImageError
from tinysight.transforms.base import MAX_PIXELS
from tinysight.transforms.decode import DENOMINATORS, read_file, turn_upright
from tinysight.transforms.header import HeaderError, ImageHeader, read_header

Progress: TypeAlias = "Callable[[int], None] | None"  # called with the number that is done
THUMB = 64  # pixels, both sides, whatever the proportions
_AHEAD = 64  # results that may wait for the ones before them


class ImageInfo(NamedTuple):
    """What an image file holds.

    Attributes:
        problem: reason why it cannot be read; empty if it can.
        missing: True where there is no such file.
        width: width of the upright image, pixels.
        height: height of the upright image, pixels.
        digest: BLAKE2 hash of the file, 16 bytes.
        thumb: grey levels, (64, 64) uint8, upright and stretched to a square; None with a problem.
    """

    problem: str = ""
    missing: bool = False
    width: int = 0
    height: int = 0
    digest: bytes = b""
    thumb: np.ndarray | None = None


def inspect(path: Path, side: int = THUMB) -> ImageInfo:
    """Read one image; a large JPEG is decoded at 1/2, 1/4 or 1/8 size.

    Args:
        path: image file.
        side: side of the thumbnail, pixels.
    """
    try:
        data = read_file(path)
    except ImageError as error:
        return ImageInfo(error.problems[0].what, missing=not path.exists())
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        header = read_header(data)
    except HeaderError as error:
        return ImageInfo(str(error), digest=digest)
    pixels = header.width * header.height
    if pixels > MAX_PIXELS:
        return ImageInfo(f"{pixels} pixels are more than the limit of {MAX_PIXELS}", digest=digest)
    if (grey := _grey(header, side)) is None:
        return ImageInfo(f"the {header.format} is damaged", digest=digest)
    grey = turn_upright(grey, header.orientation)
    width, height = (header.width, header.height)[:: -1 if header.orientation >= 5 else 1]
    thumb = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return ImageInfo("", False, width, height, digest, thumb)


def inspect_all(
    paths: Sequence[Path], threads: int, progress: Progress = None, *, thumbs: bool = True
) -> Iterator[ImageInfo]:
    """`inspect` of each file, in order.

    Args:
        paths: image files.
        threads: number of threads, >= 1.
        progress: called with the number of files that are done.
        thumbs: False leaves the thumbnails out, which take 4 KB each.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each thread works alone
    try:
        for done, info in enumerate(ordered_map(inspect, paths, threads, _AHEAD), 1):
            yield info if thumbs else info._replace(thumb=None)
            if progress:
                progress(done)
    finally:
        cv2.setNumThreads(before)


def _grey(header: ImageHeader, side: int) -> np.ndarray | None:
    """Grey levels as stored, perhaps reduced; None if the pixels are damaged."""
    shorter = min(header.width, header.height) if header.format == "JPEG" else 0
    by = next((by for by in DENOMINATORS if shorter >= 2 * side * by), 1)
    flag = getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{by}") if by > 1 else cv2.IMREAD_GRAYSCALE
    try:
        data = np.frombuffer(header.data, np.uint8)
        grey = cv2.imdecode(data, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    wanted = -(-header.height // by), -(-header.width // by)
    return grey if grey is not None and grey.shape == wanted else None
