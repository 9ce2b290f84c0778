"""One look at each image file: can it be read, how large is it, what is in it roughly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms.base import MAX_PIXELS
from tinysight.transforms.decode import read_file, turn_upright
from tinysight.transforms.header import Header, HeaderError, read_header

THUMB = 64  # pixels, both sides, whatever the proportions
_AHEAD = 64  # images per call of a thread
_REDUCED = ((8, cv2.IMREAD_REDUCED_GRAYSCALE_8), (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
            (2, cv2.IMREAD_REDUCED_GRAYSCALE_2))  # fmt: skip


class Look(NamedTuple):
    """What a file holds.

    Attributes:
        problem: why it cannot be read; empty if it can.
        missing: there is no such file.
        width: of the upright image, in pixels.
        height: of the upright image.
        digest: of the bytes of the file, 16 of them.
        thumb: grey levels, (64, 64) uint8, upright and stretched to a square; None with a problem.
    """

    problem: str = ""
    missing: bool = False
    width: int = 0
    height: int = 0
    digest: bytes = b""
    thumb: np.ndarray | None = None


def look(path: Path, side: int = THUMB) -> Look:
    """Read one image; a large JPEG is decoded at a half, quarter or eighth of its size.

    Args:
        path: the file.
        side: of the thumbnail, in pixels.
    """
    try:
        data = read_file(path)
    except ImageError as error:
        return Look(error.problems[0].what, missing=not path.exists())
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        header = read_header(data)
    except HeaderError as error:
        return Look(str(error), digest=digest)
    pixels = header.width * header.height
    if pixels > MAX_PIXELS:
        return Look(f"{pixels} pixels are more than the limit of {MAX_PIXELS}", digest=digest)
    grey = _grey(header, side)
    if grey is None:
        return Look(f"the {header.format} is damaged", digest=digest)
    grey = turn_upright(grey, header.orientation)
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    thumb = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return Look("", False, width, height, digest, thumb)


def look_at_all(
    paths: Sequence[Path], threads: int, tell: Callable[[int], None] | None = None
) -> Iterator[Look]:
    """`look` at each, in order, in `threads` threads; `tell` hears how many are done."""
    chunks = [paths[i : i + _AHEAD] for i in range(0, len(paths), _AHEAD)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each thread works alone
    try:
        with ThreadPoolExecutor(max(1, threads), "tinysight-look") as pool:
            done = 0
            for found in pool.map(lambda chunk: [look(path) for path in chunk], chunks):
                yield from found
                done += len(found)
                if tell:
                    tell(done)
    finally:
        cv2.setNumThreads(before)


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _grey(header: Header, side: int) -> np.ndarray | None:
    """Grey levels as stored, perhaps reduced; None if the pixels are damaged."""
    flag, by = cv2.IMREAD_GRAYSCALE, 1
    if header.format == "JPEG":
        shorter = min(header.width, header.height)
        by, flag = next(((b, f) for b, f in _REDUCED if shorter >= 2 * side * b), (by, flag))
    try:
        data = np.frombuffer(header.data, np.uint8)
        grey = cv2.imdecode(data, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    wanted = -(-header.height // by), -(-header.width // by)
    return grey if grey is not None and grey.shape == wanted else None
