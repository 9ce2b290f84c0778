"""Resizing, padding, unfolding and other operators on images."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.layers import either_layout
from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import Unsupported, Value
from tinysight.graph.folding import MAX_ELEMENTS
from tinysight.graph.sides import as_vector, product

_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic"}


@op(" ".join(f"{kind}_interp {kind}_interp_v2" for kind in _MODES), "X OutSize SizeTensor Scale")
@either_layout("X", "NCHW NCW")
def _interpolate(v: OpContext) -> Value:
    x = v["X"]
    mode, sides = _MODES[v.get("interp_method", v.type.partition("_")[0])], v.sides(x)
    coordinates, nearest = "half_pixel", ""
    if v.get("align_corners", True):
        coordinates, nearest = "align_corners", "round_prefer_ceil"
    elif mode == "nearest" or (mode == "linear" and v.get("align_mode", 1) == 1):
        coordinates, nearest = "asymmetric", "floor"
    more: dict[str, Any] = {"nearest": {"nearest_mode": nearest}, "cubic": {"cubic_coeff_a": -0.75}}
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, **more.get(mode, {})}
    given = v.get("scale", [])
    factors = [float(s) for s in (given if isinstance(given, list) else [given])]
    if v.all("SizeTensor"):
        size: Value | None = v.vector("", "", "SizeTensor")
    elif "OutSize" in v:
        size = v.vector("", "OutSize")
    elif "Scale" in v or any(s > 0 for s in factors):
        size = None
    else:
        names = ("out_w",) if v.type.startswith("linear") else ("out_h", "out_w")
        size = np.array([v.get(n, -1) for n in names])
    if size is not None:
        if not isinstance(size, np.ndarray):
            raise Unsupported("a size that depends on the input")
        if tuple(size.tolist()) == sides[2:]:
            return x
        size = as_vector([*sides[:2], *size.tolist()])
        return v.emit("Resize", x, None, None, size, **attributes)
    if "Scale" in v:
        tensor = v["Scale"]
        if not isinstance(tensor, np.ndarray):
            raise Unsupported("a scale that depends on the input")
        factors = [float(s) for s in tensor.ravel()]
    factors = factors * (len(sides) - 2) if len(factors) == 1 else factors
    return v.emit("Resize", x, None, np.array([1.0, 1.0, *factors], np.float32), **attributes)


def _window(v: OpContext, *usual: list[int]) -> list[list[int]]:
    """Kernel, strides, dilations and paddings (before and after); the last three may have defaults."""
    named = zip_longest(("kernel_sizes", "strides", "dilations", "paddings"), ((), *usual))
    *found, pads = [v.integers(name, default or None) for name, default in named]
    return [*found, pads * 2 if len(pads) == 2 else pads]


@op("fold", "X", "Y")
def _fold(v: OpContext) -> Value:
    """Columns back to windows; where windows do not overlap, by moving them."""
    x, size = v["X"], v.integers("output_sizes")
    kernel, strides, dilations, pads = _window(v, [1, 1], [1, 1], [0, 0])
    n, columns, _ = v.sides(x)
    (kh, kw), (h, w) = kernel, size
    apart = strides == kernel and dilations == [1, 1] and not any(pads)
    if apart and h % kh == 0 and w % kw == 0 and isinstance(columns, int):
        split = v.reshape(x, [n, columns // (kh * kw), kh, kw, h // kh, w // kw])
        moved = v.emit("Transpose", split, perm=[0, 1, 4, 2, 5, 3])
        return v.reshape(moved, [n, columns // (kh * kw), h, w])
    options = {"strides": strides, "dilations": dilations, "pads": pads}
    return v.emit("Col2Im", x, np.array(size), np.array(kernel), **options)


@op("unfold", "X", "Y")
def _unfold(v: OpContext) -> Value:
    """Windows as columns, by picking rows and then columns: two copies, whatever the kernel."""
    x, (kernel, strides, dilations, pads) = v["X"], _window(v)
    (n, c), sides = v.sides(x)[:2], v.numbers(v.sides(x)[2:])
    if any(pads):
        x = v.emit("Pad", x, np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]), mode="constant")
    counts = []
    for axis in range(2):
        span = sides[axis] + pads[axis] + pads[2 + axis]
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        count = (span - reach) // strides[axis] + 1
        if not 0 < count * kernel[axis] <= MAX_ELEMENTS:
            raise Unsupported(f"{count} windows of {kernel[axis]}")
        first = np.arange(kernel[axis])[:, None] * dilations[axis]
        x = v.emit("Gather", x, (first + np.arange(count) * strides[axis]).ravel(), axis=2 + axis)
        counts.append(count)
    (kh, kw), (oh, ow) = kernel, counts
    x = v.reshape(x, [n, c, kh, oh, kw, ow])
    x = v.emit("Transpose", x, perm=[0, 1, 2, 4, 3, 5])
    return v.reshape(x, [n, product([c, kh * kw]), oh * ow])


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "edge": "edge"}


@op("pad2d pad3d", "X Paddings")
def _pad_sides(v: OpContext) -> Value:
    if v.get("data_format", "NCHW") not in ("NCHW", "NCDHW", "NCL"):
        raise Unsupported("layout")
    x, given = v["X"], v.constants("paddings", "Paddings")
    before, after = given[0::2], given[1::2]
    if v.type == "pad3d":  # from the last axis: left, right, top, bottom, front, back
        before, after = before[::-1], after[::-1]
    if len(before) != len(v.sides(x)) - 2 or len(after) != len(before):
        raise Unsupported(f"paddings {given}")
    value = v.scalar("value" if v.has("value") else "pad_value", "", 0.0)
    return _padded(v, [0, 0, *before], [0, 0, *after], v.get("mode", "constant"), value)


@op("pad", "X PadValue")
def _pad(v: OpContext) -> Value:
    given = v.integers("paddings")
    return _padded(v, given[0::2], given[1::2], "constant", v.scalar("pad_value", "PadValue", 0.0))


def _padded(v: OpContext, before: list[int], after: list[int], mode: str, value: float) -> Value:
    x, onnx = v["X"], _PAD_MODES.get(mode)
    if onnx is None or (min(before + after) < 0 and onnx != "constant"):
        raise Unsupported(f"mode {mode!r:.40} with paddings {before} and {after}")
    if not any(before + after):
        return x
    fill = [v.like(value, x)] if onnx == "constant" and value else []
    return v.emit("Pad", x, np.array(before + after), *fill, mode=onnx)


@op("pixel_unshuffle", "X")
def _pixel_unshuffle(v: OpContext) -> Value:
    factor = v.get("downscale_factor", 1)
    n, c, h, w = v.sides(v["X"])
    split = v.reshape(v["X"], [n, c, h // factor, factor, w // factor, factor])
    moved = v.emit("Transpose", split, perm=[0, 1, 3, 5, 2, 4])
    return v.reshape(moved, [n, c * factor * factor, h // factor, w // factor])


@op("shuffle_channel channel_shuffle", "X")
def _channel_shuffle(v: OpContext) -> Value:
    groups, sides = v.get("group groups", 1), v.sides(v["X"])
    n, c, *rest = sides
    split = v.reshape(v["X"], [n, groups, c // groups, *rest])
    order = [0, 2, 1, *range(3, len(sides) + 1)]
    return v.reshape(v.emit("Transpose", split, perm=order), sides)


@op("pixel_shuffle", "X")
def _pixel_shuffle(v: OpContext) -> Value:
    return v.emit("DepthToSpace", v["X"], blocksize=v.get("upscale_factor", 1), mode="CRD")
