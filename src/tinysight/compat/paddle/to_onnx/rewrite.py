"""Looking at a graph from its tensors, and changing it in place."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tinysight.compat.paddle.to_onnx.graph import Graph, Node
from tinysight.compat.paddle.to_onnx.symbols import Side


class Rewriter:
    """Who makes and who takes each tensor, kept up to date while nodes are removed or get other inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept = {tensor.name for _, tensor in graph.outputs}
        self.makers: dict[str, Node] = {}
        self.users: dict[str, list[Node]] = defaultdict(list)
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

    def only(self, name: str) -> Node | None:
        """The node that makes `name`, if just one node takes it and it is no output."""
        return (
            self.makers.get(name) if len(self.users[name]) == 1 and name not in self.kept else None
        )

    # Changing it.

    def new_constant(self, like: str, value: np.ndarray) -> str:
        """The name of a new constant, made of the name `like`."""
        name = self.graph.fresh(like)
        self.graph.constants[name] = value
        return name

    def set_input(self, node: Node, index: int, name: str) -> None:
        """Let `node` take `name` as its input number `index`."""
        while len(node.inputs) <= index:
            node.inputs.append("")
        old = node.inputs[index]
        if old:
            self.users[old].remove(node)
        node.inputs[index] = name
        self.users[name].append(node)

    def bypass(self, node: Node, source: str) -> bool:
        """Remove `node`: who took its output takes `source`, or its maker makes the output itself."""
        [made] = node.outputs
        if made in self.kept:
            maker = self.only(source)
            if maker is None:
                return False
            maker.outputs[maker.outputs.index(source)] = made
            self.makers[made] = maker
        else:
            for user in list(self.users[made]):
                for index, name in enumerate(user.inputs):
                    if name == made:
                        user.inputs[index] = source
                        self.users[source].append(user)
            self.users[made] = []
        for name in node.inputs:
            if node in self.users[name]:
                self.users[name].remove(node)
        self.gone.add(id(node))
        return True

    def sweep(self) -> None:
        """Drop removed nodes, then those that no output needs, then constants that nobody takes."""
        wanted, nodes = set(self.kept), []
        for node in reversed(self.graph.nodes):
            if id(node) not in self.gone and any(name in wanted for name in node.outputs):
                nodes.append(node)
                wanted.update(node.inputs)
        self.graph.nodes = nodes[::-1]
        self.graph.constants = {n: c for n, c in self.graph.constants.items() if n in wanted}
