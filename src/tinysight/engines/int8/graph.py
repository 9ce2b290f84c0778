"""A graph whose convolutions read and multiply int8.

The form matters more than the numbers. In front of every convolution stands one pair of QuantizeLinear
and DequantizeLinear, and its weights come out of a DequantizeLinear by output channel; the offset stays
float32, and nothing stands between a convolution and the activation behind it. OpenVINO then makes one
operator of convolution, offset, HardSwish and the rounding for the next convolution, and whole numbers
are all that passes from one to the next. HardSwish spelt out in primitive operators, or a pair between
it and its convolution, breaks that chain, and int8 is then slower than float32.

HardSwish reaches down to -0.375, and most of what it gives lies near there: its range is rounded with a
zero point, for half as coarse a step as a range around 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinysight.graph.onnx_file import Node, OnnxModel

Range = tuple[float, float]
_STEPS = 255  # between the smallest and the largest uint8


def inputs_of_convolutions(graph: OnnxModel) -> tuple[str, ...]:
    """The tensors to be rounded, each once."""
    found = (n.inputs[0] for n in graph.nodes if is_rounded(n, graph))
    return tuple(dict.fromkeys(found))


def quantized(graph: OnnxModel, ranges: Mapping[str, Range]) -> OnnxModel:
    """The same network with its convolutions in int8.

    Args:
        graph: in float32.
        ranges: smallest and largest value of each of `inputs_of_convolutions`.
    """
    constants = dict(graph.constants)
    nodes: list[Node] = []
    rounded: dict[str, str] = {}
    for node in graph.nodes:
        if not is_rounded(node, graph):
            nodes.append(node)
            continue
        source, weight = node.inputs[:2]
        if source not in rounded:
            rounded[source] = f"{source}_rounded"
            constants |= _activation(source, ranges[source])
            scale, zero = f"{source}_scale", f"{source}_zero"
            nodes.append(Node("QuantizeLinear", (source, scale, zero), (f"{source}_int8",), {}))
            inputs = (f"{source}_int8", scale, zero)
            nodes.append(Node("DequantizeLinear", inputs, (rounded[source],), {}))
        names = (f"{weight}_int8", f"{weight}_scale", f"{weight}_zero")
        constants |= dict(zip(names, rounded_weight(graph.constants[weight]), strict=True))
        nodes.append(Node("DequantizeLinear", names, (f"{weight}_rounded",), {"axis": 0}))
        read = (rounded[source], f"{weight}_rounded", *node.inputs[2:])
        nodes.append(node._replace(inputs=read))
    used = {name for node in nodes for name in node.inputs}
    kept = {name: array for name, array in constants.items() if name in used}
    return replace(graph, nodes=tuple(nodes), constants=kept)


def rounded_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (O, ...) as int8 from -127 to 127, one scale an output channel, and zero points of 0."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    by_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))
    values = np.clip(np.rint(weight / by_channel), -127, 127).astype(np.int8)
    return values, scale, np.zeros(len(weight), np.int8)


def rounding(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for a range; 0 is always in it, and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max((high - low) / _STEPS, np.finfo(np.float32).tiny))
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, _STEPS))


def _activation(name: str, limits: Range) -> dict[str, np.ndarray]:
    scale, zero = rounding(*limits)
    return {f"{name}_scale": np.array(scale), f"{name}_zero": np.array(zero)}


def is_rounded(node: Node, graph: OnnxModel) -> bool:
    """Whether `quantized` rounds this node: a convolution whose weights are constants."""
    return node.op == "Conv" and node.inputs[1] in graph.constants
