"""Finds candidate pairs of near-duplicates by the low frequencies of image regions.

A part of an image is described by its lowest 8 x 8 frequencies without the mean, weighted against
the fall of natural spectra. A mirror image only changes signs. Two kinds of parts find two kinds of
copies:

- *Windows.* A copy that lost an edge is the whole of one image and a part of the other. So the
  whole of each image is compared with sixteen windows of every other: all of it, and without a
  tenth of the width or height, or of both, at three places each.
- *Corners.* Writing across an image changes it as a whole, but leaves two of its corners alone.
  The second best of the four says how alike two images are.

Everything is compared with everything while that is cheap. In a larger set each image belongs to
the nearest of some random ones, and is compared within a few of these groups alone, so that the
time grows with n ** 1.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from tinysight.concurrency import ordered_map
from tinysight.data.audit.inspect import THUMB, Progress

WINDOWS = ((0.0, 1.0), (0.0, 0.9), (0.05, 0.95), (0.1, 1.0))  # shares of an axis
_CORNERS = ((0.0, 0.4), (0.6, 1.0))
_FREQUENCIES = 8
_SAMPLES = 16  # of an axis of a part, before its frequencies
# Classes of frequencies: even or odd, down and across; a mirror changes signs of whole classes.
_CLASSES = 4
# Corner k of an image is corner _MIRROR[flip][k] of its mirror image, whose frequencies have the
# signs of _SIGNS[flip] by class.
_MIRROR = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_SIGNS = np.array([(1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1)], np.float32)
_ALIKE_WINDOW, _ALIKE_CORNER = 0.72, 0.85  # cosines from which two images are candidates
_MOST = 24  # candidates of one image, of either kind
_ALL = 20_000  # images up to which all are compared with all
_NEAREST = 4  # groups that an image of a larger set is compared with
# Images compared at a time: the products stay in the processor's cache.
_ROWS, _COLUMNS = 256, 512


class Candidate(NamedTuple):
    """Window `window` of image `a`, mirrored by `flip`, may be the whole of image `b`.

    `window` counts those of y, then x; 0 is the whole. `flip` is 1 for left-right, 2 for upside
    down, 3 for both.
    """

    a: int
    b: int
    window: int
    flip: int


class Described(NamedTuple):
    """Descriptions of length 1, or 0 where a part shows nothing.

    `windows` (N, 16, 64) and `corners` (N, 4, 64) float32; the 64 are sorted by class.
    """

    windows: np.ndarray
    corners: np.ndarray


def describe(thumbs: np.ndarray) -> Described:
    """The parts of thumbnails (N, 64, 64) uint8."""
    grey = thumbs.astype(np.float32)
    even = np.stack([_even(image) for image in grey]) if len(grey) else grey
    return Described(_parts(even, WINDOWS, 1.0), _parts(grey, _CORNERS, 50.0))


def candidates(described: Described, threads: int, tell: Progress = None) -> Iterator[Candidate]:
    """The pairs that are worth a closer look; a pair may come more than once.

    `tell` is called with the number of images that were compared with the others.
    """
    groups = _groups(described.windows[:, 0])
    jobs = ((r[i : i + _ROWS], columns) for r, columns in groups for i in range(0, len(r), _ROWS))
    work = ordered_map(lambda job: _alike(described, *job), jobs, threads, threads)
    for done, found in enumerate(work, 1):
        yield from found
        if tell:
            tell(min(done * _ROWS, len(described.windows)))


def _alike(described: Described, rows: np.ndarray, columns: np.ndarray) -> list[Candidate]:
    """Candidates of the images `rows` among the images `columns`."""
    found = []
    window = np.full((len(rows), len(columns)), -1, np.float32)
    corner = window.copy()
    for start in range(0, len(columns), _COLUMNS):
        some = slice(start, start + _COLUMNS)
        windows, corners = described.windows, described.corners
        _compare_windows(windows[rows], windows[columns[some], 0], window[:, some])
        _compare_corners(corners[rows], corners[columns[some]], corner[:, some])
    for score, limit, of_windows in ((window, _ALIKE_WINDOW, True), (corner, _ALIKE_CORNER, False)):
        score[rows[:, None] == columns] = -1
        for i in range(len(rows)):
            near = np.flatnonzero(score[i] >= limit)
            if len(near) > _MOST:
                near = near[np.argsort(-score[i, near], kind="stable")[:_MOST]]
            a = int(rows[i])
            for b in columns[near].tolist():
                found.append(Candidate(a, b, *_how(described, a, b, of_windows)))
    return found


def _compare_windows(parts: np.ndarray, whole: np.ndarray, best: np.ndarray) -> None:
    """Raise `best` (R, C) to the cosines of any window of (R, 16, 64) with (C, 64), mirrored or not."""
    size = whole.shape[1] // _CLASSES
    columns = [np.ascontiguousarray(whole[:, c * size : (c + 1) * size].T) for c in range(_CLASSES)]
    for window in range(parts.shape[1]):
        rows = parts[:, window].reshape(len(parts), _CLASSES, size)
        ee, eo, oe, oo = (_product(rows[:, c], columns[c]) for c in range(_CLASSES))
        # The best of none and across is (ee + oe) + |eo + oo|, that of down and both likewise.
        upright = np.abs(eo + oo)
        upright += ee + oe
        turned = np.abs(np.subtract(eo, oo, out=eo), out=eo)
        turned += np.subtract(ee, oe, out=ee)
        np.maximum(best, np.maximum(upright, turned, out=upright), out=best)


def _compare_corners(parts: np.ndarray, others: np.ndarray, best: np.ndarray) -> None:
    """Raise `best` (R, C) to the second best cosine of four corners, mirrored or not."""
    size = parts.shape[2] // _CLASSES
    columns = [np.ascontiguousarray(others[:, k].T) for k in range(others.shape[1])]
    for flip, mirror in enumerate(_MIRROR):
        signs = np.repeat(_SIGNS[flip], size)
        each = (_product(parts[:, k] * signs, columns[m]) for k, m in enumerate(mirror))
        one, two, three, four = each
        high, low = np.maximum(one, two), np.minimum(one, two)
        top, bottom = np.maximum(three, four), np.minimum(three, four)
        np.maximum(np.minimum(high, top), np.maximum(low, bottom), out=low)
        np.maximum(best, low, out=best)


def _product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(R, D) by (D, C). OpenCV's product stays in this thread.

    NumPy's shares it out among threads of its own, which on a busy machine wait for each other a
    hundred times longer than the product takes.
    """
    return np.asarray(cv2.gemm(rows, columns, 1, None, 0))


def _how(described: Described, a: int, b: int, of_windows: bool) -> tuple[int, int]:
    """Window and flip at which two candidates are most alike."""
    signs = np.repeat(_SIGNS, described.windows.shape[2] // _CLASSES, axis=1)
    if of_windows:
        score = (described.windows[a][:, None] * signs) @ described.windows[b, 0]
        window, flip = divmod(int(score.argmax()), len(signs))
        return window, flip
    corners = [described.corners[b][list(mirror)] for mirror in _MIRROR]
    each = [np.sort((described.corners[a] * signs[f] * corners[f]).sum(1))[-2] for f in range(4)]
    return 0, int(np.argmax(each))


def _groups(whole: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, and those that each of them is compared with; without those that show nothing."""
    everything = np.flatnonzero(np.abs(whole).max(axis=1) > 0)
    count = len(everything)
    if count <= _ALL:
        yield everything, everything
        return
    centres = np.random.default_rng(0).choice(everything, int(math.sqrt(count)), replace=False)
    # A mirror changes signs alone, so an image and its mirror image are in the same groups.
    against = np.abs(whole[centres]).T
    scores = (np.abs(whole[everything[i : i + 4096]]) @ against for i in range(0, count, 4096))
    nearest = np.concatenate([np.argsort(-score, axis=1)[:, :_NEAREST] for score in scores])
    for group in range(len(centres)):
        yield everything[(nearest == group).any(axis=1)], everything[nearest[:, 0] == group]


def _even(image: np.ndarray) -> np.ndarray:
    """`image` with its large-scale brightness and contrast taken out."""
    mean = cv2.GaussianBlur(image, (0, 0), 10)
    spread = cv2.GaussianBlur(image * image, (0, 0), 10) - mean * mean
    return np.asarray((image - mean) / np.sqrt(spread.clip(0) + 100))


def _parts(images: np.ndarray, shares: tuple[tuple[float, float], ...], least: float) -> np.ndarray:
    """Descriptions (N, len(shares) ** 2, 64) of the parts of images (N, 64, 64)."""
    bases = _bases(shares)
    count, k, f = len(images), len(shares), _FREQUENCIES
    found = (bases @ images @ bases.T).reshape(count, k, f, k, f).transpose(0, 1, 3, 2, 4)
    u, v = np.mgrid[:f, :f]
    parts = (found * np.hypot(u, v).astype(np.float32)).reshape(count, k * k, f * f)
    parts = parts[:, :, np.argsort((u % 2 * 2 + v % 2).ravel(), kind="stable")]
    length = np.linalg.norm(parts, axis=2, keepdims=True)
    return np.asarray(np.divide(parts, length, out=np.zeros_like(parts), where=length > least))


@lru_cache(maxsize=2)
def _bases(shares: tuple[tuple[float, float], ...]) -> np.ndarray:
    """From the pixels of one axis to the frequencies of its parts: (len(shares) * 8, 64)."""
    phase = (np.arange(_SAMPLES) + 0.5) * math.pi / _SAMPLES
    cosines = np.cos(np.arange(_FREQUENCIES)[:, None] * phase)
    edges = np.arange(THUMB + 1)
    rows = []
    for start, stop in shares:
        bins = np.linspace(start, stop, _SAMPLES + 1) * THUMB
        low, high = bins[:-1, None], bins[1:, None]
        share = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
        rows.append(cosines @ (share.clip(0) / (high - low)))
    return np.concatenate(rows).astype(np.float32)
