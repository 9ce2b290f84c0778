"""Fuses linear operators into the weights of their neighbours and removes operators that change nothing.

Engines fuse some of this themselves when a session starts, but not all of it, and not all engines. Every rewrite keeps
the function; sums are done in float64 before weights are rounded again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinysight.graph.builder import Graph, Operation
from tinysight.graph.cleanup import Cleanup
from tinysight.graph.sides import Side

_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
_LINEAR = ("Reshape", "Transpose", "GlobalAveragePool", "AveragePool")


@dataclass
class _Affine:
    """`y = x * scale + offset` along one axis of `x` (both scalars or vectors of that axis)."""

    source: str
    axis: int
    scale: Any
    offset: Any


class _Fuser(Cleanup):
    """Affine maps into weights."""

    def affine(self, node: Operation) -> _Affine | None:
        """How `node` is affine in one of its inputs; None if it is not."""
        if node.op == "BatchNormalization":
            parts = [self.constant(n) for n in node.inputs[1:]]
            if any(p is None for p in parts) or self.constant(node.inputs[0]) is not None:
                return None
            scale, bias, mean, variance = (np.asarray(p, np.float64) for p in parts)
            factor = scale / np.sqrt(variance + node.attributes["epsilon"])
            return _Affine(node.inputs[0], 1, factor, bias - mean * factor)
        if node.op not in ("Mul", "Add", "Sub", "Div"):
            return None
        for source, other in (node.inputs, node.inputs[::-1]):
            value = self.constant(other)
            if value is None or source not in self.graph.tensors or value.dtype.kind != "f":
                continue
            if node.op in ("Sub", "Div") and source != node.inputs[0]:
                return None
            shape, made = self.shape(source), self.shape(node.outputs[0])
            vector = self.along_one_axis(value, shape) if shape == made else None
            if vector is None:
                return None
            axis, values = vector
            if node.op in ("Add", "Sub"):
                return _Affine(source, axis, 1.0, values if node.op == "Add" else -values)
            if node.op == "Div":
                return _Affine(source, axis, 1 / values, 0.0) if np.all(values) else None
            return _Affine(source, axis, values, 0.0)
        return None

    @staticmethod
    def along_one_axis(value: np.ndarray, shape: tuple[Side, ...]) -> tuple[int, Any] | None:
        """The axis of `shape` that `value` varies along, and its values in float64; axis -1 for a scalar."""
        if value.size == 1:
            return -1, np.float64(value.reshape(()))
        long = [i for i, side in enumerate(value.shape, len(shape) - value.ndim) if side != 1]
        if len(long) != 1 or shape[long[0]] != value.size:
            return None
        return long[0], value.ravel().astype(np.float64)

    def fold_affine(self, node: Operation) -> None:
        """Into the weights of the layer that makes the input, where only this node takes it."""
        found = self.affine(node)
        maker = self.only(found.source) if found else None
        if found is None or maker is None:
            return
        last = len(self.shape(found.source)) - 1
        way, axes = {
            **dict.fromkeys(_ACTIVATIONS, (self.before_activation, (found.axis,))),
            **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), (self.into, (-1, 1))),
            "MatMul": (self.into, (-1, last)),
            "Add": (self.through_bias, (-1, last)),
            "Reshape": (self.through_reshape, (-1, last)),
        }.get(maker.op, (self.into, ()))
        if found.axis in axes and way(maker, found):
            self.bypass(node, found.source)

    def before_activation(self, activation: Operation, found: _Affine) -> bool:
        """`clip(x, low, high) s + b` is `clip(x s + b, low s + b, high s + b)`: into the convolution in front.

        A network with a learnable factor and offset behind every activation (PP-HGNetV2) loses them all this way, and
        engines run a convolution and a `Clip` as one.
        """
        inner = self.only(activation.inputs[0])
        if inner is None or inner.op != "Conv":
            return False
        factors, offset = np.atleast_1d(found.scale), np.asarray(found.offset)
        positive = not np.any(offset) and bool(np.all(factors > 0))
        if positive and found.axis in (-1, 1) and activation.op != "Clip":
            return self.into(inner, found)
        if found.axis != -1 or activation.op == "LeakyRelu" or not np.all(factors):
            return False
        low, high = 0.0, np.inf
        if activation.op == "Clip":
            bounds = [b for n in activation.inputs[1:] if (b := self.constant(n)) is not None]
            if len(bounds) != 2:
                return False
            low, high = map(float, bounds)
        dtype = self.graph.tensors[activation.outputs[0]].dtype
        largest = float(np.finfo(dtype).max)
        ends = np.sort(np.array([low, high]) * found.scale + offset).clip(-largest, largest)
        if not self.into(inner, found):
            return False
        activation.op = "Clip"
        for index, end in enumerate(ends, 1):
            self.set_input(activation, index, self.new_constant("bound", np.asarray(end, dtype)))
        return True

    def into(self, maker: Operation, found: _Affine) -> bool:
        """Into the weights and bias of a convolution, Gemm or MatMul; a MatMul with an offset becomes a Gemm."""
        weight = self.constant(maker.inputs[1])
        bias_name = maker.inputs[2] if len(maker.inputs) > 2 else ""
        bias = self.constant(bias_name) if bias_name else np.zeros(1)
        if weight is None or bias is None:
            return False
        offset_given = bool(np.any(found.offset))
        if maker.op == "MatMul":
            two = len(self.shape(maker.outputs[0])) == 2
            if weight.ndim != 2 or (offset_given and not two):
                return False
            maker.op = "Gemm" if offset_given else "MatMul"
        tail, channels, rows = [1] * (weight.ndim - 2), weight.shape[1], weight
        shape: list[int] = [1, -1]
        if maker.op == "Conv":
            channels, shape = weight.shape[0], [-1, 1, *tail]
        elif maker.op == "ConvTranspose":
            group = maker.attributes["group"]
            channels, shape = channels * group, [group, 1, -1, *tail]
            rows = weight.reshape(group, -1, *weight.shape[1:])
        if np.any(found.scale != 1):
            factor = np.broadcast_to(found.scale, channels).reshape(shape)
            scaled = (rows * factor).reshape(weight.shape).astype(weight.dtype)
            self.set_input(maker, 1, self.new_constant(maker.inputs[1], scaled))
        if bias_name or offset_given:
            offset = np.broadcast_to(bias, channels) * found.scale + found.offset
            wish = bias_name or f"{maker.inputs[1]}_bias"
            self.set_input(maker, 2, self.new_constant(wish, offset.astype(weight.dtype)))
        return True

    def through_bias(self, add: Operation, found: _Affine) -> bool:
        """`(x W + b) s`: into W and b."""
        inner = None if np.any(found.offset) else self.affine(add)
        product = self.only(inner.source) if inner else None
        if inner is None or product is None or product.op != "MatMul":
            return False
        if inner.axis not in (-1, found.axis) or not self.into(product, found):
            return False
        offset = np.asarray(inner.offset * found.scale)
        weight = self.constant(product.inputs[1])
        assert weight is not None, "`into` found it"
        name = self.new_constant("bias", offset.astype(weight.dtype))
        self.set_input(add, 0 if add.inputs[0] in self.graph.constants else 1, name)
        return True

    def through_reshape(self, reshape: Operation, found: _Affine) -> bool:
        """Along the last side, which a reshape may leave alone: apply it before, where it can be folded."""
        source = reshape.inputs[0]
        maker = self.only(source)
        before, after = self.shape(source), self.shape(reshape.outputs[0])
        if maker is None or maker.op not in ("MatMul", "Gemm") or before[-1:] != after[-1:]:
            return False
        if maker.op == "Gemm" or len(before) == 2:
            return self.into(maker, found)
        weight = self.constant(maker.inputs[1])
        if weight is None or not self.into(maker, _Affine(source, found.axis, found.scale, 0.0)):
            return False
        if np.any(found.offset):
            name = self.graph.fresh("add")
            self.graph.tensors[name] = replace(self.graph.tensors[source], name=name)
            bias = self.new_constant("bias", np.asarray(found.offset).astype(weight.dtype))
            self.makers[name] = add = Operation("Add", [source, bias], [name])
            for taken in add.inputs:
                self.users[taken].append(add)
            self.graph.nodes.insert(self.graph.nodes.index(maker) + 1, add)
            self.set_input(reshape, 0, name)
        return True

    # A scalar factor into the next linear layer: dropout of PaddleClas' old kind.

    def fold_factor(self, node: Operation) -> None:
        found = self.affine(node)
        if found is None or found.axis != -1 or found.offset or node.op not in ("Mul", "Div"):
            return
        if found.source in self.makers and self.makers[found.source].op == "Mul":
            return  # the half at the end of a GELU, which engines know by its whole spelling
        name = node.outputs[0]
        while len(self.users[name]) == 1 and name not in self.kept:
            [user] = self.users[name]
            if user.op in _LINEAR and user.inputs[0] == name:
                name = user.outputs[0]
                continue
            weight = self.constant(user.inputs[1]) if len(user.inputs) > 1 else None
            linear = user.op in ("Conv", "MatMul", "Gemm") and user.inputs[0] == name
            if linear and weight is not None:
                scaled = (weight * found.scale).astype(weight.dtype)
                if self.bypass(node, found.source):
                    self.set_input(user, 1, self.new_constant(user.inputs[1], scaled))
            return

    # What is affine and changes nothing.

    def simplify(self, node: Operation) -> None:
        super().simplify(node)
        found = None if id(node) in self.gone else self.affine(node)
        if found and np.all(np.equal(found.scale, 1)) and not np.any(found.offset):
            self.bypass(node, found.source)


def _spell_out_sigmoids(graph: Graph) -> None:
    """Make those under a root, as in a detector's sqrt(sigmoid(a) sigmoid(b) + eps), of an exponential.

    ONNX Runtime's own is right to 1e-7 of 1, which a root makes 1e-4 of a score near 0.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    found = [node for node in graph.nodes if node.op == "Sqrt"]
    under: dict[str, Operation] = {}
    for _ in range(4):  # a product, perhaps times a constant, plus a constant
        above = [makers[name] for node in found for name in node.inputs if name in makers]
        under |= {node.outputs[0]: node for node in above if node.op == "Sigmoid"}
        found = [node for node in above if node.op in ("Add", "Mul")]
    for node in under.values():
        place, source, [result] = graph.nodes.index(node), node.inputs[0], node.outputs
        graph.constants[one := graph.fresh("one")] = np.ones((), graph.tensors[result].dtype)
        steps = []
        for op, more in (("Neg", []), ("Exp", []), ("Add", [one]), ("Reciprocal", [])):
            name = result if op == "Reciprocal" else graph.fresh(op.lower())
            graph.tensors[name] = replace(graph.tensors[result], name=name)
            steps.append(Operation(op, [source, *more], [name]))
            source = name
        graph.nodes[place : place + 1] = steps


def fuse(graph: Graph) -> None:
    """Rewrite `graph` in place until nothing more is found."""
    _spell_out_sigmoids(graph)
    for _ in range(4):
        before = [(node.op, [*node.inputs]) for node in graph.nodes]
        for name in ("simplify", "fold_affine", "fold_factor"):
            fuser = _Fuser(graph)
            for node in list(graph.nodes):
                if id(node) not in fuser.gone:
                    getattr(fuser, name)(node)
            fuser.sweep()
        if before == [(node.op, node.inputs) for node in graph.nodes]:
            return
