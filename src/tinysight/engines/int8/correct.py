"""Rounding moves the mean of what a convolution gives; its offset moves it back.

Layer by layer from the first, since what comes later was measured on what comes before: the mean of each
output channel in the rounded network, corrected so far, is made that of the exact one. Costs nothing
when the network runs.

Source: bias correction as in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction" (2019), here on images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinysight.engines.int8.graph import is_rounded
from tinysight.engines.int8.look import Inside
from tinysight.graph.onnx_file import OnnxModel

_BATCH = 8


def corrected(exact: OnnxModel, rounded: OnnxModel, images: np.ndarray) -> OnnxModel:
    """`rounded` with offsets that give the means of `exact`.

    Args:
        exact: the network in float32.
        rounded: the same after `quantized`.
        images: (N, C, H, W) float32, typical ones.
    """
    convolutions = [node.outputs[0] for node in exact.nodes if is_rounded(node, exact)]
    wanted = _means(exact, convolutions, images)
    for name in convolutions:
        shift = wanted[name] - _means(rounded, [name], images)[name]
        rounded = _shifted(rounded, name, shift)
    return rounded


def _means(graph: OnnxModel, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of each channel of tensors (N, C, H, W)."""
    inside = Inside(graph, names)
    sums = {name: np.zeros(1) for name in names}
    for start in range(0, len(images), _BATCH):
        for name, array in inside(images[start : start + _BATCH]).items():
            sums[name] = sums[name] + array.mean(axis=(2, 3), dtype=np.float64).sum(axis=0)
    return {name: total / len(images) for name, total in sums.items()}


def _shifted(graph: OnnxModel, output: str, shift: np.ndarray) -> OnnxModel:
    """The graph with `shift` added to the offset of the convolution that gives `output`."""
    place = next(i for i, node in enumerate(graph.nodes) if output in node.outputs)
    node = graph.nodes[place]
    before = graph.constants[node.inputs[2]] if len(node.inputs) > 2 else 0.0
    name = f"{output}_offset"
    constants = {**graph.constants, name: (before + shift).astype(np.float32)}
    nodes = list(graph.nodes)
    nodes[place] = node._replace(inputs=(*node.inputs[:2], name))
    used = {name for node in nodes for name in node.inputs}
    kept = {name: array for name, array in constants.items() if name in used}
    return replace(graph, nodes=tuple(nodes), constants=kept)
