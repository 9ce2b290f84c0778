"""Look at tensors inside a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinysight.engines.onnxruntime import OnnxSession
from tinysight.graph.onnx_file import OnnxModel, Port


class Inside:
    """Values of tensors of rank 4 within a graph, for batches of images.

    Args:
        graph: nodes behind the last of these tensors are left out.
        names: of the tensors.
    """

    def __init__(self, graph: OnnxModel, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._source = graph.inputs[0].name
        made = [i for i, node in enumerate(graph.nodes) if set(node.outputs) & set(names)]
        nodes = graph.nodes[: max(made, default=-1) + 1]
        used = {name for node in nodes for name in node.inputs}
        # Their sides are nobody's business; of a convolution's output the rank is known.
        ports = tuple(Port(name, np.dtype(np.float32), (None,) * 4) for name in self.names)
        constants = {name: array for name, array in graph.constants.items() if name in used}
        part = replace(graph, nodes=nodes, constants=constants, outputs=ports)
        self._session = OnnxSession(part.to_bytes()) if names else None

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Each tensor's value, by name."""
        if self._session is None:
            return {}
        return dict(zip(self.names, self._session.run_all({self._source: batch}), strict=True))
