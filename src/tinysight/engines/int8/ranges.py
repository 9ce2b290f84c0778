"""Which range of a tensor's values to spend 256 steps on, from real images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinysight.engines.int8.graph import Range, rounding
from tinysight.engines.int8.look import Inside
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import OnnxModel

_BINS = 2048
_SHARES = np.linspace(0.2, 1.0, 33)  # of the largest value that may be the range's end


def measure_ranges(
    graph: OnnxModel, names: Sequence[str], batches: Sequence[np.ndarray]
) -> dict[str, Range]:
    """The range of each tensor of `names` that loses least to rounding and cutting, over all images.

    The smallest value is kept, which for HardSwish is exact and near; the largest is moved down to
    where the sum of squared errors is least: a rare large value is cut, and all others are rounded
    more finely. The network's input keeps its full range.

    Args:
        graph: the network in float32.
        names: of tensors in it.
        batches: (N, C, H, W) float32, as the transforms give them.

    Raises:
        ExportError: no image.
    """
    if not batches:
        raise ExportError("--calibrate", "no image to calibrate on can be read")
    source = graph.inputs[0].name
    inside = Inside(graph, [name for name in names if name != source])
    widest = {source: _extent(batches)}
    for batch in batches:
        for name, array in inside(batch).items():
            low, high = widest.get(name, (np.inf, -np.inf))
            widest[name] = (min(low, float(array.min())), max(high, float(array.max())))
    counts = {name: np.zeros(_BINS) for name in inside.names}
    for batch in batches:
        for name, array in inside(batch).items():
            counts[name] += np.histogram(array, _BINS, widest[name])[0]
    best = {name: least_wrong(counts[name], *widest[name]) for name in inside.names}
    return {name: best.get(name, widest[name]) for name in names}


def _extent(batches: Sequence[np.ndarray]) -> Range:
    return min(float(b.min()) for b in batches), max(float(b.max()) for b in batches)


def least_wrong(counts: np.ndarray, low: float, high: float) -> Range:
    """The range whose rounding changes values least; `counts` of them from `low` to `high`, (2048,)."""
    if not high > max(low, 0.0):
        return low, high
    values = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS

    def error(end: float) -> float:
        scale, zero = rounding(low, end)
        steps = np.clip(np.rint(values / scale) + int(zero), 0, 255) - int(zero)
        return float(counts @ (steps * scale - values) ** 2)

    return low, min((float(high * share) for share in _SHARES[::-1]), key=error)
