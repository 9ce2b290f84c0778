"""Between which values the tensors of a network lie, on real pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tinysight.errors import ExportError
from tinysight.export.quantize.graph import Range
from tinysight.interop.onnx_format import OnnxModel, Port
from tinysight.runtime.onnx import OnnxSession


def measure_ranges(
    graph: OnnxModel, names: Sequence[str], batches: Iterable[np.ndarray]
) -> dict[str, Range]:
    """Smallest and largest value of each tensor of `names` over all pictures.

    Args:
        graph: the network in float32.
        names: of tensors in it.
        batches: (N, C, H, W) float32, as the transforms give them.

    Raises:
        ExportError: no picture.
    """
    source = graph.inputs[0].name
    inner = [name for name in names if name != source]
    # Their shapes are nobody's business: a rank of 4 with open sides is what convolutions take.
    ports = [Port(name, np.dtype(np.float32), (None,) * 4) for name in inner]
    session = OnnxSession(replace(graph, outputs=(*ports, *graph.outputs)).to_bytes())
    found: dict[str, Range] = {}
    for batch in batches:
        values = dict(zip(inner, session.run_all({source: batch}), strict=False))
        for name, array in {source: batch, **values}.items():
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = (min(low, float(array.min())), max(high, float(array.max())))
    if not found:
        raise ExportError("--calibrate", "no picture to calibrate on can be read")
    return found
