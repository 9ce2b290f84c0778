"""Making the graph as lean as a native export: what is linear goes into the weights, what does nothing goes away.

Engines fuse some of this themselves when a session starts, but not all of it, and not all engines. Every rewrite keeps
the function; sums are done in float64 before weights are rounded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinysight.compat.paddle.to_onnx.graph import Graph, Node
from tinysight.compat.paddle.to_onnx.symbols import Side
from tinysight.compat.paddle.to_onnx.tidy import Tidier

_LINEAR = ("Reshape", "Transpose", "GlobalAveragePool", "AveragePool")


@dataclass
class _Affine:
    """`y = x * scale + offset` along one axis of `x` (both scalars or vectors of that axis)."""

    source: str
    axis: int
    scale: Any
    offset: Any


class _Fuser(Tidier):
    """Affine maps into weights."""

    def affine(self, node: Node) -> _Affine | None:
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
            vector = self.along_one_axis(value, self.shape(source), self.shape(node.outputs[0]))
            if vector is None:
                return None
            axis, values = vector
            match node.op:
                case "Mul":
                    return _Affine(source, axis, values, 0.0)
                case "Div":
                    return _Affine(source, axis, 1 / values, 0.0) if np.all(values) else None
                case "Add":
                    return _Affine(source, axis, 1.0, values)
                case _:
                    return _Affine(source, axis, 1.0, -values)
        return None

    @staticmethod
    def along_one_axis(
        value: np.ndarray, shape: tuple[Side, ...], result: tuple[Side, ...]
    ) -> tuple[int, Any] | None:
        """The axis of `shape` that `value` varies along, and its values in float64; axis -1 for a scalar."""
        if result != shape:
            return None
        if value.size == 1:
            return -1, np.float64(value.reshape(()))
        long = [i for i, side in enumerate(value.shape, len(shape) - value.ndim) if side != 1]
        if len(long) != 1 or shape[long[0]] != value.size:
            return None
        return long[0], value.ravel().astype(np.float64)

    def fold_affine(self, node: Node) -> None:
        found = self.affine(node)
        maker = self.only(found.source) if found else None
        if found is None or maker is None:
            return
        last = len(self.shape(found.source)) - 1
        if maker.op in ("Relu", "Clip", "LeakyRelu"):
            if self.before_activation(maker, found):
                self.bypass(node, found.source)
        elif maker.op in ("Conv", "ConvTranspose", "Gemm"):
            if found.axis in (-1, 1) and self.into(maker, found):
                self.bypass(node, found.source)
        elif maker.op == "MatMul" and found.axis in (-1, last):
            if self.into_matmul(maker, found):
                self.bypass(node, found.source)
        elif (
            maker.op == "Add"
            and np.ndim(found.offset) == 0
            and found.offset == 0
            and found.axis in (-1, last)
        ):
            self.through_bias(node, maker, found)
        elif maker.op == "Reshape" and found.axis in (-1, last):
            self.through_reshape(node, maker, found)

    def before_activation(self, activation: Node, found: _Affine) -> bool:
        """`clip(x, low, high) s + b` is `clip(x s + b, low s + b, high s + b)`: into the convolution in front.

        A network with a learnable factor and offset behind every activation (PP-HGNetV2) loses them all this way, and
        engines run a convolution and a `Clip` as one.
        """
        inner = self.only(activation.inputs[0])
        if inner is None or inner.op != "Conv":
            return False
        factors, offset = np.atleast_1d(found.scale), np.asarray(found.offset)
        if (
            not np.any(offset)
            and np.all(factors > 0)
            and found.axis in (-1, 1)
            and activation.op != "Clip"
        ):
            return self.into(inner, found)
        if found.axis != -1 or activation.op == "LeakyRelu" or not np.all(factors):
            return False
        low, high = 0.0, np.inf
        if activation.op == "Clip":
            bounds = [self.constant(name) for name in activation.inputs[1:]]
            if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
                return False
            low, high = float(bounds[0]), float(bounds[1])
        dtype = self.graph.tensors[activation.outputs[0]].dtype
        largest = float(np.finfo(dtype).max)
        ends = np.sort(np.array([low, high]) * found.scale + offset).clip(-largest, largest)
        if not self.into(inner, found):
            return False
        activation.op = "Clip"
        for index, end in enumerate(ends, 1):
            self.set_input(activation, index, self.new_constant("bound", np.asarray(end, dtype)))
        return True

    def into(self, maker: Node, found: _Affine) -> bool:
        """Into the weights and bias of a convolution or Gemm."""
        weight = self.constant(maker.inputs[1])
        bias_name = maker.inputs[2] if len(maker.inputs) > 2 else ""
        bias = self.constant(bias_name) if bias_name else np.zeros(1)
        if weight is None or bias is None:
            return False
        if maker.op == "Gemm":
            channels, scaled = weight.shape[1], weight * found.scale
        elif maker.op == "Conv":
            channels = weight.shape[0]
            factor = np.broadcast_to(found.scale, channels).reshape(-1, *[1] * (weight.ndim - 1))
            scaled = weight * factor
        else:
            group, tail = maker.attributes["group"], [1] * (weight.ndim - 2)
            channels = weight.shape[1] * group
            factor = np.broadcast_to(found.scale, channels).reshape(group, 1, -1, *tail)
            scaled = (weight.reshape(group, -1, *weight.shape[1:]) * factor).reshape(weight.shape)
        offset = np.broadcast_to(bias, channels) * found.scale + found.offset
        self.set_input(maker, 1, self.new_constant(maker.inputs[1], scaled.astype(weight.dtype)))
        if bias_name or np.any(offset):
            name = self.new_constant(
                bias_name or f"{maker.inputs[1]}_bias", offset.astype(weight.dtype)
            )
            self.set_input(maker, 2, name)
        return True

    def into_matmul(self, maker: Node, found: _Affine) -> bool:
        weight = self.constant(maker.inputs[1])
        if weight is None or weight.ndim != 2:
            return False
        offset = np.any(found.offset)
        if offset and len(self.shape(maker.outputs[0])) != 2:
            return False
        if np.any(found.scale != 1):
            scaled = (weight * found.scale).astype(weight.dtype)
            self.set_input(maker, 1, self.new_constant(maker.inputs[1], scaled))
        if offset:
            values = np.broadcast_to(found.offset, weight.shape[1]).astype(weight.dtype)
            maker.op = "Gemm"
            self.set_input(maker, 2, self.new_constant("bias", values))
        return True

    def through_bias(self, node: Node, add: Node, found: _Affine) -> None:
        """`(x W + b) s`: into W and b."""
        inner = self.affine(add)
        product = self.only(inner.source) if inner else None
        if (
            inner is None
            or product is None
            or product.op != "MatMul"
            or inner.axis not in (-1, found.axis)
        ):
            return
        if not self.into_matmul(product, found):
            return
        offset = np.asarray(inner.offset * found.scale)
        weight = self.constant(product.inputs[1])
        assert weight is not None, "into_matmul found it"
        name = self.new_constant("bias", offset.astype(weight.dtype))
        self.set_input(add, 0 if add.inputs[0] in self.graph.constants else 1, name)
        self.bypass(node, found.source)

    def through_reshape(self, node: Node, reshape: Node, found: _Affine) -> None:
        """Along the last side, which a reshape may leave alone: apply it before, where it can be folded."""
        source = reshape.inputs[0]
        maker = self.only(source)
        before, after = self.shape(source), self.shape(reshape.outputs[0])
        if maker is None or maker.op not in ("MatMul", "Gemm") or before[-1:] != after[-1:]:
            return
        if maker.op == "Gemm" or len(before) == 2:
            done = self.into(maker, found) if maker.op == "Gemm" else self.into_matmul(maker, found)
            if done:
                self.bypass(node, found.source)
            return
        weight = self.constant(maker.inputs[1])
        if weight is None or not self.into_matmul(
            maker, _Affine(source, found.axis, found.scale, 0.0)
        ):
            return
        if np.any(found.offset):
            name = self.graph.fresh("add")
            tensor = self.graph.tensors[source]
            self.graph.tensors[name] = type(tensor)(name, tensor.dtype, tensor.shape)
            bias = self.new_constant("bias", np.asarray(found.offset).astype(weight.dtype))
            add = Node("Add", [source, bias], [name])
            self.users[source].append(add)
            self.users[bias].append(add)
            self.makers[name] = add
            self.graph.nodes.insert(self.graph.nodes.index(maker) + 1, add)
            self.set_input(reshape, 0, name)
        self.bypass(node, found.source)

    # A scalar factor into the next linear layer: dropout of PaddleClas' old kind.

    def fold_factor(self, node: Node) -> None:
        found = self.affine(node)
        if found is None or found.axis != -1 or found.offset or node.op not in ("Mul", "Div"):
            return
        maker = self.makers.get(found.source)
        if maker is not None and maker.op == "Mul":
            return  # the half at the end of a GELU, which engines know by its whole spelling
        name = node.outputs[0]
        while len(self.users[name]) == 1 and name not in self.kept:
            [user] = self.users[name]
            if user.op in _LINEAR and user.inputs[0] == name:
                name = user.outputs[0]
                continue
            weight = self.constant(user.inputs[1]) if len(user.inputs) > 1 else None
            if (
                user.op in ("Conv", "MatMul", "Gemm")
                and weight is not None
                and user.inputs[0] == name
            ):
                scaled = (weight * found.scale).astype(weight.dtype)
                if self.bypass(node, found.source):
                    self.set_input(user, 1, self.new_constant(user.inputs[1], scaled))
            return

    # What is affine and changes nothing.

    def simplify(self, node: Node) -> None:
        super().simplify(node)
        if id(node) in self.gone:
            return
        found = self.affine(node)
        if found and np.all(np.equal(found.scale, 1)) and not np.any(found.offset):
            self.bypass(node, found.source)


def fuse(graph: Graph) -> None:
    """Rewrite `graph` in place until nothing more is found."""
    for _ in range(4):
        before = [(node.op, tuple(node.inputs)) for node in graph.nodes]
        for name in ("simplify", "fold_affine", "fold_factor"):
            fuser = _Fuser(graph)
            for node in list(graph.nodes):
                if id(node) not in fuser.gone:
                    getattr(fuser, name)(node)
            fuser.sweep()
        if before == [(node.op, tuple(node.inputs)) for node in graph.nodes]:
            return
