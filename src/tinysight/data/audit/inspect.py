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
from tinysight.transforms.decode import (
    DENOMINATORS,
    by_opencv,
    decode_jpeg,
    read_file,
    turn_upright,
)
from tinysight.transforms.header import HeaderError, ImageHeader, read_header

Progress: TypeAlias = "Callable[[int], None] | None"  # called with the number that is done
THUMB = 64  # pixels, both sides, whatever the proportions
_MOST_HIDDEN = 0.5  # share of transparent pixels from which an image is named
_BITS_USED = 14  # bits of 16, below which an image is nearly black as 8 bits
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
        doubts: what the decoded pixels do not show, such as that most are transparent.
    """

    problem: str = ""
    missing: bool = False
    width: int = 0
    height: int = 0
    digest: bytes = b""
    thumb: np.ndarray | None = None
    doubts: tuple[str, ...] = ()


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
    try:
        grey, doubts = _grey(header, side), _doubts(header)
    except HeaderError as error:
        return ImageInfo(str(error), digest=digest)
    grey = turn_upright(grey, header.orientation)
    width, height = (header.width, header.height)[:: -1 if header.orientation >= 5 else 1]
    thumb = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return ImageInfo("", False, width, height, digest, thumb, tuple(doubts))


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


def _grey(header: ImageHeader, side: int) -> np.ndarray:
    """Grey levels as stored, perhaps reduced; raises `HeaderError` if the pixels are damaged."""
    if header.format == "JPEG":
        shorter = min(header.width, header.height)
        by = next((by for by in DENOMINATORS if shorter >= 2 * side * by), 1)
        return decode_jpeg(header, by, grey=True)[:, :, 0]
    return by_opencv(header, cv2.IMREAD_GRAYSCALE)


def _doubts(header: ImageHeader) -> list[str]:
    """What the pixels as they are decoded do not show: what lies under transparency, bits that are not used."""
    if header.bits <= 8 and not header.alpha:
        return []
    image, found = by_opencv(header, cv2.IMREAD_UNCHANGED), []
    if image.ndim == 3 and image.shape[2] == 4:
        share = float((image[:, :, 3] == 0).mean())
        if share > _MOST_HIDDEN:
            found.append(f"{share:.0%} of the pixels are transparent; what lies under them counts")
        image = image[:, :, :3]
    if image.dtype == np.uint16 and 0 < (highest := int(image.max())) < 1 << _BITS_USED:
        used = highest.bit_length()
        times = f"multiply its values by {1 << 16 - used}"
        found.append(f"uses {used} of 16 bits, and the high 8 are read: nearly black; {times}")
    return found
