"""Weights of an ONNX file whose batch norms are not fused, layer by layer in the order of the graph (NumPy shore).

The names in such files are the exporter's (`conv2d_0.w_0_deepcopy_0`) and say nothing; the order of the layers does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.errors import MissingDependency, WeightsError

KINDS = ("conv", "norm", "linear")
_PASS = (
    "Identity",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
    "Cast",
)  # keep a constant's values
_NORM = ("weight", "bias", "running_mean", "running_var")


class Layer(NamedTuple):
    """One layer: its kind (of `KINDS`), the name of its node, arrays by PyTorch's leaf names and in its layout."""

    kind: str
    name: str
    arrays: dict[str, np.ndarray]


class OnnxWeights(NamedTuple):
    """Layers in the order of the graph, constants that belong to none, and the graph's input (C, H, W)."""

    layers: list[Layer]
    left_over: list[str]
    input_shape: tuple[int, ...]


def read_onnx_weights(path: Path | str) -> OnnxWeights:
    """Convolutions, batch norms and linear layers of the ONNX file `path`.

    A bias that the exporter wrote as an addition of its own belongs to the layer before it. Nothing outside the file is
    read.

    Raises:
        WeightsError: no ONNX file, damaged, or with weights in other files.
        MissingDependency: `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependency("onnx", "train", "reading weights of an ONNX file") from None
    where = str(path)
    try:
        model = onnx.load_model_from_string(Path(path).read_bytes())
    except OSError as error:
        raise WeightsError(where, (error.strerror or str(error)).lower()) from None
    except Exception:  # protobuf's own error, which is no subclass of anything
        raise WeightsError(where, "damaged, or no ONNX file") from None
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise WeightsError(where, "its weights lie in other files", "save it as one file")
    try:
        return _Graph(model.graph).read()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise WeightsError(where, f"damaged: {str(error)[:100]}") from None


class _Graph:
    def __init__(self, graph: Any) -> None:
        from onnx import helper, numpy_helper

        self.graph = graph
        self.root: dict[str, str] = {}  # value -> the constant that it is, under other names
        self.constants: dict[str, np.ndarray] = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer
        }
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                value = helper.get_attribute_value(node.attribute[0])
                self.constants[node.output[0]] = numpy_helper.to_array(value)
            elif node.op_type in _PASS and self._name(node.input[0]) in self.constants:
                self.root[node.output[0]] = self._name(node.input[0])
        self.used: set[str] = set()

    def read(self) -> OnnxWeights:
        layers: list[Layer] = []
        makes: dict[str, Layer] = {}  # output of a layer that may still get its bias
        for node in self.graph.node:
            if node.op_type == "Add":
                self._bias(node, makes)
                continue
            layer = self._layer(node)
            if layer:
                layers.append(layer)
                if layer.kind != "norm" and "bias" not in layer.arrays:
                    makes[node.output[0]] = layer
        spare = [n for n, a in self.constants.items() if n not in self.used and _is_weight(a)]
        shape = self.graph.input[0].type.tensor_type.shape.dim if self.graph.input else []
        return OnnxWeights(layers, spare, tuple(int(d.dim_value) for d in shape[1:]))

    def _layer(self, node: Any) -> Layer | None:
        kind = {"Conv": "conv", "BatchNormalization": "norm", "Gemm": "linear", "MatMul": "linear"}
        if node.op_type not in kind or self._array(node.input[1]) is None:
            return None
        values = [self._take(name) for name in node.input[1:] if name]
        if node.op_type == "BatchNormalization":
            return Layer("norm", node.name or node.output[0], dict(zip(_NORM, values, strict=True)))
        weight = values[0]
        attributes = {a.name: a for a in node.attribute}
        if kind[node.op_type] == "linear" and not (
            "transB" in attributes and attributes["transB"].i
        ):
            weight = weight.T
        arrays = dict(zip(("weight", "bias"), [weight, *values[1:]], strict=False))
        return Layer(kind[node.op_type], node.name or node.output[0], arrays)

    def _bias(self, node: Any, makes: dict[str, Layer]) -> None:
        for here, there in (node.input, reversed(node.input)):
            layer, value = makes.get(here), self._array(there)
            if layer and value is not None and value.size == len(layer.arrays["weight"]):
                layer.arrays["bias"] = self._take(there).reshape(-1)
                del makes[here]
                return

    def _name(self, value: str) -> str:
        return self.root.get(value, value)

    def _array(self, value: str) -> np.ndarray | None:
        return self.constants.get(self._name(value))

    def _take(self, value: str) -> np.ndarray:
        self.used.add(self._name(value))
        return self.constants[self._name(value)]


def _is_weight(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size > 1
