"""Edits a graph in place by its tensors, and removes nodes that do nothing."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tinysight.graph.builder import Graph, Operation
from tinysight.graph.sides import Side


class Rewriter:
    """The maker and the users of each tensor, kept up to date while nodes are removed or get other inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept = {tensor.name for _, tensor in graph.outputs}
        self.makers: dict[str, Operation] = {}
        self.users: dict[str, list[Operation]] = defaultdict(list)
        self.gone: set[int] = set()
        for node in graph.nodes:
            self.makers.update(dict.fromkeys(node.outputs, node))
            for name in node.inputs:
                self.users[name].append(node)

    # Reading the graph.

    def constant(self, name: str) -> np.ndarray | None:
        """The constant of that name, if it is one."""
        return self.graph.constants.get(name)

    def shape(self, name: str) -> tuple[Side, ...]:
        """The shape of a tensor or constant."""
        constant = self.constant(name)
        return self.graph.tensors[name].shape if constant is None else constant.shape

    def only(self, name: str) -> Operation | None:
        """The node that makes `name`, if just one node takes it and it is no output."""
        alone = len(self.users[name]) == 1 and name not in self.kept
        return self.makers.get(name) if alone else None

    # Changing it.

    def new_constant(self, like: str, value: np.ndarray) -> str:
        """The name of a new constant, made of the name `like`."""
        name = self.graph.fresh(like)
        self.graph.constants[name] = value
        return name

    def set_input(self, node: Operation, index: int, name: str) -> None:
        """Let `node` take `name` as its input number `index`."""
        node.inputs += [""] * (index + 1 - len(node.inputs))
        if old := node.inputs[index]:
            self.users[old].remove(node)
        node.inputs[index] = name
        self.users[name].append(node)

    def bypass(self, node: Operation, source: str) -> bool:
        """Remove `node`: who took its output takes `source`, or its maker makes the output itself."""
        [made] = node.outputs
        if made in self.kept:
            maker = self.only(source)
            if maker is None:
                return False
            maker.outputs[maker.outputs.index(source)] = made
            self.makers[made] = maker
        else:
            for user in self.users.pop(made, []):  # once for each input
                user.inputs[user.inputs.index(made)] = source
                self.users[source].append(user)
        for name in node.inputs:
            if node in self.users[name]:
                self.users[name].remove(node)
        self.gone.add(id(node))
        return True

    def sweep(self) -> None:
        """Drop removed nodes, then those that no output needs, then constants that nobody takes."""
        wanted, nodes = set(self.kept), []
        for node in reversed(self.graph.nodes):
            if id(node) not in self.gone and not wanted.isdisjoint(node.outputs):
                nodes.append(node)
                wanted.update(node.inputs)
        self.graph.nodes = nodes[::-1]
        self.graph.constants = {n: c for n, c in self.graph.constants.items() if n in wanted}


class Cleanup(Rewriter):
    """Removes reshapes, transposes and paddings that their neighbours make superfluous."""

    def simplify(self, node: Operation) -> None:
        """Remove or join one node, where that is possible."""
        match node.op:
            case "Reshape":
                self.join_reshape(node)
            case "Transpose":
                self.join_transpose(node)
            case "Conv" | "MaxPool":
                self.join_pad(node)
            case "Pad" if not np.any(self.graph.constants.get(node.inputs[1], True)):
                self.bypass(node, node.inputs[0])

    def join_transpose(self, node: Operation) -> None:
        """Joins two in a row; removes one that keeps the order."""
        maker = self.makers.get(node.inputs[0])
        if maker is not None and maker.op == "Transpose":
            first = maker.attributes["perm"]
            node.attributes = {"perm": [first[i] for i in node.attributes["perm"]]}
            self.set_input(node, 0, maker.inputs[0])
        if node.attributes["perm"] == sorted(node.attributes["perm"]):
            self.bypass(node, node.inputs[0])

    def join_reshape(self, node: Operation) -> None:
        """Skips the first of two in a row; removes one that keeps the shape."""
        maker, target = self.makers.get(node.inputs[0]), self.constant(node.inputs[1])
        if maker is not None and maker.op == "Reshape" and target is not None and np.all(target):
            self.set_input(node, 0, maker.inputs[0])
        if self.shape(node.inputs[0]) == self.shape(node.outputs[0]):
            self.bypass(node, node.inputs[0])

    def join_pad(self, node: Operation) -> None:
        """Makes a padding in front of the node the node's own, if every user of the padded tensor can do so.

        A maximum ignores its own padding; that equals minus infinity, and zeros around values that are not negative.
        """
        maker = self.makers.get(node.inputs[0])
        if maker is None or maker.op != "Pad" or maker.outputs[0] in self.kept:
            return
        source, sides, *rest = maker.inputs
        pads = self.constant(sides)
        fill = self.constant(rest[0]) if any(rest[:1]) else np.zeros(())
        plain = maker.attributes.get("mode", "constant") == "constant" and not any(rest[1:])
        if pads is None or fill is None or not plain or np.any(pads < 0):
            return
        start, end = np.split(pads, 2)
        if any(start[:2]) or any(end[:2]):
            return
        more = [*start[2:].tolist(), *end[2:].tolist()]
        users = list(self.users[maker.outputs[0]])
        if not all(self.can_pad(user, source, more, float(fill)) for user in users):
            return
        for user in users:
            both = zip(user.attributes["pads"], more, strict=True)
            user.attributes = {**user.attributes, "pads": [a + b for a, b in both]}
            self.set_input(user, 0, source)

    def can_pad(self, user: Operation, source: str, more: list[int], fill: float) -> bool:
        """Whether `more` padding of the node's own gives the same as a border of `fill` around `source`."""
        if "pads" not in user.attributes or len(user.attributes["pads"]) != len(more):
            return False
        if user.op == "Conv":
            return fill == 0 and user.inputs[1] not in self.makers  # so the tensor is its image
        if user.op != "MaxPool":
            return False
        maker, kernel, positive = self.makers.get(source), user.attributes["kernel_shape"], False
        if maker is not None and maker.op in ("Relu", "Clip"):
            low = self.constant(maker.inputs[1]) if maker.op == "Clip" else np.zeros(())
            positive = low is not None and bool(np.all(low >= 0))
        # Each window has to see a value of the image, whose padding is below all values.
        own = zip(user.attributes["pads"], more, [*kernel, *kernel], strict=True)
        return all(a + b < k for a, b, k in own) and (fill == -np.inf or (fill == 0 and positive))
