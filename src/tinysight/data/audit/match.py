"""Decides whether two images are the same: aligns their thumbnails and compares them tile by tile.

The thumbnails are aligned to a fraction of a pixel. In each of sixteen tiles the steps from pixel to
pixel are compared, across and down apart and evened out, so that neither one strong edge nor a
pattern that runs in one direction (planks, blinds) decides alone. A tile that shows nothing is
compared by its brightness. Writing spoils the tiles it touches; in a copy most of the others agree,
in two images that merely look alike hardly any does.

Source: the alignment is OpenCV's enhanced correlation coefficient (Evangelidis and Psarakis, 2008).
"""

from __future__ import annotations

import cv2
import numpy as np

from tinysight.data.audit.candidates import WINDOWS, Candidate
from tinysight.data.audit.inspect import THUMB

SAME = 0.5  # agreement from which two images are worth a closer look, and there the same
_SURE = 0.9  # agreement that a finer alignment need not improve
_HOPELESS = 0.0  # agreement that a finer alignment will not save
_FARTHEST = 6.0  # pixels that the finer alignment may move a corner
_TILE = 16  # pixels
_SHOWN = 1.0  # spread of the steps, in grey levels, from which a tile shows something
_LEAST = 3  # tiles that show something
_BRIGHTNESS = 10.0  # grey levels between two empty tiles that do not agree at all
_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)


def agreement(one: np.ndarray, other: np.ndarray, pair: Candidate) -> float:
    """How well two thumbnails agree, up to 1: the median of their tiles.

    Both are (64, 64) uint8, or for a closer look (128, 128): a few bold lines, of a bridge or of a drawing, can agree
    by chance at 64 pixels. It is 0 for images that show nothing but a gradient: they cannot be told apart.
    """
    size = one.shape[0]
    closely = size > THUMB
    soft, least = (1.2, -1.0) if closely else (0.7, _HOPELESS)
    mirrored = np.asarray(cv2.flip(other, (1, 0, -1)[pair.flip - 1])) if pair.flip else other
    a, b = _channels(one, soft), _channels(mirrored, soft)
    warp = _warp(pair.window, size)
    rough = _median(a, b, warp)
    if not least < rough <= _SURE:
        return rough
    width = 5 if closely else 3
    fine_b, fine_a = (c[0] - cv2.GaussianBlur(c[0], (0, 0), width) for c in (b, a))
    how = cv2.MOTION_AFFINE, _STEPS, None, width
    try:
        _, finer = cv2.findTransformECC(fine_b, fine_a, warp.copy(), *how)
    except cv2.error:  # it does not converge: there is no such alignment
        return rough
    corners = np.array([(x, y, 1) for x in (0, size) for y in (0, size)], np.float64)
    moved = np.linalg.norm(corners @ (finer - warp).T, axis=1).max()
    astray = moved > _FARTHEST * size / THUMB  # one line was laid over another
    return rough if astray else max(rough, _median(a, b, finer))


def _median(one: np.ndarray, other: np.ndarray, warp: np.ndarray) -> float:
    """The median over the tiles of two images (5, S, S), the first moved by `warp` (2, 3).

    At a closer look the lesser of two: of all tiles, and of those that show something.
    """
    flags, edge = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    moved = [cv2.warpAffine(c, warp, other.shape[1:], flags=flags, borderMode=edge) for c in one]
    a, b = _tiles(np.stack(moved)), _tiles(other)
    dark = 1 - np.abs(a[0].mean(axis=1) - b[0].mean(axis=1)) / _BRIGHTNESS
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    power_a, power_b = (a * a).mean(axis=2), (b * b).mean(axis=2)
    shown = np.maximum(power_a[3:].sum(axis=0), power_b[3:].sum(axis=0)) > _SHOWN**2
    each = (a[1:3] * b[1:3]).mean(axis=2) / np.sqrt(power_a[1:3] * power_b[1:3] + 1e-9)
    worse = each.min(axis=0)
    if shown.sum() < _LEAST:
        return 0.0
    everywhere = float(np.median(np.where(shown, worse, dark.clip(0))))
    return min(everywhere, float(np.median(worse[shown]))) if one.shape[1] > THUMB else everywhere


def _channels(thumb: np.ndarray, softness: float) -> np.ndarray:
    """Grey levels, the evened steps across and down, and the steps as they are: (5, S, S)."""
    grey = thumb.astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), softness)
    steps = [cv2.Sobel(soft, cv2.CV_32F, *axes, ksize=3) / 4 for axes in ((1, 0), (0, 1))]
    evened = [s / (np.sqrt(cv2.GaussianBlur(s * s, (0, 0), 2)) + 1) for s in steps]
    return np.stack([grey, *evened, *steps])


def _tiles(channels: np.ndarray) -> np.ndarray:
    """(C, S, S) to (C, tiles, 256)."""
    count = channels.shape[1] // _TILE
    cut = channels.reshape(-1, count, _TILE, count, _TILE).swapaxes(2, 3)
    return np.asarray(cut.reshape(len(channels), count**2, -1))


def _warp(window: int, size: int) -> np.ndarray:
    """From places in the whole to places in the image that it is a window of; (2, 3) float32."""
    y, x = divmod(window, len(WINDOWS))
    (left, right), (top, bottom) = WINDOWS[x], WINDOWS[y]
    wide, tall = right - left, bottom - top
    shift = left * size + (wide - 1) / 2, top * size + (tall - 1) / 2
    return np.array([[wide, 0.0, shift[0]], [0.0, tall, shift[1]]], np.float32)
