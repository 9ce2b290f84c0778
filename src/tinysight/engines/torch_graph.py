"""An ONNX graph as a module of torch, for converters that start from torch.

What a bundle ships is its ONNX file; a module made of that file, and not of the checkpoint, is the
network that was checked, and exists for imported bundles too.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.engines.base import OnnxNetwork
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import Node, OnnxModel

Attributes = Mapping[str, Any]
_UNSUPPORTED = "ONNX-to-torch conversion does not support"


class GraphModule(nn.Module):
    """The function of an ONNX graph with one input and one output.

    Args:
        graph: an inference graph in float32.

    Raises:
        ExportError: an operator, or a use of one, that is not supported.
    """

    def __init__(self, graph: OnnxModel) -> None:
        super().__init__()
        if unknown := sorted({n.op for n in graph.nodes} - set(_OPERATORS)):
            hint = "engines that read ONNX: openvino, ncnn, mnn"
            raise ExportError("model.onnx", f"{_UNSUPPORTED} {', '.join(unknown)}", hint)
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


def _padded(x: Tensor, a: Attributes, fill: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """The image with its asymmetric padding added, and the symmetric padding that remains to be done."""
    if a.get("auto_pad", "NOTSET") != "NOTSET":
        raise ExportError("model.onnx", f"{_UNSUPPORTED} auto_pad {a['auto_pad']}")
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def _conv(v: list[Any], a: Attributes) -> Tensor:
    x, padding = _padded(v[0], a)
    stride, dilation = list(a.get("strides", (1, 1))), list(a.get("dilations", (1, 1)))
    bias = v[2] if len(v) > 2 else None
    return F.conv2d(x, v[1], bias, stride, list(padding), dilation, a.get("group", 1))


def _max_pool(v: list[Any], a: Attributes) -> Tensor:
    # Where the padding is one-sided it is written out, with what no maximum notices.
    x, padding = _padded(v[0], a, -math.inf)
    return F.max_pool2d(
        x, list(a["kernel_shape"]), list(a.get("strides", (1, 1))), list(padding),
        list(a.get("dilations", (1, 1))), bool(a.get("ceil_mode", 0)),
    )  # fmt: skip


def _average_pool(v: list[Any], a: Attributes) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise ExportError("model.onnx", f"{_UNSUPPORTED} one-sided padding of means")
    return F.avg_pool2d(
        v[0], list(a["kernel_shape"]), list(a.get("strides", (1, 1))), [top, left],
        bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)),
    )  # fmt: skip


def _gemm(v: list[Any], a: Attributes) -> Tensor:
    x = v[0].t() if a.get("transA") else v[0]
    weight = v[1] if a.get("transB") else v[1].t()
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    bias = v[2] if len(v) > 2 else None
    bias = bias if bias is None or beta == 1 else bias * beta
    return F.linear(x, weight * alpha if alpha != 1 else weight, bias)


def _hard_sigmoid(v: list[Any], a: Attributes) -> Tensor:
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(v[0])  # which converters know by name
    return torch.clamp(v[0] * alpha + beta, 0.0, 1.0)


def _reshape(v: list[Any], a: Attributes) -> Tensor:
    keep = not a.get("allowzero")  # a side of 0 stays as it is
    sides = [v[0].shape[i] if keep and side == 0 else side for i, side in enumerate(v[1])]
    return torch.reshape(v[0], sides)


def _reduce_mean(v: list[Any], a: Attributes) -> Tensor:
    axes = v[1] if len(v) > 1 else list(a["axes"])
    return torch.mean(v[0], axes, keepdim=bool(a.get("keepdims", 1)))


_OPERATORS: Mapping[str, Callable[[list[Any], Attributes], Tensor]] = {
    "Add": lambda v, a: v[0] + v[1],
    "AveragePool": _average_pool,
    "Clip": lambda v, a: torch.clamp(*v),
    "Concat": lambda v, a: torch.cat(v, a["axis"]),
    "Conv": _conv,
    "Div": lambda v, a: v[0] / v[1],
    "Flatten": lambda v, a: torch.flatten(v[0], a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda v, a: F.adaptive_avg_pool2d(v[0], 1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda v, a: F.hardswish(v[0]),
    "Identity": lambda v, a: v[0],
    "MatMul": lambda v, a: torch.matmul(*v),
    "MaxPool": _max_pool,
    "Mul": lambda v, a: v[0] * v[1],
    "ReduceMean": _reduce_mean,
    "Relu": lambda v, a: F.relu(v[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda v, a: torch.sigmoid(v[0]),
    "Softmax": lambda v, a: torch.softmax(v[0], a.get("axis", -1)),
    "Sub": lambda v, a: v[0] - v[1],
}
