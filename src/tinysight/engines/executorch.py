"""ExecuTorch with XNNPACK, for Android and iOS."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinysight.engines.base import OneImageEngine, OnnxNetwork, VariantFiles, load_module
from tinysight.registry import engines


@engines.register("executorch")
class ExecuTorch(OneImageEngine):
    """A network as `.pte`, with XNNPACK's kernels."""

    title: ClassVar = "ExecuTorch"
    packages: ClassVar = ("executorch", "torch")

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.pte`."""
        torch_graph = load_module("tinysight.engines.torch_graph", "executorch", "torch")
        with torch_graph.quiet():
            exir = load_module("executorch.exir", "executorch")
            name = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
            partitioner = load_module(name, "executorch").XnnpackPartitioner()
            program = torch_graph.exported(network)
            edge = exir.to_edge_transform_and_lower(program, partitioner=[partitioner])
            return {f"{stem}.pte": bytes(edge.to_executorch().buffer)}

    def _open(self, model: VariantFiles, threads: int) -> None:
        with load_module("tinysight.engines.torch_graph", "executorch", "torch").quiet():
            runtime = load_module("executorch.runtime", "executorch").Runtime.get()
            self._data = model.ending(".pte")[1]  # the program refers to it
            self._program = runtime.load_program(self._data)
            self._method = self._program.load_method("forward")
        self._tensor = load_module("torch", "executorch", "torch").from_numpy

    def _scores(self, image: np.ndarray) -> Any:
        (scores,) = self._method.execute([self._tensor(image[None].copy())])
        return np.array(scores.numpy())
