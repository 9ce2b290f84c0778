"""An exported program of another framework as a network that learns.

The program says how to compute, its weights are the parameters, under the names that it gives them, and its batch
normalisations are layers of their own, as they were before anything was folded. What an export leaves out stays out:
dropout. The last linear layer is the classifier; another number of classes gets a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from tinysight.errors import ConfigError, ExportError
from tinysight.foreign import TrainableProgram, read_program
from tinysight.graph.onnx_file import Node, OnnxModel
from tinysight.models.base import Backbone
from tinysight.models.graph_ops import OPERATORS, UNSUPPORTED
from tinysight.models.layers import BatchNorm2d
from tinysight.registry import backbones

PREFIX = "program"
_ENDS = ("Softmax", "Sigmoid", "Identity")  # behind the logits
_NORM, _TABLES = "BatchNormalization", ("Gather",)


class _Norm(BatchNorm2d):
    """Batch normalisation of (N, C, ...)."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class ProgramNetwork(Backbone):
    """The network of a program.

    Args:
        program: graph and weights.
        num_classes: width of the logits; the program's own keeps its classifier, 0 leaves it out.
        where: for messages.

    Raises:
        ConfigError: another number of classes than the program's, which ends in no linear layer.
        ExportError: an operator that is not supported.
    """

    trunk = ()
    stage_names = ()
    classifier_name = "classifier"

    def __init__(self, program: TrainableProgram, num_classes: int, where: str = "") -> None:
        super().__init__()
        graph, weights = program.graph, dict(program.weights)
        if unknown := sorted({n.op for n in graph.nodes} - {*OPERATORS, _NORM}):
            raise ExportError(where, f"{UNSUPPORTED} {', '.join(unknown)}")
        makers = {name: node for node in graph.nodes for name in node.outputs}
        self._input, logits = graph.inputs[0].name, graph.outputs[0].name
        while logits in makers and makers[logits].op in _ENDS:
            logits = makers[logits].inputs[0]
        self._output, weight, bias = _classifier(logits, makers, weights)
        if weight is None:
            own = graph.outputs[0].shape[-1]
            if num_classes not in (0, own):
                what = f"ends in no linear layer, so it keeps its {own} classes"
                raise ConfigError(where, what)
            self.features = int(own or 0)
            self.classifier: nn.Module = nn.Identity()
        else:
            matrix = weights.pop(weight)
            matrix = matrix if matrix.ndim == 2 else matrix[:, :, 0, 0].T
            self.features = len(matrix)
            self.classifier = self._linear(matrix, weights.pop(bias, None), num_classes)
        self._nodes = _needed(graph, self._output)
        self._add_weights(graph, weights)
        self._last = {name: i for i, node in enumerate(self._nodes) for name in node.inputs}
        side = graph.inputs[0].shape[-1]
        self.input_size = side if isinstance(side, int) and side > 0 else 224

    def _linear(self, weight: np.ndarray, bias: np.ndarray | None, num_classes: int) -> nn.Module:
        layer = self.build_classifier(num_classes)
        if num_classes == weight.shape[1]:
            layer.weight.data = _tensor(weight.T)
            layer.bias.data = torch.zeros(num_classes) if bias is None else _tensor(bias)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    def _add_weights(self, graph: OnnxModel, weights: dict[str, np.ndarray]) -> None:
        """Parameters, layers of normalisation, and constants, under the values that they stand for."""
        self._places: dict[str, str] = {}
        self._settings: dict[str, list[int]] = {}
        constants = {**graph.constants, **weights}
        names = {n for node in self._nodes for n in node.inputs}
        for node in (n for n in self._nodes if n.op == _NORM):
            scale, bias, mean, variance = (constants[name] for name in node.inputs[1:])
            path = node.inputs[3].rpartition(".")[0] or node.inputs[3]
            if self._child(path) is None:
                layer = _Norm(len(mean), eps=node.attributes["epsilon"])
                state = {
                    "weight": scale,
                    "bias": bias,
                    "running_mean": mean,
                    "running_var": variance,
                }
                layer.load_state_dict({k: _tensor(v) for k, v in state.items()}, strict=False)
                self._set(path, layer)
            self._places[node.outputs[0]] = path
            names -= {*node.inputs[1:]}
        tables = {n.inputs[1] for n in self._nodes if n.op in _TABLES}
        for i, name in enumerate(sorted(names & constants.keys())):
            array = constants[name]
            if name in weights:
                self._set(name, nn.Parameter(_tensor(array)))
                self._places[name] = name
            elif array.dtype.kind == "f" or (name in tables and array.ndim + array.size > 2):
                kept = torch.from_numpy(np.array(array))
                self.register_buffer(f"constant_{i}", kept, persistent=False)
                self._places[name] = f"constant_{i}"
            else:
                self._settings[name] = [int(v) for v in array.reshape(-1)]

    def _child(self, path: str) -> object | None:
        found: object | None = self
        for part in path.split("."):
            found = getattr(found, part, None)
        return found

    def _set(self, path: str, value: nn.Module | nn.Parameter) -> None:
        """Make `value` a part of the network under a dotted path."""
        *parents, last = path.split(".")
        owner: nn.Module = self
        for part in parents:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        setattr(owner, last, value)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, D) or (N, D, 1, 1), what the classifier takes."""
        values: dict[str, object] = {"": None, self._input: x, **self._settings}
        for i, node in enumerate(self._nodes):
            if node.op == _NORM:
                given = values[node.inputs[0]]
                values[node.outputs[0]] = self.get_submodule(self._places[node.outputs[0]])(given)
            else:
                inputs = [
                    values[n] if n in values else self._child(self._places[n]) for n in node.inputs
                ]
                made = OPERATORS[node.op](inputs, node.attributes)
                several = made if isinstance(made, tuple) else (made,)
                values.update(zip(node.outputs, several, strict=False))
            for name in node.inputs:  # what nobody takes any more is not kept
                if self._last[name] == i and name in values and name != "":
                    del values[name]
        found = values[self._output]
        assert isinstance(found, Tensor)
        return found

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, D) or (N, D, 1, 1) -> (N, D)."""
        return features.flatten(1)

    def forward_stages(self, x: Tensor) -> Mapping[str, Tensor]:
        """Not offered.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("forward_stages", "a program has no feature maps by stage")


def _classifier(
    logits: str, makers: Mapping[str, Node], weights: Mapping[str, np.ndarray]
) -> tuple[str, str | None, str]:
    """What the last linear layer takes, and the names of its weight and bias; the logits and None without one.

    It may be a 1 x 1 convolution of a map of one place, whose result is reshaped.
    """
    node, bias = makers.get(logits), ""
    while node and node.op == "Reshape" and node.inputs[0] in makers:
        node = makers[node.inputs[0]]
    if node and node.op == "Add":
        for taken, other in (node.inputs, node.inputs[::-1]):
            given = makers[other].inputs[0] if other in makers else other  # a bias may be reshaped
            if given in weights and weights[given].ndim == 1:
                node, bias = makers.get(taken), given
                break
    if node is None or len(node.inputs) < 2 or node.inputs[1] not in weights:
        return logits, None, ""
    weight = weights[node.inputs[1]]
    linear = node.op == "MatMul" and weight.ndim == 2
    if not linear and not (
        node.op == "Conv" and weight.shape[2:] == (1, 1) and not node.inputs[2:]
    ):
        return logits, None, ""
    reshaped = makers[logits].op == "Reshape"
    return (node.inputs[0], node.inputs[1], bias) if linear or reshaped else (logits, None, "")


def _needed(graph: OnnxModel, output: str) -> tuple[Node, ...]:
    """The nodes that `output` depends on, in order."""
    wanted, kept = {output}, []
    for node in reversed(graph.nodes):
        if wanted & {*node.outputs}:
            kept.append(node)
            wanted |= {*node.inputs}
    return tuple(reversed(kept))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


@lru_cache(maxsize=1)
def _read(name: str) -> TrainableProgram:
    return read_program(name)


def from_recipe(name: str, where: str) -> Callable[..., ProgramNetwork]:
    """What a recipe's `program/<folder or public name>` builds, with the program's weights.

    Raises:
        ConfigError: no such folder or public model.
        WeightsError: it cannot be read.
    """
    program = _read(name)

    def network(num_classes: int = 1000) -> ProgramNetwork:
        """A network of an exported program."""
        return ProgramNetwork(program, num_classes, where or f"{PREFIX}/{name}")

    return network


backbones.provide(PREFIX, from_recipe)
