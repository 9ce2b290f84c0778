"""Nodes that do nothing, or nothing together with their neighbour."""

from __future__ import annotations

import numpy as np

from tinysight.compat.paddle.to_onnx.graph import Node
from tinysight.compat.paddle.to_onnx.rewrite import Rewriter


class Tidier(Rewriter):
    """Reshapes, transposes and paddings that their neighbours make superfluous."""

    def simplify(self, node: Node) -> None:
        """Look at one node."""
        if node.op == "Reshape":
            self.join_reshape(node)
        elif node.op == "Transpose":
            self.join_transpose(node)
        elif node.op in ("Conv", "MaxPool"):
            self.join_pad(node)
        elif node.op == "Pad":
            pads = self.constant(node.inputs[1])
            if pads is not None and not np.any(pads):
                self.bypass(node, node.inputs[0])

    def join_transpose(self, node: Node) -> None:
        """Two in a row are one, and one that keeps the order is none."""
        maker = self.makers.get(node.inputs[0])
        if maker is not None and maker.op == "Transpose":
            first = maker.attributes["perm"]
            node.attributes = {"perm": [first[i] for i in node.attributes["perm"]]}
            self.set_input(node, 0, maker.inputs[0])
        if node.attributes["perm"] == sorted(node.attributes["perm"]):
            self.bypass(node, node.inputs[0])

    def join_reshape(self, node: Node) -> None:
        """Of two in a row the second is enough, and one that keeps the shape is none."""
        maker, target = self.makers.get(node.inputs[0]), self.constant(node.inputs[1])
        if maker is not None and maker.op == "Reshape" and target is not None and np.all(target):
            self.set_input(node, 0, maker.inputs[0])
        if self.shape(node.inputs[0]) == self.shape(node.outputs[0]):
            self.bypass(node, node.inputs[0])

    def join_pad(self, node: Node) -> None:
        """A padding in front becomes the node's own, if everybody who takes the padded tensor can do so.

        A maximum ignores its own padding, which is as good as minus infinity, and as zeros around what is not negative.
        """
        maker = self.makers.get(node.inputs[0])
        if maker is None or maker.op != "Pad" or maker.outputs[0] in self.kept:
            return
        pads = self.constant(maker.inputs[1])
        fill: np.ndarray | None = np.zeros(())
        if len(maker.inputs) > 2 and maker.inputs[2]:
            fill = self.constant(maker.inputs[2])
        if fill is None or any(maker.inputs[3:]):
            return
        if maker.attributes.get("mode", "constant") != "constant" or pads is None:
            return
        rank = len(pads) // 2
        if any(pads[[0, 1, rank, rank + 1]]) or np.any(pads < 0):
            return
        source = maker.inputs[0]
        more = [*pads[2:rank].tolist(), *pads[rank + 2 :].tolist()]
        users = list(self.users[maker.outputs[0]])
        if not all(self.can_pad(user, source, more, float(fill)) for user in users):
            return
        for user in users:
            both = zip(user.attributes["pads"], more, strict=True)
            user.attributes = {**user.attributes, "pads": [a + b for a, b in both]}
            self.set_input(user, 0, source)

    def can_pad(self, user: Node, source: str, more: list[int], fill: float) -> bool:
        """Whether `user` gives the same with `more` padding of its own around `source` instead of `fill`."""
        if "pads" not in user.attributes or len(user.attributes["pads"]) != len(more):
            return False
        if user.op == "Conv":
            return fill == 0 and user.inputs[1] not in self.makers  # so the tensor is its image
        if user.op != "MaxPool":
            return False
        maker, kernel = self.makers.get(source), user.attributes["kernel_shape"]
        positive = maker is not None and (
            maker.op == "Relu" or (maker.op == "Clip" and self.at_least_zero(maker.inputs[1]))
        )
        # Each window has to see a value of the image, whose padding is below all values.
        own = zip(user.attributes["pads"], more, [*kernel, *kernel], strict=True)
        return all(a + b < k for a, b, k in own) and (fill == -np.inf or (fill == 0 and positive))

    def at_least_zero(self, name: str) -> bool:
        """Whether `name` is a constant without negative values."""
        low = self.constant(name)
        return low is not None and bool(np.all(low >= 0))
