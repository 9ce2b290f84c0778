"""int8: weights and activations of convolutions as whole numbers, calibrated on the user's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinysight.export.quantize.correct import corrected
from tinysight.export.quantize.graph import inputs_of_convolutions, quantized
from tinysight.export.quantize.ranges import measure_ranges
from tinysight.interop.onnx_format import read_onnx

__all__ = ["quantize"]

_CORRECTED_ON = 40  # pictures; means settle long before ranges do


def quantize(model: bytes, batches: Sequence[np.ndarray]) -> bytes:
    """The network of an ONNX file with its convolutions in int8.

    Args:
        model: the file, in float32.
        batches: typical pictures as the transforms give them, each (N, C, H, W) float32.

    Raises:
        ExportError: no picture.
    """
    graph = read_onnx(model)
    ranges = measure_ranges(graph, inputs_of_convolutions(graph), batches)
    few = np.concatenate(batches)[:_CORRECTED_ON]
    return corrected(graph, quantized(graph, ranges), few).to_bytes()
