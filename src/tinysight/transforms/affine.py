"""Rotating, shearing and shifting as Pillow does, bit for bit, in NumPy.

Every output pixel looks up a place in the input: its centre under an affine map. A place outside
the image gives the fill colour. Near the border the edge pixels are repeated. Pillow's bicubic
kernel is the one with a = -1 here, not the -1/2 of its resizing, and both filters cut the fraction
of a grey level off.

Speed comes from single precision: only where its answer lies too near a whole number to be cut off
safely is a value computed again, in double precision and in Pillow's order. Checked against Pillow
13.0.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from tinysight.transforms.base import Image

Filter = Literal["nearest", "bilinear", "bicubic"]
Matrix = tuple[float, float, float, float, float, float]

_TAPS = {"bilinear": 2, "bicubic": 4}
_UNSURE = 1 / 1024  # more than the worst rounding error of the single precision sums, 6e-4
_MANY = 1 << 12  # values to compute again, from which looking for one-coloured regions pays
_TILE = 256  # side of the output tiles, so that large images need little memory
_PIXELS = 1 << 13  # output pixels of one go: the arrays of a go stay in the processor's cache


def affine(
    image: Image, matrix: Matrix, interpolation: Filter, fill: tuple[int, int, int]
) -> Image:
    """`image` under a map from output to input: x' = a x + b y + c, y' = d x + e y + f.

    Args:
        image: uint8 (H, W, 3).
        matrix: (a, b, c, d, e, f), in pixels; pixel centres lie at halves.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: the colour outside of the image.

    Returns:
        uint8 of the same shape.
    """
    a, b, c, d, e, f = matrix
    if interpolation == "nearest":
        return _nearest(image, matrix, fill)
    if (a, d, e, f) == (1.0, 0.0, 1.0, 0.0):
        return _slide(image, b, c, interpolation, fill)
    if (a, b, c, e) == (1.0, 0.0, 0.0, 1.0):  # the same along the other axis
        return np.asarray(cv2.transpose(_slide(cv2.transpose(image), d, f, interpolation, fill)))
    return _warp(image, matrix, interpolation, fill)


def rotate(
    image: Image, degrees: float, interpolation: Filter, fill: tuple[int, int, int]
) -> Image:
    """`image` turned counter-clockwise about its middle, its size kept; see `affine`."""
    height, width = image.shape[:2]
    degrees %= 360.0
    if degrees == 0:
        return image
    if degrees == 180:
        return np.asarray(cv2.rotate(image, cv2.ROTATE_180))
    if degrees in (90, 270) and width == height:
        code = cv2.ROTATE_90_COUNTERCLOCKWISE if degrees == 90 else cv2.ROTATE_90_CLOCKWISE
        return np.asarray(cv2.rotate(image, code))
    angle = -math.radians(degrees)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    shift_x = cos * -x + sin * -y + 0.0 + x
    shift_y = -sin * -x + cos * -y + 0.0 + y
    return affine(image, (cos, sin, shift_x, -sin, cos, shift_y), interpolation, fill)


def shear_x(image: Image, share: float, interpolation: Filter, fill: tuple[int, int, int]) -> Image:
    """Row y moves left by `share` * y."""
    return affine(image, (1.0, share, 0.0, 0.0, 1.0, 0.0), interpolation, fill)


def shear_y(image: Image, share: float, interpolation: Filter, fill: tuple[int, int, int]) -> Image:
    """Column x moves up by `share` * x."""
    return affine(image, (1.0, 0.0, 0.0, share, 1.0, 0.0), interpolation, fill)


def shift_x(
    image: Image, pixels: float, interpolation: Filter, fill: tuple[int, int, int]
) -> Image:
    """`image` moved left by `pixels`."""
    return affine(image, (1.0, 0.0, pixels, 0.0, 1.0, 0.0), interpolation, fill)


def shift_y(
    image: Image, pixels: float, interpolation: Filter, fill: tuple[int, int, int]
) -> Image:
    """`image` moved up by `pixels`."""
    return affine(image, (1.0, 0.0, 0.0, 0.0, 1.0, pixels), interpolation, fill)


def _nearest(image: Image, matrix: Matrix, fill: tuple[int, int, int]) -> Image:
    """Pillow's two ways: running sums along the axes for a pure shift, else 16.16 fixed point."""
    height, width = image.shape[:2]
    a, b, c, d, e, f = matrix
    if b == 0 and d == 0:
        x = _running(c + a * 0.5, a, width)[None, :]
        y = _running(f + e * 0.5, e, height)[:, None]
    else:
        a, b, d, e, c, f = (
            math.floor(v * 65536.0 + 0.5)
            for v in (a, b, d, e, c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5)
        )
        reach = (abs(a) + abs(d)) * width + (abs(b) + abs(e)) * height + abs(c) + abs(f)
        kind = np.int32 if reach < 1 << 31 else np.int64
        column, row = np.arange(width, dtype=kind)[None, :], np.arange(height, dtype=kind)[:, None]
        x = (c + a * column) + b * row
        y = (f + d * column) + e * row
        x >>= 16
        y >>= 16
    inside = ((x >= 0) & (x < width)) & ((y >= 0) & (y < height))
    at = y * width + x
    pixels = np.take(_packed(image), at, mode="clip")
    np.copyto(pixels, _packed(np.array([[fill]], np.uint8)), where=~inside)
    return _unpacked(pixels)


def _running(first: float, step: float, count: int) -> Image:
    """Whole part of first, first + step, ..., added one by one; -1 below zero."""
    steps = np.full(count, step)
    steps[0] = first
    at = np.cumsum(steps)
    return np.where(at < 0, -1, np.minimum(at, 1 << 30)).astype(np.int64)


def _packed(image: Image) -> Image:
    """RGB pixels as uint32, so that one look-up moves all three."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)).view(np.uint32)[:, :, 0]


def _unpacked(pixels: Image) -> Image:
    four = pixels.view(np.uint8).reshape(*pixels.shape, 4)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB))


def _slide(
    image: Image, shear: float, shift: float, interpolation: Filter, fill: tuple[int, int, int]
) -> Image:
    """Row y moves left by shear * y + shift, half pixels included.

    One fraction does for a whole row: within it, only rounding differs.
    """
    height, width = image.shape[:2]
    taps = _TAPS[interpolation]
    line = np.arange(height) + 0.5
    move = shear * line
    move += shift
    whole = np.floor(move)
    # Rows that are moved out altogether may be moved by any more.
    first = np.clip(whole, -width - taps, width + taps).astype(int) - (taps // 2 - 1)
    before, behind = max(-first.min(), 0), max(first.max() + taps - 1, 0)
    source = cv2.copyMakeBorder(image, 0, 0, before, behind, cv2.BORDER_REPLICATE)
    moved = np.empty((height, width + taps - 1, 3), np.uint8)
    for to, row, start in zip(moved, source, (first + before).tolist(), strict=True):
        to[:] = row[start : start + len(to)]
    weights = _weights((move - whole).astype(np.float32)[:, None], interpolation)
    outside = _outside(shear * line, shift, width)
    planes = np.empty((3, height, width), np.uint8)
    value, part = np.empty((2, height, width), np.float32)
    wide = np.empty(moved.shape[:2], np.float32)
    unsure = _Unsure()
    for channel, plane in enumerate(cv2.split(moved)):
        wide[:] = plane
        np.multiply(wide[:, :width], weights[0], out=value)
        for tap, weight in enumerate(weights[1:], 1):
            value += np.multiply(wide[:, tap : tap + width], weight, out=part)
        cut, doubtful = _cut(value)
        same = plane[:, :-1] == plane[:, 1:]
        even = same[:, :width].copy()
        for tap in range(1, taps - 1):
            even &= same[:, tap : tap + width]
        # One-coloured stretches lie on whole numbers, which single precision may miss.
        cut = cv2.copyTo(np.ascontiguousarray(plane[:, :width]), even.view(np.uint8), cut)
        np.copyto(cut, fill[channel], where=outside)
        planes[channel] = cut
        rest = np.flatnonzero(doubtful > (even | outside))
        row, column = np.divmod(rest, width)
        x = (column + 0.5) + shear * line[row]
        x += shift
        unsure.add(channel, rest, x - 0.5, row.astype(np.float64))
    return unsure.mend(planes, image, interpolation)


def _outside(move: Image, shift: float, width: int) -> Image:
    """(h, w) bool: where column + 0.5 + move + shift, added so, is not in [0, width)."""
    edges = []
    for limit in (0, width):  # the first column that reaches the limit; right but for rounding
        guess = np.ceil(limit - 0.5 - (move + shift))
        guess += ((guess + 0.5) + move) + shift < limit
        guess -= ((guess - 0.5) + move) + shift >= limit
        edges.append(guess.clip(0, width).astype(np.int32)[:, None])
    column = np.arange(width, dtype=np.int32)
    outside: Image = (column < edges[0]) | (column >= edges[1])
    return outside


def _warp(image: Image, matrix: Matrix, interpolation: Filter, fill: tuple[int, int, int]) -> Image:
    """The general case, in tiles; only for the pixels that fall inside."""
    height, width = image.shape[:2]
    reach = _TAPS[interpolation] // 2
    border = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    packed = _packed(border)
    planes = np.empty((3, height, width), np.uint8)
    planes[:] = np.array(fill)[:, None, None]
    buffers = np.empty((2 * reach + 1, 3, max(_PIXELS, _TILE)), np.float32)
    unsure = _Unsure()
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            columns = np.arange(left, min(left + _TILE, width)) + 0.5
            rows = np.arange(top, min(top + _TILE, height)) + 0.5
            corners = _places(matrix, columns[[0, -1]], rows[[0, -1]])
            x0, y0 = (max(int(v.min()) - 2, 0) for v in corners)
            x1, y1 = (int(v.max()) + 2 + 2 * reach for v in corners)
            part = packed[y0 : max(y1, 0), x0 : max(x1, 0)]
            if min(part.shape) <= 2 * reach:
                continue
            source = _windows(part, _TAPS[interpolation])
            step = max(_PIXELS // len(columns), 1)
            for first in range(0, len(rows), step):
                go = rows[first : first + step]
                x, y = _places(matrix, columns, go)
                inside = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
                if not len(inside):
                    continue
                x, y = x.take(inside), y.take(inside)
                x -= 0.5
                y -= 0.5
                row, column = np.divmod(inside, len(columns))
                at = (row + (top + first)) * width + (column + left)
                cut, doubtful = _cut(_single(source, x, y, (x0, y0), interpolation, buffers))
                for channel in range(3):
                    planes[channel].reshape(-1)[at] = cut[channel]
                    rest = np.flatnonzero(doubtful[channel])
                    unsure.add(channel, at[rest], x[rest], y[rest])
    return unsure.mend(planes, image, interpolation)


def _places(matrix: Matrix, columns: Image, rows: Image) -> tuple[Image, Image]:
    """Where the centres of output pixels lie in the input, (rows, columns); in Pillow's order."""
    a, b, c, d, e, f = matrix
    x, y = a * columns + (b * rows)[:, None], d * columns + (e * rows)[:, None]
    x += c
    y += f
    return x, y


class _Unsure:
    """Values that single precision could not tell, to be computed again all at once."""

    def __init__(self) -> None:
        self._parts: list[tuple[Image, Image, Image, Image]] = []

    def add(self, channel: int, at: Image, x: Image, y: Image) -> None:
        """Flat places of one channel of the output, and of the input, less half a pixel."""
        self._parts.append((np.full(len(at), channel), at, x, y))

    def mend(self, planes: Image, image: Image, interpolation: Filter) -> Image:
        """`planes` (3, H, W), put right, as (H, W, 3)."""
        if not self._parts:
            return np.asarray(cv2.merge(list(planes)))
        channel, at, x, y = (np.concatenate(p) for p in zip(*self._parts, strict=True))
        flat = planes.reshape(3, -1)
        if len(at) > _MANY:  # one-coloured regions lie on whole numbers; their answer is known
            base = np.maximum(np.floor(y), 0).astype(np.int64) * image.shape[1]
            base += np.maximum(np.floor(x), 0).astype(np.int64)
            even = _even(image, _TAPS[interpolation])[base, channel]
            flat[channel[even], at[even]] = image.reshape(-1, 3)[base[even], channel[even]]
            channel, at, x, y = (v[~even] for v in (channel, at, x, y))
        if len(at):
            flat[channel, at] = _double(image, channel, x, y, interpolation)
        return np.asarray(cv2.merge(list(planes)))


def _windows(packed: Image, taps: int) -> Image:
    """`taps` pixels side by side as one item, 8 or 16 bytes, for every place of `packed`."""
    wide = packed.view(np.int32)
    count = wide.shape[1] - taps + 1
    items = cv2.merge([np.ascontiguousarray(wide[:, k : k + count]) for k in range(taps)])
    return np.asarray(items).view(np.complex64 if taps == 2 else np.complex128)[:, :, 0]


def _even(image: Image, taps: int) -> Image:
    """(H * W, 3) bool: whether all the pixels that count at a place are the same."""
    kernel, anchor = np.ones((taps, taps), np.uint8), (taps // 2 - 1, taps // 2 - 1)
    low = cv2.erode(image, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    high = cv2.dilate(image, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    even: Image = (low == high).reshape(-1, 3)
    return even


def _weights(fraction: Image, interpolation: Filter) -> list[Image]:
    """Weights of the neighbours for a place `fraction` behind the one before it."""
    t, u = fraction, 1 - fraction
    if interpolation == "bilinear":
        return [u, t]
    tu = t * u
    return [-tu * u, u + tu * u, t + tu * t, -tu * t]


def _single(
    source: Image,
    x: Image,
    y: Image,
    origin: tuple[int, int],
    interpolation: Filter,
    buffers: Image,
) -> Image:
    """Values (3, n) float32 at the places (x, y), less half a pixel, inside of the image.

    Item (0, 0) of `source` is the window at `origin` of the image with its border. `buffers`
    (taps + 1, 3, at least n) is written to: fresh memory costs more than the arithmetic.
    """
    taps = _TAPS[interpolation]
    lines, total = buffers[:-1, :, : len(x)], buffers[-1, :, : len(x)]
    total[:] = 0.0
    whole_x, whole_y = np.floor(x), np.floor(y)
    across = np.stack(_weights((x - whole_x).astype(np.float32), interpolation))[:, None]
    down = _weights((y - whole_y).astype(np.float32), interpolation)
    whole_y += 1 - origin[1]  # the border is half the taps wide, so the first tap is one further
    whole_y *= source.shape[1]
    whole_y += whole_x
    at = whole_y.astype(np.int64)
    at += 1 - origin[0]
    for weight in down:
        taken = np.take(source, at, mode="clip").view(np.uint8).reshape(len(x), 4 * taps)
        lines[:] = cv2.transpose(taken).reshape(taps, 4, -1)[:, :3]
        lines *= across
        for line in lines[1:]:
            lines[0] += line
        lines[0] *= weight
        total += lines[0]
        at += source.shape[1]
    return np.ascontiguousarray(total)


def _cut(value: Image) -> tuple[Image, Image]:
    """`value` as uint8, and where single precision cannot tell which.

    OpenCV rounds and limits to 0..255 in one go; half less, that cuts off.
    """
    low = cv2.add(value, -0.5 - _UNSURE, dtype=cv2.CV_8U)
    high = cv2.add(value, -0.5 + _UNSURE, dtype=cv2.CV_8U)
    return high, low != high


def _double(image: Image, channel: Image, x: Image, y: Image, interpolation: Filter) -> Image:
    """Values (n,) uint8 at the places (x, y) of the channels, each sum in Pillow's order."""
    height, width = image.shape[:2]
    whole_x, whole_y = np.floor(x), np.floor(y)
    dx, dy = x - whole_x, y - whole_y
    first = np.arange(_TAPS[interpolation])[:, None] - (_TAPS[interpolation] // 2 - 1)
    columns = np.clip(whole_x.astype(np.int64) + first, 0, width - 1)
    if dy.any():
        rows = np.clip(whole_y.astype(np.int64) + first, 0, height - 1)
        taps = image[rows[None], columns[:, None], channel].astype(np.float64)
        values = _mix(_mix(taps, dx), dy)
    else:
        values = _mix(image[whole_y.astype(np.int64), columns, channel].astype(np.float64), dx)
    return np.asarray(np.clip(values, 0.0, 255.0).astype(np.uint8))


def _mix(taps: Image, d: Image) -> Image:
    """Between the taps (2 or 4, ...), a fraction `d` behind the one before the place."""
    if len(taps) == 2:
        return np.asarray(taps[0] + (taps[1] - taps[0]) * d)
    v1, v2, v3, v4 = taps
    p2 = -v1 + v3
    p3 = 2 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return np.asarray(v2 + d * (p2 + d * (p3 + d * p4)))
