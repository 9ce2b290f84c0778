"""Sides of what convolutions and pools make: the part of `shapes` about sliding windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.symbols import Side, Sym, quotient

Sides = tuple[Side | None, ...]
Known = tuple[np.dtype[Any], tuple[Side, ...]]
Made = list[tuple[np.dtype[Any], Sides]]


def text(shapes: Sequence[Sequence[Side]]) -> str:
    """Shapes for a message, unknown sides as N."""
    return " and ".join(str([s if isinstance(s, int) else "N" for s in shape]) for shape in shapes)


def _window(side: Side, kernel: int, stride: int, pads: int, dilation: int) -> Side | None:
    reach = dilation * (kernel - 1) + 1
    if isinstance(side, Sym):
        return side if stride == 1 and pads == reach - 1 else None
    return (side + pads - reach) // stride + 1


def _spatial(shape: Sequence[Side], kernel: Sequence[int], a: Mapping[str, Any]) -> Sides:
    rank = len(kernel)
    pads, strides = a.get("pads", [0] * 2 * rank), a.get("strides", [1] * rank)
    dilations = a.get("dilations", [1] * rank)
    return tuple(
        _window(shape[2 + i], kernel[i], strides[i], pads[i] + pads[rank + i], dilations[i])
        for i in range(rank)
    )


def conv(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    """A convolution: its channels from the weights."""
    (dtype, x), (_dtype, w) = inputs[:2]
    if len(x) < 3:
        raise ValueError("a convolution of what is no image")
    kernel = [int(k) for k in w[2:]]  # type: ignore[arg-type]  # weights are constants
    if len(x) != len(w) or quotient(x[1], attributes["group"]) != w[1]:
        raise ValueError(f"a convolution of {text([x])} by {text([w])}")
    if "auto_pad" in attributes:
        return [(dtype, (x[0], w[0], *[None] * len(kernel)))]
    return [(dtype, (x[0], w[0], *_spatial(x, kernel, attributes)))]


def conv_transpose(inputs: list[Known], _: list[Any], a: Mapping[str, Any]) -> Made:
    """A transposed convolution."""
    (dtype, x), (_dtype, w) = inputs[:2]
    if len(x) < 3 or len(x) != len(w):
        raise ValueError("a convolution of what is no image")
    sides: list[Side | None] = []
    for i, side in enumerate(x[2:]):
        if isinstance(side, Sym):
            sides.append(None)
            continue
        reach = a["dilations"][i] * (int(w[2 + i]) - 1) + 1  # type: ignore[arg-type]
        pads = a["pads"][i] + a["pads"][len(x) - 2 + i]
        sides.append((side - 1) * a["strides"][i] + reach - pads + a["output_padding"][i])
    return [(dtype, (x[0], w[1] * a["group"], *sides))]


def pool(inputs: list[Known], _: list[Any], attributes: Mapping[str, Any]) -> Made:
    """A pool; sides are left open where the engine rounds or pads by its own rule."""
    dtype, x = inputs[0]
    if len(x) < 3 or len(attributes["kernel_shape"]) != len(x) - 2:
        raise ValueError("a pool of what is no image")
    if attributes.get("ceil_mode") or "auto_pad" in attributes:
        return [(dtype, (*x[:2], *[None] * (len(x) - 2)))]
    return [(dtype, (*x[:2], *_spatial(x, attributes["kernel_shape"], attributes)))]


def global_pool(inputs: list[Known], _: list[Any], __: Mapping[str, Any]) -> Made:
    """A pool over whole images."""
    dtype, x = inputs[0]
    return [(dtype, (*x[:2], *[1] * (len(x) - 2)))]
