"""int8: weights and activations of convolutions as whole numbers, calibrated on the user's images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinysight.engines.int8.correct import corrected
from tinysight.engines.int8.graph import inputs_of_convolutions, quantized
from tinysight.engines.int8.ranges import measure_ranges
from tinysight.graph.onnx_file import read_onnx

__all__ = ["quantize"]

_CORRECTED_ON = 40  # images; means settle long before ranges do


def quantize(model: bytes, batches: Sequence[np.ndarray]) -> bytes:
    """The network of an ONNX file with its convolutions in int8.

    Args:
        model: the file, in float32.
        batches: typical images as the transforms give them, each (N, C, H, W) float32.

    Raises:
        ExportError: no image.
    """
    graph = read_onnx(model)
    ranges = measure_ranges(graph, inputs_of_convolutions(graph), batches)
    few = np.concatenate(batches)[:_CORRECTED_ON]
    return corrected(graph, quantized(graph, ranges), few).to_bytes()
