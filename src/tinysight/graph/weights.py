"""Weights of an ONNX file whose batch norms are not fused, layer by layer in the order of the graph (NumPy shore).

The names in such files are the exporter's (`conv2d_0.w_0_deepcopy_0`) and say nothing; the order of the layers does.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.errors import WeightsError
from tinysight.graph.onnx_file import ExternalData, Node, OnnxModel, read_onnx
from tinysight.graph.protobuf import WireError

KINDS = ("conv", "norm", "linear")
_KIND_OF = {"Conv": "conv", "BatchNormalization": "norm", "Gemm": "linear", "MatMul": "linear"}
# Operators that keep a constant's values.
_PASS = ("Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Cast")
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
    """
    where = str(path)
    try:
        return _Graph(read_onnx(Path(path).read_bytes())).read()
    except OSError as error:
        raise WeightsError(where, (error.strerror or str(error)).lower()) from None
    except WireError as error:
        raise WeightsError(where, f"damaged, or no ONNX file: {error}") from None
    except ExternalData:
        raise WeightsError(where, "its weights lie in other files", "save it as one file") from None
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise WeightsError(where, f"damaged: {str(error)[:100]}") from None


class _Graph:
    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.root: dict[str, str] = {}  # value -> the constant that it is, under other names
        self.constants = dict(model.constants)
        for node in model.nodes:
            if node.op == "Constant" and isinstance(node.attributes.get("value"), np.ndarray):
                self.constants[node.outputs[0]] = node.attributes["value"]
            elif node.op in _PASS and self._name(node.inputs[0]) in self.constants:
                self.root[node.outputs[0]] = self._name(node.inputs[0])
        self.used: set[str] = set()

    def read(self) -> OnnxWeights:
        layers: list[Layer] = []
        makes: dict[str, Layer] = {}  # output of a layer that may still get its bias
        for node in self.model.nodes:
            if node.op == "Add":
                self._bias(node, makes)
            elif layer := self._layer(node):
                layers.append(layer)
                if layer.kind != "norm" and "bias" not in layer.arrays:
                    makes[node.outputs[0]] = layer
        unused = ((n, a) for n, a in self.constants.items() if n not in self.used)
        spare = [name for name, a in unused if a.dtype.kind == "f" and a.size > 1]
        shape = self.model.inputs[0].shape if self.model.inputs else ()
        sides = tuple(side if isinstance(side, int) else 0 for side in shape[1:])
        return OnnxWeights(layers, spare, sides)

    def _layer(self, node: Node) -> Layer | None:
        if node.op not in _KIND_OF or self._array(node.inputs[1]) is None:
            return None
        kind, name = _KIND_OF[node.op], node.name or node.outputs[0]
        values = [self._take(name) for name in node.inputs[1:] if name]
        if kind == "linear" and not node.attributes.get("transB"):
            values[0] = values[0].T
        return Layer(kind, name, dict(zip(_NORM, values, strict=kind == "norm")))

    def _bias(self, node: Node, makes: dict[str, Layer]) -> None:
        for here, there in (node.inputs, node.inputs[::-1]):
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
