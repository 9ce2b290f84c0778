"""int8 quantisation of convolutions, weights and activations, calibrated on the user's images.

The placement matters more than the numbers. In front of every convolution stands one pair of QuantizeLinear
and DequantizeLinear, and its weights come out of a DequantizeLinear by output channel; the offset stays
float32, and nothing stands between a convolution and the activation behind it. OpenVINO then makes one
operator of convolution, offset, HardSwish and the rounding for the next convolution, and whole numbers
are all that passes from one to the next. HardSwish spelt out in primitive operators, or a pair between
it and its convolution, breaks that chain, and int8 is then slower than float32.

HardSwish reaches down to -0.375, and most of what it gives lies near there: its range is rounded with a
zero point, for half as coarse a step as a range around 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import Node, OnnxModel, Port, read_onnx

Range = tuple[float, float]
_STEPS = 255  # between the smallest and the largest uint8
_BINS = 2048
_SHARES = np.linspace(0.2, 1.0, 33)  # of the largest value, tried as the end of the range
_CORRECTED_ON = 40  # images; means settle long before ranges do
_BATCH = 8


def quantize(model: bytes, images: np.ndarray) -> bytes:
    """The network of an ONNX file with its convolutions in int8.

    Args:
        model: contents of the file, in float32.
        images: typical images as the transforms give them, (N, C, H, W) float32.

    Raises:
        ExportError: there is no image.
    """
    graph = read_onnx(model)
    ranges = measure_ranges(graph, convolution_inputs(graph), images)
    return corrected(graph, quantized(graph, ranges), images[:_CORRECTED_ON]).to_bytes()


def convolution_inputs(graph: OnnxModel) -> tuple[str, ...]:
    """The tensors to be rounded, each once."""
    return tuple(dict.fromkeys(node.inputs[0] for node in graph.nodes if _is_rounded(node, graph)))


def _is_rounded(node: Node, graph: OnnxModel) -> bool:
    return node.op == "Conv" and node.inputs[1] in graph.constants


def values_of(graph: OnnxModel, names: Sequence[str]) -> Callable[[np.ndarray], dict[str, Any]]:
    """A function from images (N, C, H, W) to the values of tensors of rank 4 inside the graph, by name."""
    if not names:
        return lambda batch: {}
    last = max(i for i, node in enumerate(graph.nodes) if set(node.outputs) & set(names))
    # Their sizes are left open; of a convolution's output the rank is known.
    ports = tuple(Port(name, np.dtype(np.float32), (None,) * 4) for name in names)
    part = replace(graph, nodes=graph.nodes[: last + 1], outputs=ports)
    engine, source = OnnxRuntime(_without_unused(part).to_bytes()), graph.inputs[0].name
    return lambda batch: dict(zip(names, engine.run_all({source: batch}), strict=True))


def _without_unused(graph: OnnxModel) -> OnnxModel:
    used = {name for node in graph.nodes for name in node.inputs}
    return replace(graph, constants={k: v for k, v in graph.constants.items() if k in used})


def measure_ranges(graph: OnnxModel, names: Sequence[str], images: np.ndarray) -> dict[str, Range]:
    """The range of each tensor of `names` that loses least to rounding and cutting, over all images.

    The smallest value is kept, which for HardSwish is exact and near; the largest is moved down to
    where the sum of squared errors is least: a rare large value is cut, and all others are rounded
    more finely. The network's input keeps its full range.

    Args:
        graph: the network in float32.
        names: names of tensors in it.
        images: (N, C, H, W) float32, as the transforms give them.

    Raises:
        ExportError: there is no image.
    """
    if not len(images):
        raise ExportError("--calibrate", "no image to calibrate on can be read")
    source = graph.inputs[0].name
    inner = [name for name in names if name != source]
    values = values_of(graph, inner)
    widest: dict[str, Range] = {}
    for batch in _batches(images):
        for name, array in {source: batch, **values(batch)}.items():
            low, high = widest.get(name, (np.inf, -np.inf))
            widest[name] = (min(low, float(array.min())), max(high, float(array.max())))
    counts = {name: np.zeros(_BINS) for name in inner}
    for batch in _batches(images):
        for name, array in values(batch).items():
            counts[name] += np.histogram(array, _BINS, widest[name])[0]
    return widest | {name: best_range(counts[name], *widest[name]) for name in inner}


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))


def best_range(counts: np.ndarray, low: float, high: float) -> Range:
    """The range whose rounding changes values least.

    Args:
        counts: histogram of the values in 2048 bins from `low` to `high`.
        low: smallest value.
        high: largest value.
    """
    if not high > max(low, 0.0):
        return low, high
    values = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS

    def error(end: float) -> float:
        scale, zero = rounding(low, end)
        steps = np.clip(np.rint(values / scale) + int(zero), 0, _STEPS) - int(zero)
        return float(counts @ (steps * scale - values) ** 2)

    return low, min((float(high * share) for share in _SHARES[::-1]), key=error)


def rounding(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for a range; 0 is always in it, and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max((high - low) / _STEPS, np.finfo(np.float32).tiny))
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, _STEPS))


def rounded_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (O, ...) as int8 from -127 to 127, a scale for each output channel, and zero points of 0."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    by_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))
    values = np.clip(np.rint(weight / by_channel), -127, 127).astype(np.int8)
    return values, scale, np.zeros(len(weight), np.int8)


def quantized(graph: OnnxModel, ranges: Mapping[str, Range]) -> OnnxModel:
    """The same network with its convolutions in int8.

    Args:
        graph: the network in float32.
        ranges: smallest and largest value of each of `convolution_inputs`.
    """
    constants = dict(graph.constants)
    nodes: list[Node] = []
    rounded: dict[str, str] = {}
    for node in graph.nodes:
        if not _is_rounded(node, graph):
            nodes.append(node)
            continue
        source, weight = node.inputs[:2]
        if source not in rounded:
            rounded[source] = f"{source}_rounded"
            values, scale, zero = (f"{source}_{part}" for part in ("int8", "scale", "zero"))
            constants |= zip((scale, zero), map(np.array, rounding(*ranges[source])), strict=True)
            nodes.append(Node("QuantizeLinear", (source, scale, zero), (values,), {}))
            nodes.append(Node("DequantizeLinear", (values, scale, zero), (rounded[source],), {}))
        names = (f"{weight}_int8", f"{weight}_scale", f"{weight}_zero")
        constants |= zip(names, rounded_weight(graph.constants[weight]), strict=True)
        nodes.append(Node("DequantizeLinear", names, (f"{weight}_rounded",), {"axis": 0}))
        nodes.append(node._replace(inputs=(rounded[source], f"{weight}_rounded", *node.inputs[2:])))
    return _without_unused(replace(graph, nodes=tuple(nodes), constants=constants))


def corrected(exact: OnnxModel, rounded: OnnxModel, images: np.ndarray) -> OnnxModel:
    """`rounded` with offsets that give each channel of each convolution its mean in `exact`.

    Rounding moves the mean of what a convolution gives; its offset moves it back, layer by layer from
    the first, since what comes later is measured on what comes before. Costs nothing when the network
    runs.

    Args:
        exact: the network in float32.
        rounded: the same after `quantized`.
        images: typical ones, (N, C, H, W) float32.

    Source: bias correction as in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
    Correction" (2019), here on images.
    """
    names = [node.outputs[0] for node in exact.nodes if _is_rounded(node, exact)]
    means = _means(exact, names, images)
    for name in names:
        rounded = _shifted(rounded, name, means[name] - _means(rounded, [name], images)[name])
    return rounded


def _means(graph: OnnxModel, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of each channel of tensors (N, C, H, W)."""
    values = values_of(graph, names)
    sums = {name: np.zeros(1) for name in names}
    for batch in _batches(images):
        for name, array in values(batch).items():
            sums[name] = sums[name] + array.mean(axis=(2, 3), dtype=np.float64).sum(axis=0)
    return {name: total / len(images) for name, total in sums.items()}


def _shifted(graph: OnnxModel, output: str, shift: np.ndarray) -> OnnxModel:
    """The graph with `shift` added to the offset of the convolution that gives `output`."""
    nodes = list(graph.nodes)
    i = next(i for i, node in enumerate(nodes) if output in node.outputs)
    inputs = nodes[i].inputs
    before = graph.constants[inputs[2]] if len(inputs) > 2 else 0.0
    name = f"{output}_offset"
    constants = {**graph.constants, name: (before + shift).astype(np.float32)}
    nodes[i] = nodes[i]._replace(inputs=(*inputs[:2], name))
    return _without_unused(replace(graph, nodes=tuple(nodes), constants=constants))
