"""An ONNX graph as a module of torch, for converters that start from torch.

What a bundle ships is its ONNX file; a module made of that file, and not of the checkpoint, is the
network that was checked, and exists for imported bundles too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from tinysight.engines.base import OnnxNetwork
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import Node, OnnxModel
from tinysight.models.graph_ops import OPERATORS, UNSUPPORTED, named_hard_sigmoid

_OPERATORS = {**OPERATORS, "HardSigmoid": named_hard_sigmoid}


class GraphModule(nn.Module):
    """The function of an ONNX graph with one input and one output.

    Args:
        graph: an inference graph in float32.

    Raises:
        ExportError: an operator, or a use of one, that is not supported.
    """

    def __init__(self, graph: OnnxModel) -> None:
        super().__init__()
        if unknown := sorted({n.op for n in graph.nodes} - set(OPERATORS)):
            hint = "engines that read ONNX: openvino, ncnn, mnn"
            raise ExportError("model.onnx", f"{UNSUPPORTED} {', '.join(unknown)}", hint)
        self._nodes: tuple[Node, ...] = graph.nodes
        self._input, self._output = graph.inputs[0].name, graph.outputs[0].name
        self._places: dict[str, str] = {}
        self._settings: dict[str, list[int] | float] = {}  # these steer, and are no data
        bounds = {name for node in graph.nodes if node.op == "Clip" for name in node.inputs[1:]}
        for i, (name, array) in enumerate(graph.constants.items()):
            if array.dtype.kind == "i":
                self._settings[name] = [int(v) for v in array.reshape(-1)]
            elif name in bounds:
                self._settings[name] = float(array.reshape(()))
            else:
                self._places[name] = f"constant_{i}"
                self.register_buffer(f"constant_{i}", torch.from_numpy(array.astype("float32")))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) for images (N, C, H, W)."""
        values: dict[str, Any] = {"": None, self._input: images, **self._settings}
        values |= {name: getattr(self, place) for name, place in self._places.items()}
        for node in self._nodes:
            given = [values[name] for name in node.inputs]
            values[node.outputs[0]] = _OPERATORS[node.op](given, node.attributes)
        result: Tensor = values[self._output]
        return result


def traceable(network: OnnxNetwork) -> tuple[nn.Module, tuple[Tensor]]:
    """The network as a module, and one image to trace it with."""
    return GraphModule(network.graph).eval(), (torch.zeros((1, *network.shape)),)


def exported(network: OnnxNetwork) -> torch.export.ExportedProgram:
    """The network as torch's program for one image."""
    return torch.export.export(*traceable(network))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the output, logs and warnings of converters; their errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
